"""Fields of a recipe from the command line: every type read, every mistake named."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from linnaea.train.clip_recipe import ClipRecipe, SamplesConfig
from linnaea.train.settings import fields_of, read_plain, set_fields


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
    organisms: Part = Part()
    replay: Part | None = None

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
    read_plain(made)
    assert made == Made(organisms=Part(types=("b", "c")))


def test_values_are_read_by_the_type_of_their_field():
    made = set_fields(
        Made(), ["batch=1_000", "start=a/b", "organisms.balance=.5", "organisms.types=b, c", "organisms.size=3,4"]
    )
    assert made == Made(
        batch=1000, start=Path("a/b"), organisms=Part(balance=0.5, types=("b", "c"), size=(3, 4))
    )
    assert set_fields(made, ["start=none"]).start is None
    assert set_fields(made, []) == made


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
        ("zzz=1", "it has name, batch"),
        ("replay.balance=1", "organisms.balance"),
        ("batch=many", "batch 'many' is not a whole number"),
        ("batch=1.5", "batch '1.5' is not a whole number"),
        ("organisms.balance=x", "organisms.balance 'x' is not a number"),
        ("organisms.size=3", "'3' is not 2 values"),
        ("compile=maybe", "'maybe' is neither true nor false"),
        ("batch", "batch needs a value"),
        ("batch=0", "batch 0 is below 1"),
        ("replay=x", "replay cannot be set here"),
    ],
)
def test_a_mistake_is_named(setting, said):
    with pytest.raises(ValueError, match=said):
        set_fields(Made(), [setting], options=["out"])


def test_fields_of_parts_have_a_dot():
    assert list(fields_of(Made())) == [
        "name", "batch", "compile", "start", "organisms.balance", "organisms.types", "organisms.size", "replay",
    ]  # fmt: skip


def test_what_is_suggested_is_named_once_and_is_not_what_was_asked_for():
    with pytest.raises(ValueError, match=r"did you mean --batch\?$"):
        set_fields(Made(), ["bacth=3"], options=["batch"])
    with pytest.raises(ValueError) as error:
        set_fields(Made(), ["outs=3"], options=["outs", "out"])
    assert str(error.value).endswith("did you mean --out?")
