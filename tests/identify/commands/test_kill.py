"""A run that is killed at any point and resumed gives the bytes of an unbroken one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linnaea.embed.journal import BATCHES, get_journal_dir

# The program itself, with a model that takes its time.
SLOW = """
import sys, time
from linnaea.model.core.placeholder import PlaceholderModel
encode = PlaceholderModel.encode_images
def slow(self, images):
    time.sleep(0.03)
    return encode(self, images)
PlaceholderModel.encode_images = slow
from linnaea.cli import main
sys.exit(main(sys.argv[1:]))
"""
SOURCE = Path(__file__).resolve().parents[3] / "src"
# No process takes this long, even on a busy machine.
LIMIT_S = 120


def finish(process):
    """The exit code of a process and what it wrote to stderr."""
    _, errors = process.communicate(timeout=LIMIT_S)
    return process.returncode, errors


@pytest.fixture
def many(tmp_path, paint, photos):
    for i, what in enumerate(["cat", "wolf", "lion", "dog rose"] * 8):
        paint(photos / "many" / f"{i}.png", what)
    return photos


@pytest.fixture
def start(vocabulary_path):
    started = []

    def command(*arguments):
        settings = [
            "--model",
            "placeholder",
            "--vocabulary",
            str(vocabulary_path),
            "--batch-size",
            "2",
            "--top",
            "2",
            "--names",
            "full",
        ]
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, "identify", *map(str, arguments), *settings],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield command
    for process in started:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def wait_for_batches(process, folder, n_bytes):
    """Until the journal has grown by `n_bytes`, or the process has ended."""
    deadline = time.monotonic() + 60
    path = folder / BATCHES
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.stat().st_size >= n_bytes:
            return
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_killed_at_any_point_a_run_resumes_to_the_same_bytes(start, many, tmp_path, suffix):
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"broken.{suffix}"
    unbroken = start(many, "--out", whole)
    code, errors = finish(unbroken)
    assert code == 0, errors
    chance = random.Random(suffix)
    resume, kills = (), 0
    for _ in range(3):
        process = start(many, "--out", out, *resume)
        grown = chance.randint(1, 6000)
        path = get_journal_dir(out) / BATCHES
        wait_for_batches(process, get_journal_dir(out), grown + (path.stat().st_size if path.exists() else 0))
        process.send_signal(signal.SIGKILL)
        kills += finish(process)[0] == -signal.SIGKILL
        resume = ("--resume",)
    assert kills
    last = start(many, "--out", out, "--resume")
    code, errors = finish(last)
    assert code == 0, errors
    assert out.read_bytes() == whole.read_bytes()
    assert not get_journal_dir(out).exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_broken_run_is_neither_lost_nor_mixed_with_another(start, many, tmp_path):
    out = tmp_path / "t.csv"
    process = start(many, "--out", out)
    wait_for_batches(process, get_journal_dir(out), 1)
    process.send_signal(signal.SIGKILL)
    finish(process)
    code, errors = finish(start(many, "--out", out))
    assert code == 2
    assert "--resume" in errors
    code, errors = finish(start(many, "--out", out, "--resume", "--rank", "family"))
    assert code == 2 and "--rank" in errors and errors.count("\n") == 1, errors
    # a photograph that came since is not part of the run that goes on
    (many / "zzz.jpg").touch()
    code, errors = finish(start(many, "--out", out, "--resume"))
    assert code == 0, errors
    assert "zzz.jpg" not in out.read_text(encoding="utf-8")
