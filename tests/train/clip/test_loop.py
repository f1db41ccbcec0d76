"""The loop of CLIP models learns equally on any number of ranks, and names what is not finite or lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from linnaea.datasets.shard_writer import write_shards
from linnaea.model.formats.open_clip import OpenClipModel
from linnaea.train.clip.checkpoints import Checkpoints, find_finished
from linnaea.train.clip.loop import train_clip
from linnaea.train.clip.objective import Objective, check_finite
from linnaea.train.clip.open_clip_io import load_open_clip, make_model, save_open_clip
from linnaea.train.clip.pipeline import run_clip
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.clip.training_model import clamp_logit_scale, clip_gradients, make_optimizer, open_model
from linnaea.train.distributed.process_group import ProcessGroup, describe_lost_rank
from linnaea.train.runtime.metrics_log import MetricsLog
from made_clip import curve_of, losses, mean_vectors, run_ranks, tiny_recipe, validations
from made_shards import CAT, image_bytes, made_shards


@pytest.fixture(autouse=True)
def notices(caplog):
    """Record what the run says."""
    caplog.set_level("INFO", "linnaea")


@pytest.fixture(autouse=True)
def one_thread():
    """The same number of threads as the workers have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def replayed(recipe: ClipRecipe) -> ClipRecipe:
    """The same with four replayed pairs a step, as the worker has them."""
    return replace(recipe, replay=SamplesConfig(drawn=48), replay_batch=4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One rank's run with replay: its work folder and its towers."""
    folder = tmp_path_factory.mktemp("alone")
    torch.set_num_threads(1)
    towers = train_clip(replayed(tiny_recipe(folder)), folder / "work", validate=mean_vectors)
    return folder / "work", towers.state_dict()


def test_the_loss_falls_and_the_same_seed_gives_the_same_curve(tmp_path):
    recipe = tiny_recipe(tmp_path, steps=40, learning_rate=5e-3, organisms=SamplesConfig(drawn=96, types=("common",)))
    curves = [train_clip(recipe, tmp_path / name) and curve_of(tmp_path / name) for name in "ab"]
    assert curves[0] == curves[1]
    found = [row["loss"] for row in curves[0]]
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:3])
    other = replace(recipe, seed=1, steps=1, warm_up=0)
    train_clip(other, tmp_path / "c")
    assert curve_of(tmp_path / "c")[0]["loss"] != found[0]


@pytest.mark.parametrize("changes", [{}, {"parallel": "fsdp", "micro_batch": 4}])
def test_two_ranks_train_as_one(alone, tmp_path, changes):
    compare_with_one(alone, tmp_path, 2, changes)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("changes", [{"micro_batch": 4}, {"parallel": "fsdp"}])
def test_more_ranks_train_as_one(alone, tmp_path, n, changes):
    compare_with_one(alone, tmp_path, n, changes)


def compare_with_one(alone, tmp_path, n, changes):
    """The curve and the towers of n ranks against those of one."""
    work, state = alone
    ended = run_ranks("replay", tmp_path, n, **changes)
    assert [code for code, *_ in ended] == [0] * n, ended
    np.testing.assert_allclose(losses(tmp_path / "work"), losses(work), rtol=1e-5)
    np.testing.assert_allclose(validations(tmp_path / "work"), validations(work), atol=1e-5)
    for name, value in torch.load(tmp_path / "towers.pt").items():
        if name.endswith("in_proj_bias"):
            # No softmax sees a key's bias: its gradient is rounding alone, which AdamW makes as large as any.
            value.view(3, -1)[1] = state[name].view(3, -1)[1]
        np.testing.assert_allclose(value, state[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("changes", [{"micro_batch": 5}, {"activation_checkpointing": True}, {"tile": 4}])
def test_what_saves_memory_changes_no_loss(alone, tmp_path, changes):
    recipe = replayed(tiny_recipe(tmp_path, **changes))
    train_clip(recipe, tmp_path / "work")
    np.testing.assert_allclose(losses(tmp_path / "work"), losses(alone[0]), rtol=1e-5)


def test_bfloat16_follows_float32_closely(alone, tmp_path):
    train_clip(replayed(tiny_recipe(tmp_path, precision="bf16")), tmp_path / "work")
    found, wanted = losses(tmp_path / "work"), losses(alone[0])
    assert not np.array_equal(found, wanted)
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], rtol=2e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "sigmoid"},
        {"loss": "levels", "genus_share": 0.2, "family_share": 0.1},
        {"loss": "levels", "genus_share": 0.2, "micro_batch": 4},
        {"teacher": True, "micro_batch": 5},
    ],
)
def test_every_objective_trains(tmp_path, changes):
    if "teacher" in changes:
        recipe = tiny_recipe(tmp_path)
        save_open_clip(open_model(replace(recipe, seed=5)).clip, recipe.towers, tmp_path / "teacher")
        changes = changes | {"teacher": tmp_path / "teacher"}
    recipe = tiny_recipe(tmp_path, steps=24, learning_rate=3e-3, warm_up=0, **changes)
    train_clip(recipe, tmp_path / "work")
    rows = curve_of(tmp_path / "work")
    assert np.mean([row["loss"] for row in rows[-4:]]) < np.mean([row["loss"] for row in rows[:4]])
    assert ("distillation" in rows[0]) == ("teacher" in changes)


