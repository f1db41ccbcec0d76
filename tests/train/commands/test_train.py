"""`linnaea train`: fields from the command line, torchrun, the golden curve of `smoke`, the model folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from linnaea.cli import main
from linnaea.datasets.synthetic import draw_picture, synthetic_taxa
from linnaea.model.loading import load_model
from linnaea.train.clip.loop import train_clip
from linnaea.train.clip.pipeline import run_clip
from linnaea.train.commands.train import TrainConfig, resolve
from made_clip import curve_of, losses, tiny_recipe

# Processors differ in the order of their sums; over a few steps that stays below this share of a loss.
TOLERANCE = 2e-3
CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
RECIPE = """
from pathlib import Path
from linnaea.train.data.augmentation import AugmentConfig
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig

RECIPES = ("tiny",)


def tiny():
    towers = Path(__file__).parent / "open_clip_config.json"
    return ClipRecipe(name="tiny", towers=towers, organisms=SamplesConfig(drawn=96), crop=AugmentConfig(size=16),
                      batch=12, steps=6, learning_rate=1e-3, n_threads=1, device="cpu")
"""


@pytest.fixture
def recipes(tmp_path):
    """A folder with the tiny recipe."""
    tiny_recipe(tmp_path / "recipes")
    (tmp_path / "recipes" / "made.py").write_text(RECIPE)
    return tmp_path / "recipes"


def train(recipes, *arguments: str) -> int:
    return main(["train", "tiny", "--recipes", str(recipes), *arguments])


def test_the_smoke_recipe_follows_its_golden_curve(root, tmp_path):
    golden = json.loads((root / "tests" / "golden" / "smoke_curve.json").read_text())
    recipe = resolve(TrainConfig(recipe="smoke", recipes=root / "recipes"))
    train_clip(replace(recipe, device="cpu", stop_after=len(golden["loss"])), tmp_path)
    rows = curve_of(tmp_path)
    for name in ("loss", "contrast", "replay"):
        np.testing.assert_allclose([row[name] for row in rows], golden[name], rtol=TOLERANCE, err_msg=name)


def test_any_field_is_an_option_and_the_folder_is_a_model(recipes, tmp_path, capsys):
    out = tmp_path / "model"
    assert (
        train(
            recipes, "--out", str(out), "--steps", "3", "--batch", "8", "--organisms.types=common", "--tensorboard=no"
        )
        == 0
    )
    assert capsys.readouterr().out.strip() == str(out)
    written = json.loads((out / "training.json").read_text())
    assert written["recipe"]["batch"] == 8
    assert written["recipe"]["organisms"]["types"] == ["common"]
    assert [step for step, _ in written["curve"]] == [1, 2, 3]
    model = load_model(str(out))
    images = np.zeros((2, 16, 16, 3), np.uint8)
    assert np.asarray(model.encode_images(images)).shape == (2, 8)


def test_replay_is_taken_out_on_the_command_line(root, capsys):
    given = ("--recipes", str(root / "recipes"), "--plan", "--gpu-kind", "a100")
    assert main(["train", "smoke", *given, "--replay", "none", "--loss", "sigmoid"]) == 0
    assert "64 organisms and 0 replayed" in capsys.readouterr().out


def test_recipes_are_those_here_or_where_there_are_none_those_that_come_with_the_package(
    recipes, tmp_path, monkeypatch
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    recipe = resolve(TrainConfig(recipe="smoke"))
    assert recipe.name == "linnaea-smoke"
    assert recipe.towers.is_file()
    with pytest.raises(ValueError, match=r"\(--recipes names another folder\); did you mean smoke"):
        resolve(TrainConfig(recipe="smokk"))
    monkeypatch.chdir(recipes.parent)
    (recipes / "soup.py").write_text("STEPS = 3")
    assert resolve(TrainConfig(recipe="tiny")).name == "tiny"
    with pytest.raises(ValueError, match=r"unknown recipe 'smoke' in recipes .*; choose one of tiny"):
        resolve(TrainConfig(recipe="smoke"))


def test_a_wheel_takes_the_recipes_along(root):
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"recipes": "linnaea/recipes"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bach", "3"), "has no field 'bach'; did you mean --batch"),
        (("--batch", "many"), "batch 'many' must be a whole number"),
        (("--loss", "mse"), "unknown loss 'mse'; choose one of infonce, sigmoid, levels"),
        (("--resumee",), "did you mean --resume"),
        (("--towers", "nowhere.json"), "nowhere.json is missing; give an open_clip_config.json with --towers"),
        (
            ("--start", "models/none-such"),
            "start models/none-such holds no open_clip_config.json; fetch the model there",
        ),
        (("--teacher", "models/none-such"), "or give another folder with --teacher"),
        (("--images", "photos"), "give --organisms.table"),
        (("--stop-after", "-1"), "stop_after -1 is below 0"),
        (("--plan", "--organisms.types", ""), "no text type was given"),
        (("--organisms.template", "a {x} b"), "must have exactly one {}"),
        (("--organisms.drawn", "0"), "give one"),
        (("--device", "tpu"), "device 'tpu' cannot be used here"),
        (("--learning-rate", "1e30"), "the step was not taken"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(recipes, tmp_path, capsys, arguments, said):
    assert train(recipes, "--out", str(tmp_path / "model"), *arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("linnaea: ")]
    assert said in line


def test_a_run_is_not_begun_over_another_and_resume_goes_on(recipes, tmp_path, capsys):
    out = ("--out", str(tmp_path / "model"))
    assert train(recipes, *out, "--stop-after", "2") == 0
    assert not (tmp_path / "model" / "open_clip_config.json").exists()
    assert train(recipes, *out) == 2
    assert "continue with --resume" in capsys.readouterr().err
    assert train(recipes, *out, "--resume") == 0
    assert "continues after step 2" in capsys.readouterr().err
    plain = tmp_path / "plain"
    assert train(recipes, "--out", str(plain)) == 0
    assert curve_of(tmp_path / "model" / "training") == curve_of(plain / "training")
    weights = [(folder / "open_clip_model.safetensors").read_bytes() for folder in (tmp_path / "model", plain)]
    assert weights[0] == weights[1]


def test_the_folder_says_how_names_were_written_and_which_species_were_named(recipes, tmp_path):
    out, short = tmp_path / "model", ("--steps", "1")
    template = ("--organisms.template", "a drawing of {}.")
    assert train(recipes, "--out", str(out), *short, *template, "--organisms.types=scientific,taxonomic") == 0
    model = load_model(str(out))
    assert (model.card.templates, model.card.label_templates) == (("a drawing of {}.",),) * 2
    assert model.card.text_type == "taxonomic"
    assert set(model.familiar) == {lineage for lineage, _ in synthetic_taxa()}
    again = tmp_path / "again"
    own = (
        "--start",
        str(out),
        "--organisms.drawn=0",
        "--organisms.table",
        str(table_of_photographs(tmp_path)),
        "--organisms.split=train",
    )
    assert train(recipes, "--out", str(again), *short, *own) == 0
    new = set(load_model(str(again)).familiar) - set(model.familiar)
    assert new == {("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina"), CAT}


def table_of_photographs(folder: Path) -> Path:
    """A species with a gap in its lineage, one of whole lineage, a genus and a species to validate on."""
    rows = ["file,kingdom,phylum,class,order,family,genus,species,split"]
    rows += ["x.png,Plantae,,,,,Rosa,canina,train", f"x.png,{','.join(CAT)},train", "x.png,Plantae,,,,,Ophrys,,train"]
    (folder / "labels.csv").write_text("\n".join([*rows, f"x.png,{','.join(CAT[:-1])},Felis margarita,val"]))
    (folder / "x.png").write_bytes(draw_picture(0, 0))
    return folder / "labels.csv"


def test_a_folder_with_a_model_of_another_kind_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a model of another kind"):
        run_clip(tiny_recipe(tmp_path / "recipe"), tmp_path)


def test_torchrun_starts_two_ranks_that_train_as_one(recipes, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
        "--standalone",
    ]
    command += ["-m", "linnaea", "train", "tiny", "--recipes", str(recipes), "--out", str(tmp_path / "two")]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("step 6/6") == 1
    assert train(recipes, "--out", str(tmp_path / "one")) == 0
    work = [tmp_path / name / "training" for name in ("one", "two")]
    np.testing.assert_allclose(losses(work[1]), losses(work[0]), rtol=1e-5)
