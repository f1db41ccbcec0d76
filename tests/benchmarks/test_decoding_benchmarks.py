"""The two scripts about decoding start, and the one with a peer writes its result with Pillow as the peer."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return lambda name: __import__(name)


class PillowPeer:
    """A peer that takes no time and returns what open_clip's transform gives before it makes a tensor."""

    def __init__(self, python, folder):
        pass

    def seconds(self, paths, out=None):
        return 10.0 * len(paths)

    def pixels(self, path):
        image = Image.open(path).convert("RGB")
        short = min(image.size)
        width, height = (224 if side == short else int(224 * side / short) for side in image.size)
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(resized.crop((left, top, left + 224, top + 224)))

    def close(self):
        pass


@pytest.mark.parametrize("name", ["decoding_speed", "scaled_decoding"])
def test_a_script_about_decoding_has_its_help_and_its_line(script, name, capsys):
    with pytest.raises(SystemExit) as stop:
        script(name).main(["--help"])
    assert stop.value.code == 0
    assert "--results" in capsys.readouterr().out
    assert f"`{name}.py`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")


def test_ways_of_decoding_are_compared_with_the_peer(script, monkeypatch, tmp_path):
    module = script("decoding_speed")
    kinds = (module.KINDS[0], module.KINDS[3])
    small = [module.Kind(**{**vars(kind), "size": (960, 900), "n": 1}) for kind in kinds]
    monkeypatch.setattr(module, "KINDS", small)
    monkeypatch.setattr(module, "SHAPES", [(300, 200), (150, 100)])
    monkeypatch.setattr(module, "Peer", PillowPeer)
    monkeypatch.setattr(module, "peer_python", lambda folder: folder)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    assert module.main(["--peers", str(tmp_path), "--rounds", "1", "--results", str(tmp_path / "results")]) == 0
    (path,) = (tmp_path / "results").iterdir()
    text = path.read_text(encoding="utf-8")
    assert "| open_clip | 10000.00 (10000.00 … 10000.00) | 1 |" in text
    greatest = [
        int(line.split("|")[5]) for line in text.splitlines() if line.startswith("| linnaea, exact | ") and "(" in line
    ]
    assert len(greatest) == 2
    assert max(greatest) <= 1
    assert cores is None or os.sched_getaffinity(0) == cores
