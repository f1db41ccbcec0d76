"""Checkpoints: a killed run goes on to the last bit, whatever kills it; changed recipes and full disks are named."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from linnaea.store import read_manifest
from linnaea.train.clip.checkpoints import Checkpoints, find_finished
from linnaea.train.clip.loop import train_clip
from linnaea.train.clip.training_model import make_optimizer, open_model
from linnaea.train.distributed.process_group import ProcessGroup
from made_clip import HERE, curve_of, losses, run_ranks, tiny_recipe


@pytest.fixture(autouse=True)
def notices(caplog):
    """Record what the run says."""
    caplog.set_level("INFO", "linnaea")


@pytest.fixture(autouse=True)
def one_thread():
    """Sums are in the same order only with equally many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_run_that_is_asked_to_stop_keeps_the_step_it_ended_with_and_goes_on_as_if_unbroken(tmp_path):
    changes = {"steps": 8, "checkpoint_every": 0}
    whole = train_clip(tiny_recipe(tmp_path, **changes), tmp_path / "whole")
    recipe, work = tiny_recipe(tmp_path, **changes), tmp_path / "work"
    before = signal.getsignal(signal.SIGTERM)

    def ask(_clip):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(KeyboardInterrupt, match="after step 5"):
        # asked after its fourth step, it ends with the next
        train_clip(replace(recipe, validate_every=4), work, validate=ask)
    assert steps_kept(work) == [5]
    assert signal.getsignal(signal.SIGTERM) is before
    found = train_clip(recipe, work, resume=True)
    state = found.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
    assert curve_of(work) == curve_of(tmp_path / "whole")


def steps_kept(work):
    return [int(path.name.removeprefix("step-")) for path in find_finished(work / "checkpoints")]


def test_a_run_that_is_killed_and_resumed_has_the_curve_and_the_weights_of_an_unbroken_one(tmp_path):
    changes = {"steps": 30, "checkpoint_every": 3}
    whole = train_clip(tiny_recipe(tmp_path, **changes), tmp_path / "whole")
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "changes.json").write_text(json.dumps(changes))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    command = [sys.executable, str(HERE / "loop_worker.py"), "resume", str(folder)]
    at = random.SystemRandom().randint(5, 25)
    worker = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    path = folder / "work" / "curve.csv"
    while time.monotonic() < deadline and worker.poll() is None:
        if path.exists() and path.read_text().count("\n") > at:
            break
        time.sleep(0.001)
    worker.send_signal(signal.SIGKILL)
    assert worker.wait(timeout=60) == -signal.SIGKILL, f"the run was over before step {at}"
    n_before = path.read_text().count("\n") - 1
    assert n_before < 30
    assert subprocess.run(command, env=env, stdout=subprocess.DEVNULL, timeout=240, check=False).returncode == 0
    assert curve_of(folder / "work") == curve_of(tmp_path / "whole"), f"killed after step {n_before}"
    state = torch.load(folder / "towers.pt")
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


def test_a_run_stopped_at_any_step_goes_on_bit_for_bit_with_replay_and_micro_batches(tmp_path, caplog):
    recipe = tiny_recipe(tmp_path, micro_batch=5, checkpoint_every=0)
    recipe = replace(recipe, replay=replace(recipe.organisms, drawn=48), replay_batch=4)
    train_clip(recipe, tmp_path / "whole")
    for stop_after in (1, 4, 0):
        caplog.clear()
        step = replace(recipe, stop_after=stop_after)
        train_clip(step, tmp_path / "parts", resume=True)
    assert caplog.messages[0] == "continues after step 4"
    assert curve_of(tmp_path / "parts") == curve_of(tmp_path / "whole")


def test_the_last_checkpoints_are_kept(tmp_path):
    train_clip(tiny_recipe(tmp_path, checkpoint_every=1, keep=3), tmp_path / "work")
    assert steps_kept(tmp_path / "work") == [4, 5, 6]
    manifest = read_manifest(find_finished(tmp_path / "work" / "checkpoints")[-1])
    assert manifest["streams"]["organisms"]["position"] == 6 * 12
    assert manifest["recipe"]["batch"] == 12
    assert manifest["ranks"] == 1


def test_an_unfinished_checkpoint_counts_for_nothing_and_is_removed(tmp_path, caplog):
    recipe = tiny_recipe(tmp_path)
    train_clip(replace(recipe, stop_after=4), tmp_path / "work")
    kept = tmp_path / "work" / "checkpoints"
    (kept / ".step-00000005.0123abcd.unfinished").mkdir()
    (kept / "step-00000005").mkdir()
    (kept / "step-00000005" / "state.safetensors").write_bytes(b"half")
    caplog.clear()
    train_clip(recipe, tmp_path / "work", resume=True)
    assert caplog.messages[0] == "continues after step 4"
    assert sorted(path.name for path in kept.iterdir()) == ["step-00000004", "step-00000006"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "state.safetensors").write_bytes(b"half"), "state.safetensors is incomplete"),
        (lambda folder: (folder / "state.safetensors").unlink(), "state.safetensors is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"kind": "training checkpoint"}'),
            "manifest.json has no defining",
        ),
    ],
)
def test_a_damaged_checkpoint_is_named_with_what_is_left_without_it(tmp_path, damage, said, caplog):
    recipe, work = tiny_recipe(tmp_path), tmp_path / "work"
    train_clip(replace(recipe, stop_after=4), work)
    newest = work / "checkpoints" / "step-00000004"
    damage(newest)
    with pytest.raises(ValueError, match="holds step-00000004; continue with --resume"):
        train_clip(recipe, work)
    with pytest.raises(ValueError, match="remove this folder; --resume then continues from step-00000002") as found:
        train_clip(recipe, work, resume=True)
    assert f"checkpoint {newest} is damaged" in str(found.value)
    assert said in str(found.value)
    shutil.rmtree(newest)
    caplog.clear()
    train_clip(recipe, work, resume=True)
    assert caplog.messages[0] == "continues after step 2"