def test_the_loss_is_the_sum_of_its_terms(tmp_path):
    recipe = replayed(tiny_recipe(tmp_path))
    vectors = [torch.nn.functional.normalize(torch.randn(6, 8), dim=-1) for _ in range(6)]
    objective = Objective(replace(recipe, teacher_weight=0.5))
    loss = objective((*vectors[:4], torch.tensor(10.0)), {}, (*vectors[4:], torch.tensor(20.0)))
    parts = objective.parts
    assert loss.item() == pytest.approx((parts["contrast"] + parts["replay"] + 0.5 * parts["distillation"]).item())
    assert len({round(part.item(), 4) for part in parts.values()}) == 4


def test_matrices_alone_decay(tmp_path):
    model = open_model(tiny_recipe(tmp_path, loss="sigmoid"))
    optimizer = make_optimizer(model, tiny_recipe(tmp_path, weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: decay[id(p)] for name, p in model.named_parameters()}
    assert found["clip.visual.conv1.weight"] == found["clip.text_projection"] == 0.3
    for name in ("clip.logit_scale", "bias", "clip.ln_final.weight", "clip.transformer.resblocks.0.mlp.c_fc.bias"):
        assert found[name] == 0


def test_gradients_are_shortened_and_the_scale_is_held(tmp_path):
    recipe = tiny_recipe(tmp_path, max_scale=14.0, clip_norm=1e-9, steps=2, learning_rate=1e-3, epsilon=1.0)
    before = open_model(recipe).clip.state_dict()
    towers = train_clip(recipe, tmp_path / "work")
    assert towers.logit_scale.exp().item() == pytest.approx(14.0)
    # with so short a gradient and so large an epsilon nothing but the decay moves
    for name, value in towers.state_dict().items():
        if value.ndim == 1:
            torch.testing.assert_close(value, before[name], atol=1e-7, rtol=0)
    assert curve_of(tmp_path / "work")[0]["gradient"] > 1e-3


@pytest.mark.parametrize(
    ("logit", "max_scale", "held"), [(-5.0, 100.0, 1.0), (2.0, 100.0, 7.389056), (9.0, 50.0, 50.0)]
)
def test_the_logit_scale_stays_between_one_and_its_largest_value(tmp_path, logit, max_scale, held):
    model = open_model(tiny_recipe(tmp_path))
    with torch.no_grad():
        model.clip.logit_scale.fill_(logit)
    assert clamp_logit_scale(model, max_scale) == pytest.approx(held)
    assert model.clip.logit_scale.exp().item() == pytest.approx(held)


def test_a_scale_that_training_drives_below_one_is_held_at_one(tmp_path):
    recipe = tiny_recipe(tmp_path, learning_rate=20.0, warm_up=0, steps=2, weight_decay=0.0, clip_norm=1e-3)
    train_clip(recipe, tmp_path / "work")
    # vectors that say nothing yet pull the scale down: AdamW's first step moves its logarithm from 2.66 to -17.3
    assert curve_of(tmp_path / "work")[0]["scale"] == 1.0


@pytest.mark.parametrize(
    ("bound", "left"), [(2.0, [1.2, 1.6]), (4.0, [2.4, 3.2]), (5.0, [3.0, 4.0]), (6.0, [3.0, 4.0]), (0.0, [3.0, 4.0])]
)
def test_a_gradient_longer_than_the_bound_is_scaled_down_to_it_and_a_shorter_one_is_left(bound, left):
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    clip_gradients(layer, bound, 5.0)
    assert layer.weight.grad[0].tolist() == pytest.approx(left)


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_before_the_step(tmp_path):
    ended = run_ranks("nan", tmp_path, 2, checkpoint_every=1)
    assert [code for code, *_ in ended] == [3, 3], ended
    for _, said, _ in ended:
        assert "FloatingPointError: step 3: the loss is nan on rank 1;" in said
    kept = sorted(path.name for path in (tmp_path / "work" / "checkpoints").glob("step-*"))
    assert kept == ["step-00000002", "step-00000003"]
    assert len(curve_of(tmp_path / "work")) == 3


def test_a_gradient_that_is_not_finite_is_named_with_its_loss():
    check_finite(4, [1.0, 2.0], 3.0)
    with pytest.raises(FloatingPointError, match=r"step 4: the norm of the gradient is inf, at a loss of 1.5"):
        check_finite(4, [1.0, 2.0], float("inf"))
    with pytest.raises(FloatingPointError, match=r"inf on rank 1, nan on rank 2"):
        check_finite(4, [1.0, float("inf"), float("nan")], 3.0)


def test_a_rank_that_vanishes_ends_the_others_by_name_and_the_checkpoint_is_whole(tmp_path):
    ended = run_ranks("vanish", tmp_path, 2, timeout_s=20.0)
    assert ended[1][0] == -9
    code, said, _ = ended[0]
    assert code == 3, ended[0]
    assert "ConnectionError: rank 0 of 2 no longer reaches rank 1 (" in said
    assert "the error of rank 1 says why; if it was killed" in said
    assert "'Root Cause'" in said
    recipe = tiny_recipe(tmp_path)
    train_clip(recipe, tmp_path / "work", resume=True)
    plain = tmp_path / "plain"
    train_clip(recipe, plain)
    np.testing.assert_allclose(losses(tmp_path / "work"), losses(plain), rtol=1e-5)


def test_of_more_than_two_ranks_the_lost_one_is_to_be_looked_for_in_torchruns_report():
    said = describe_lost_rank(2, 4, RuntimeError("Connection closed by peer"))
    assert said.startswith(
        "rank 2 of 4 no longer reaches the others (Connection closed by peer); "
        "the error of the rank that ended first says why"
    )
    assert "torchrun's report names it with its signal under 'Root Cause'" in said


def test_a_batch_that_cannot_be_shared_is_named():
    assert ProcessGroup(world_size=4).share_of(12, "batch") == 3
    with pytest.raises(ValueError, match="batch 10 cannot be shared evenly by 4 ranks; use 8 or 12"):
        ProcessGroup(world_size=4).share_of(10, "batch")


def test_validation_comes_from_outside_every_so_often_and_at_the_end(tmp_path):
    recipe = tiny_recipe(tmp_path, validate_every=4)
    towers = train_clip(recipe, tmp_path / "work", validate=mean_vectors)
    rows = (tmp_path / "work" / "validation.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [[step, name] for step in "46" for name in ('"images"', '"texts"')]
    with torch.no_grad():
        assert validations(tmp_path / "work")[2:].tolist() == list(mean_vectors(towers).values())


def test_the_exported_folder_gives_the_vectors_of_the_trained_towers(tmp_path):
    recipe = tiny_recipe(tmp_path)
    towers = train_clip(recipe, tmp_path / "work")
    out = save_open_clip(towers, recipe.towers, tmp_path / "out")
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    with torch.no_grad():
        wanted = towers.encode_images(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(OpenClipModel(out).encode_images(images), wanted, atol=1e-5)
    assert torch.equal(load_open_clip(out).text_projection, towers.text_projection)


def test_a_run_starts_from_given_weights(tmp_path):
    recipe = tiny_recipe(tmp_path)
    save_open_clip(open_model(replace(recipe, seed=9)).clip, recipe.towers, tmp_path / "start")
    started = open_model(replace(recipe, start=tmp_path / "start"))
    assert torch.equal(started.clip.visual.proj, open_model(replace(recipe, seed=9)).clip.visual.proj)
    other = json.loads(recipe.towers.read_text())
    other["model_cfg"]["embed_dim"] = 4
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"start has other towers than other.json"):
        open_model(replace(recipe, start=tmp_path / "start", towers=tmp_path / "other.json"))


def test_crops_of_another_size_are_named(tmp_path):
    recipe = tiny_recipe(tmp_path)
    with pytest.raises(ValueError, match=r"crops have 32 pixels a side.*need 16; set crop.size"):
        open_model(replace(recipe, crop=replace(recipe.crop, size=32)))


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        (
            "vision_cfg",
            {"image_size": 24},
            "teacher .* has 24 pixels a side, the towers of open_clip_config.json have 16; give",
        ),
        ("vision_cfg", {"image_size": 8}, "has 8 pixels a side"),
        (
            "text_cfg",
            {"context_length": 39},
            "has 39 tokens a text, the towers of open_clip_config.json have 40; .* at least as many",
        ),
    ],
)
def test_a_teacher_that_cannot_see_what_the_towers_see_is_refused_at_the_start(tmp_path, part, changes, said):
    recipe = tiny_recipe(tmp_path)
    other = json.loads(recipe.towers.read_text())
    other["model_cfg"][part] |= changes
    (tmp_path / "other.json").write_text(json.dumps(other))
    save_open_clip(make_model(tmp_path / "other.json"), tmp_path / "other.json", tmp_path / "teacher")
    with pytest.raises(ValueError, match=said) as found:
        run_clip(replace(recipe, teacher=tmp_path / "teacher"), tmp_path / "out")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_longer_texts_and_other_widths_teaches(tmp_path):
    recipe = tiny_recipe(tmp_path, steps=1, warm_up=0)
    other = json.loads(recipe.towers.read_text())
    other["model_cfg"]["embed_dim"] = 4
    other["model_cfg"]["text_cfg"] |= {"context_length": 50, "width": 16}
    (tmp_path / "other.json").write_text(json.dumps(other))
    save_open_clip(make_model(tmp_path / "other.json"), tmp_path / "other.json", tmp_path / "teacher")
    train_clip(replace(recipe, teacher=tmp_path / "teacher"), tmp_path / "work")
    assert curve_of(tmp_path / "work")[0]["distillation"] > 0


