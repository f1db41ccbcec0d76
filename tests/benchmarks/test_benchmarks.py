"""The benchmark scripts start, and a tiny run of each writes a complete result."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.records import RANKS

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the scripts read /proc")
SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Return a function that imports a script as if it ran from its folder, with a cache of its own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return lambda name: __import__(name)


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "cats.csv"
    rows = ["Animalia,Chordata,Mammalia,Carnivora,Felidae,Felis,Felis catus"]
    rows.append("Animalia,Chordata,Mammalia,Carnivora,Felidae,Panthera,Panthera leo")
    path.write_text("\n".join([",".join(RANKS), *rows]) + "\n")
    return path


def result_of(folder, what):
    (path,) = folder.iterdir()
    assert path.name.startswith(f"{what}_")
    assert path.suffix == ".md"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("identify_*.py")))
def test_every_script_has_its_help_and_its_line(script, name, capsys):
    with pytest.raises(SystemExit) as stop:
        script(name).main(["--help"])
    assert stop.value.code == 0
    assert "--results" in capsys.readouterr().out
    assert f"`{name}.py`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")


def test_memory_is_measured_and_rows_are_counted(script, vocabulary, tmp_path):
    results = tmp_path / "results"
    given = ["--n", "12", "--model", "placeholder", "--names", "staged", "--vocabulary", str(vocabulary)]
    assert script("identify_memory").main([*given, "--results", str(results)]) == 0
    text = result_of(results, "identify_memory")
    assert "| rows written | 12 of 12 |" in text
    assert "| exit code | 0 |" in text
    assert "kept" in text
    assert f"--vocabulary {vocabulary.name}" in text
    assert str(tmp_path) not in text


def test_the_images_are_all_different(script, tmp_path):
    script("identify_memory").make_images(tmp_path / "x", 1011)
    files = sorted((tmp_path / "x").rglob("*.*"))
    assert len(files) == 1011 == len({path.read_bytes() for path in files})
    assert sum(path.suffix == ".png" for path in files) == 102
    assert Image.open(files[-1]).size == (64, 64)


def test_the_memory_of_a_child_counts(script):
    module = script("identify_memory")
    child = "import time; held = bytearray(80_000_000); time.sleep(0.6)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    code, _seconds, peaks = module.watch([sys.executable, "-c", parent], dict(os.environ))
    assert code == 0
    assert peaks.n_processes == 2
    assert peaks.tree >= peaks.high_water > 80e6


def test_speed_is_measured_whole_and_in_parts(script, vocabulary, tmp_path, monkeypatch):
    module, results = script("identify_speed"), tmp_path / "results"
    monkeypatch.setattr(module, "SIZES", ((50, 40), (80, 60)))
    monkeypatch.setattr(module, "measure_sgemm", lambda: 1e9)
    monkeypatch.setattr(module, "measure_bandwidth", lambda: 1e9)
    (tmp_path / "photos").mkdir()
    Image.fromarray(PlaceholderModel().paint("Animalia")).save(tmp_path / "photos" / "a.JPG")
    given = ["--n", "3", "--rounds", "2", "--model", "placeholder", "--vocabulary", str(vocabulary)]
    given += ["--photos", str(tmp_path / "photos"), "--results", str(results)]
    assert module.main(given) == 0
    text = result_of(results, "identify_speed")
    assert "### 50 x 40" in text
    assert "### 80 x 60" in text
    assert all(f"| {title} | " in text for title in ("**whole run**", *module.PARTS.values()))
    assert "2 candidates, full table" in text
    assert "| name search | 0 M multiply-adds" in text
    assert "--photos photos" in text
    assert str(tmp_path) not in text


def test_the_ceiling_is_the_longer_of_arithmetic_and_traffic(script):
    ceiling = script("identify_speed").Ceiling(
        sgemm=1e9, bandwidth=1e10, tower_macs=20_000_000, search_macs=5_000_000, search_bytes=2e7
    )
    assert ceiling.tower_ms == pytest.approx(20)
    assert ceiling.search_ms == pytest.approx(5)


def test_the_arithmetic_of_a_tower_is_counted_from_its_graph(script, tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def weight(name, *shape):
        return numpy_helper.from_array(np.zeros(shape, np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),  # 4x4 out, 8 of 3 channels, 3x3
        helper.make_node("Conv", ["a", "g"], ["b"], group=8, pads=[1, 1, 1, 1]),  # 4x4 out, 8 of 1 channel, 3x3
        helper.make_node("ReduceMean", ["b"], ["c"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["c", "w"], ["y"], transB=1),  # 8 to 5
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 5])],
        [weight("k", 8, 3, 3, 3), weight("g", 8, 1, 3, 3), weight("w", 5, 8)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        str(tmp_path / "image.onnx"),
    )
    macs = script("identify_speed").count_tower_macs(tmp_path)
    assert macs == 16 * 8 * 27 + 16 * 8 * 9 + 8 * 5
    assert script("identify_speed").count_tower_macs(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "step_speed_fp32"),
        (["--compile"], "step_speed_fp32_compile"),
        (["--precision", "bf16", "--checkpointing", "--compile"], "step_speed_bf16_checkpointing_compile"),
    ],
)
def test_a_compiled_step_does_not_write_over_the_result_of_a_plain_one(script, arguments, name):
    module = script("step_speed")
    assert module.result_name(module.parse(arguments)) == name


def test_two_versions_are_compared_run_by_run_and_row_by_row(script, vocabulary, tmp_path):
    photos, results = tmp_path / "photos", tmp_path / "results"
    photos.mkdir()
    for name in ("Animalia", "Plantae", "Rosa"):
        Image.fromarray(PlaceholderModel().paint(name)).save(photos / f"{name}.png")
    given = [str(SCRIPTS.parent), "--photos", str(photos), "--photographs", "3", "--rounds", "1"]
    given += ["--model", "placeholder", "--vocabulary", str(vocabulary), "--results", str(results)]
    assert script("identify_versions").main(given) == 0
    text = result_of(results, "identify_versions")
    assert "0 with another name or rank; confidences differ by at most 0.0e+00" in text
    assert "| now / before | **" in text
    assert str(tmp_path) not in text


def test_answers_that_differ_are_counted(script, tmp_path):
    head = "file,position,status,name,rank,confidence\n"
    (tmp_path / "one.csv").write_text(f"{head}a.jpg,1,identified,Rosa,genus,0.9\nb.jpg,1,unreadable,,,\n")
    (tmp_path / "two.csv").write_text(f"{head}a.jpg,1,identified,Felis,genus,0.8\nb.jpg,1,unreadable,,,\n")
    n_rows, n_differing, gap = script("identify_versions").compare_answers(tmp_path / "one.csv", tmp_path / "two.csv")
    assert (n_rows, n_differing) == (2, 1)
    assert gap == pytest.approx(0.1)
