"""Each script in examples/ runs and prints an answer."""

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PHOTOS = ROOT / "build" / "demo" / "photos"


def load(name: str):
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working folder that holds the photographs of the demo where the examples look for them."""
    if not PHOTOS.is_dir():
        pytest.skip("the photographs of the demo are fetched by `make demo` and `make test`")
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(PHOTOS, tmp_path / "build" / "demo" / "photos"))


def test_every_example_is_listed_and_tested():
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(scripts) == 5
    assert all(f"[{name}]({name})" in listed for name in scripts)
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'load("{Path(name).stem}")' in tested for name in scripts)


def test_name_photographs(photos, capsys):
    load("name_photographs").main()
    lines = capsys.readouterr().out.splitlines()
    assert any("cat.png: Felis catus" in line for line in lines)
    assert "    1 Felis catus" in lines


def test_look_up_names(capsys):
    load("look_up_names").main("Panthera leo", "Pantera leo")
    found, missed = capsys.readouterr().out.splitlines()
    assert found.startswith("Panthera leo: species Panthera leo")
    assert "similar names: Panthera leo" in missed


def test_find_similar(photos, capsys):
    shutil.copy(photos / "cat.png", photos / "same_cat.png")
    load("find_similar").main(str(photos), "1")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("1.000") and "same_cat.png" in line


def test_learn_names(photos, capsys):
    load("learn_names").main()
    out = capsys.readouterr().out
    assert "learnt 3 names" in out
    assert all(f"{name}: {Path(name).stem} (" in out for name in ("cat.png", "flower.jpg", "temple.jpg"))


def test_what_if(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    load("what_if").main("0.05", "2")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("red fox") for line in lines)
    assert any(line.startswith("rabbit") for line in lines)