def sharded(tmp_path, **changes) -> ClipRecipe:
    """The tiny recipe on tar shards, with the cache beside them."""
    samples = SamplesConfig(shards=(str(tmp_path / "shards" / "shard-*.tar"),), **changes)
    return tiny_recipe(tmp_path, organisms=samples, batch=6)


def test_missing_shards_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no shard matches .*shard-\*\.tar"):
        train_clip(sharded(tmp_path), tmp_path / "work")
    paths = made_shards(tmp_path / "shards")
    recipe = sharded(tmp_path)
    named = replace(recipe.organisms, shards=(*map(str, paths), str(tmp_path / "shards" / "shard-00099.tar")))
    with pytest.raises(FileNotFoundError, match=r"missing shards: .*shard-00099.tar"):
        train_clip(replace(recipe, organisms=named), tmp_path / "work")


def test_a_truncated_shard_is_named_or_its_whole_samples_are_used(tmp_path, caplog):
    path = made_shards(tmp_path / "shards")[1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"shard-00001.tar is truncated: .*keep_truncated"):
        train_clip(sharded(tmp_path), tmp_path / "work")
    train_clip(sharded(tmp_path, keep_truncated=True), tmp_path / "work")
    assert any(line.startswith("organisms: 1 not used: truncated") for line in caplog.messages)