def test_a_damaged_checkpoint_without_another_says_that_the_run_starts_anew(tmp_path):
    recipe, work = tiny_recipe(tmp_path), tmp_path / "work"
    train_clip(replace(recipe, stop_after=2), work)
    (work / "checkpoints" / "step-00000002" / "state.safetensors").unlink()
    with pytest.raises(ValueError, match="--resume then starts at step 0"):
        train_clip(recipe, work, resume=True)


def test_a_checkpoint_is_the_run_as_it_was_when_it_was_asked_for(tmp_path):
    recipe = tiny_recipe(tmp_path)
    model = open_model(recipe)
    optimizer = make_optimizer(model, recipe)
    checkpoints = Checkpoints(tmp_path / "kept", recipe, ProcessGroup())
    before = {name: value.clone() for name, value in model.named_parameters()}
    checkpoints.save(1, model, optimizer, {})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    checkpoints.finish()
    again = Checkpoints(tmp_path / "kept", recipe, ProcessGroup())
    assert again.resume(model, optimizer)["step"] == 1
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0.5}, r"step-00000006 was made with learning_rate 0.001, the recipe has 0.5; resume with"),
        ({"batch": 24, "seed": 1}, r"with batch 12, the recipe has 24 \(and 1 other fields\)"),
        ({"steps": 8}, r"with steps 6, the recipe has 8"),
    ],
)
def test_a_changed_recipe_is_refused_with_the_field_and_the_remedy(tmp_path, changes, said):
    recipe = tiny_recipe(tmp_path)
    train_clip(recipe, tmp_path / "work")
    with pytest.raises(ValueError, match=said):
        train_clip(replace(recipe, **changes), tmp_path / "work", resume=True)


def test_other_data_under_the_same_names_are_refused(tmp_path):
    from made_shards import made_shards

    made_shards(tmp_path / "a", 20)
    recipe = tiny_recipe(tmp_path)
    recipe = replace(
        recipe, organisms=replace(recipe.organisms, drawn=0, shards=(str(tmp_path / "a" / "*.tar"),)), batch=4
    )
    train_clip(replace(recipe, stop_after=2), tmp_path / "work")
    made_shards(tmp_path / "a", 25)
    with pytest.raises(ValueError, match="the run to resume had source"):
        train_clip(recipe, tmp_path / "work", resume=True)


def test_another_number_of_ranks_goes_on_with_the_same_batches(tmp_path):
    recipe = tiny_recipe(tmp_path)
    train_clip(recipe, tmp_path / "whole")
    train_clip(replace(recipe, stop_after=3), tmp_path / "work")
    ended = run_ranks("resume", tmp_path, 2, parallel="fsdp")
    assert [code for code, *_ in ended] == [0, 0], ended
    assert "the run had 1 ranks and continues with 2: the batches stay the same" in ended[0][1]
    np.testing.assert_allclose(losses(tmp_path / "work"), losses(tmp_path / "whole"), rtol=1e-5)


def test_a_full_disk_is_named_keeps_the_earlier_checkpoint_and_the_next_one_tries_again(tmp_path, caplog):
    resource = pytest.importorskip("resource")
    recipe = tiny_recipe(tmp_path)
    model = open_model(recipe)
    optimizer = make_optimizer(model, recipe)
    checkpoints = Checkpoints(tmp_path / "kept", recipe, ProcessGroup())
    checkpoints.save(1, model, optimizer, {})
    checkpoints.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # No file may grow past this: what a writer meets then is what it meets on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        checkpoints.save(2, model, optimizer, {})
        checkpoints.wait()
        assert [path.name for path in (tmp_path / "kept").iterdir()] == ["step-00000001"]
        reason = os.strerror(errno.EFBIG)
        assert caplog.messages == [
            f"a checkpoint could not be written ({reason}); step-00000001 is kept; free space on its disk"
        ]
        checkpoints.save(3, model, optimizer, {})
        with pytest.raises(OSError, match="the last checkpoint could not be written"):
            checkpoints.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    checkpoints = Checkpoints(tmp_path / "kept", recipe, ProcessGroup())
    checkpoints.save(4, model, optimizer, {})
    checkpoints.finish()
    assert [path.name for path in find_finished(tmp_path / "kept")] == ["step-00000001", "step-00000004"]
