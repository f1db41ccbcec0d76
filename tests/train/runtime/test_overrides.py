"""Fields of a recipe from the command line: every type read, every mistake named."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.runtime.overrides import convert_plain_values, list_fields, set_fields


@dataclass(frozen=True, kw_only=True)
class Part:
    balance: float = 0.0
    types: tuple[str, ...] = ("a",)
    size: tuple[int, int] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Made:
    name: str = "made"
    batch: int = 4
    compile: bool = False
    start: Path | None = None
    split: str = ""
    organisms: Part = Part()
    replay: Part | None = field(default=None, metadata={"takes_along": ("replay_batch",)})
    replay_batch: int = 0

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"batch {self.batch} is below 1")


def test_text_in_a_recipe_stands_for_a_path_and_for_one_of_several_texts():
    samples = SamplesConfig(table="photos/labels.csv", root="photos", types="common")
    assert (samples.table, samples.root, samples.types) == (Path("photos/labels.csv"), Path("photos"), ("common",))
    assert SamplesConfig(shards="a/*.tar").shards == ("a/*.tar",)
    recipe = ClipRecipe(name="x", towers="t.json", start="m", organisms=samples, batch=1, steps=1)
    assert (recipe.towers, recipe.start, recipe.teacher, recipe.name) == (Path("t.json"), Path("m"), None, "x")
    made = Made(start=None, organisms=Part(types=("b", "c")))
    convert_plain_values(made)
    assert made == Made(organisms=Part(types=("b", "c")))


def test_values_are_read_by_the_type_of_their_field():
    made = set_fields(
        Made(), ["batch=1_000", "start=a/b", "organisms.balance=.5", "organisms.types=b, c", "organisms.size=3,4"]
    )
    assert made == Made(batch=1000, start=Path("a/b"), organisms=Part(balance=0.5, types=("b", "c"), size=(3, 4)))
    assert set_fields(made, ["start=none"]).start is None
    assert set_fields(made, []) == made


def test_a_part_is_taken_out_with_what_belongs_to_it_and_made_of_the_fields_that_are_given():
    with_replay = Made(replay=Part(), replay_batch=3)
    assert set_fields(with_replay, ["replay=none"]) == Made()
    assert set_fields(with_replay, ["replay=none", "replay-batch=2"]) == Made(replay_batch=2)
    assert set_fields(Made(), ["replay.balance=1", "replay.types=b", "replay-batch=3"]) == Made(
        replay=Part(balance=1.0, types=("b",)), replay_batch=3
    )
    for settings in (["replay=none", "replay.balance=1"], ["replay.balance=1", "replay=none"]):
        with pytest.raises(ValueError, match=r"replay is none, and replay.balance is given; leave one of the two out"):
            set_fields(with_replay, settings)


def test_none_is_nothing_where_a_field_may_be_empty_and_a_word_elsewhere():
    assert set_fields(Made(split="val"), ["split=none"]).split == ""
    assert set_fields(Made(), ["name=none"]).name == "none"
    recipe = ClipRecipe(name="x", towers="t", organisms=SamplesConfig(shards="a.tar"), batch=1, steps=1)
    changed = set_fields(recipe, ["organisms.shards=none", "organisms.table=t.csv", "organisms.split=none"])
    assert changed.organisms == SamplesConfig(table="t.csv")


def test_replay_goes_and_comes_from_the_command_line_and_each_message_names_a_way_out():
    replayed = ClipRecipe(
        name="x",
        towers="t",
        organisms=SamplesConfig(drawn=8),
        replay=SamplesConfig(drawn=8),
        replay_batch=4,
        batch=8,
        steps=1,
    )
    assert set_fields(replayed, ["loss=sigmoid", "replay=none"]).replay_batch == 0
    plain = set_fields(replayed, ["replay=none"])
    assert set_fields(plain, ["replay.drawn=8", "replay-batch=4"]) == replayed
    for recipe, setting, said in (
        (replayed, "loss=sigmoid", "leave replay out with --replay none"),
        (replayed, "replay-batch=0", "replay_batch is 0; give --replay-batch, or --replay none"),
        (plain, "replay-batch=4", "there is no replay; give --replay.shards .* or --replay-batch 0"),
        (plain, "replay.drawn=8", "replay_batch is 0; give --replay-batch"),
    ):
        with pytest.raises(ValueError, match=said):
            set_fields(recipe, [setting])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("compile", True), ("no-compile", False), ("compile=yes", True), ("compile=0", False), ("--compile", True)],
)
def test_a_switch_is_turned_by_its_name_or_by_a_value(setting, value):
    assert set_fields(Made(compile=not value), [setting]).compile is value


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("bach=3", "'made' has no field 'bach'; did you mean --batch"),
        ("balance=1", "did you mean --organisms.balance"),
        ("outt=1", "did you mean --out\\?"),
        ("zzz=1", "choose one of --name, --batch"),
        ("replay.blance=1", "did you mean --replay.balance"),
        ("batch=many", "batch 'many' must be a whole number"),
        ("batch=1.5", "batch '1.5' must be a whole number"),
        ("organisms.balance=x", "organisms.balance 'x' must be a number"),
        ("organisms.size=3", "'3' must be 2 values"),
        ("compile=maybe", "'maybe' must be true or false"),
        ("batch", "batch needs a value"),
        ("batch=0", "batch 0 is below 1"),
        (
            "replay=x",
            "replay 'x' is a part of the recipe, not a value; set its fields \\(--replay.balance, --replay.types",
        ),
    ],
)
def test_a_mistake_is_named(setting, said):
    with pytest.raises(ValueError, match=said):
        set_fields(Made(), [setting], options=["out"])


def test_list_fields_parts_have_a_dot():
    assert list(list_fields(Made())) == [
        "name",
        "batch",
        "compile",
        "start",
        "split",
        "organisms.balance",
        "organisms.types",
        "organisms.size",
        "replay",
        "replay.balance",
        "replay.types",
        "replay.size",
        "replay_batch",
    ]


def test_what_is_suggested_is_named_once_and_is_not_what_was_asked_for():
    with pytest.raises(ValueError, match=r"did you mean --batch\?$"):
        set_fields(Made(), ["bacth=3"], options=["batch"])
    with pytest.raises(ValueError, match=r"did you mean --out\?$"):
        set_fields(Made(), ["outs=3"], options=["outs", "out"])


def test_the_public_names_of_train_are_there_and_import_nothing_before_they_are_used():
    import linnaea.train as room

    for name in room.__all__:
        assert getattr(room, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'find_recipes'"):
        _ = room.find_recipes
    code = "import sys, linnaea.train; print('torch' in sys.modules or 'numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
        == "False\n"
    )


def test_every_recipe_that_comes_along_has_the_interface_of_a_recipe(root):
    from linnaea.train import find_recipe

    for name in ("smoke", "bioclip2_vitl14", "bundled"):
        recipe = find_recipe(name, root / "recipes")
        given = recipe.general_settings(images_dir=None, steps=70_000, seed=3)
        assert [text.rpartition(".")[2] for text in given] == ["steps=70000", "seed=3"]
        assert set_fields(recipe, given) != recipe
        assert all(callable(getattr(recipe, method)) for method in ("plan", "run"))


def test_a_folder_without_recipes_says_so(tmp_path):
    from linnaea.train import find_recipe

    with pytest.raises(ValueError, match=r"unknown recipe 'x' in .* \(--recipes names another folder\); it holds no"):
        find_recipe("x", tmp_path)