def test_a_run_does_not_go_on_with_shards_that_hold_something_else(tmp_path):
    first, second, *_ = made_shards(tmp_path / "shards")
    train_clip(sharded(tmp_path), tmp_path / "work")
    for path, new in zip((first, second), (second.read_bytes(), first.read_bytes()), strict=True):
        path.write_bytes(new)
    with pytest.raises(ValueError, match=r"had source .*: its shards or its table have changed"):
        train_clip(sharded(tmp_path), tmp_path / "work", resume=True)


def test_samples_without_text_and_names_without_lineage_are_counted_by_name(tmp_path, caplog):
    nothing = ("",) * 7
    bare = ("", "", "", "", "", "Felis", "Felis catus")
    samples = [(f"s{i}", image_bytes(i), CAT, "cat") for i in range(8)]
    write_shards(
        [*samples, ("mute", image_bytes(8), nothing, ""), ("bare", image_bytes(9), bare, "")], tmp_path / "shards"
    )
    train_clip(sharded(tmp_path), tmp_path / "work")
    assert "organisms: 1 not used: no text: neither a scientific nor a common name" in caplog.messages
    assert "organisms: 1 used, but: no lineage: a bare name, without the ranks above it" in caplog.messages
    rejects, notices = ((tmp_path / "work" / kind / "organisms-0.csv").read_text() for kind in ("rejects", "notices"))
    assert "mute,no text" in rejects
    assert "bare" not in rejects
    assert 'bare,"no lineage' in notices
    assert "mute" not in notices


def test_checkpoints_are_written_whole_whatever_ends_badly_before_them(tmp_path, monkeypatch):
    def fail(_self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MetricsLog, "close", fail)
    closed, plain = [], Checkpoints.close
    monkeypatch.setattr(Checkpoints, "close", lambda self: (closed.append(True), plain(self)))
    with pytest.raises(OSError, match="No space"):
        train_clip(tiny_recipe(tmp_path), tmp_path / "work")
    assert closed
    assert find_finished(tmp_path / "work" / "checkpoints")[-1].name == "step-00000006"


def test_a_work_folder_with_checkpoints_is_not_trained_over(tmp_path):
    recipe = tiny_recipe(tmp_path)
    train_clip(recipe, tmp_path / "work")
    with pytest.raises(ValueError, match="holds step-00000006; continue with --resume, or choose another --out"):
        train_clip(recipe, tmp_path / "work")
    shutil.rmtree(tmp_path / "work" / "checkpoints")
    train_clip(recipe, tmp_path / "work")
