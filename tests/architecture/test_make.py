"""What the Makefile does with a path, tried with a stand-in for the installed command."""

import os
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make(root, tmp_path):
    """Runs a target of the Makefile in an empty checkout whose .venv holds nothing but a command that echoes."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "src/linnaea/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, tmp_path / name)
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("python", "linnaea"):
        (commands / name).write_text('#!/bin/sh\nfor word; do echo "[$word]"; done\n')
        (commands / name).chmod(0o755)
    for stamp in (".venv/.core", "build/demo/.photos"):
        (tmp_path / stamp).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stamp).touch()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PHOTOS"))}

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            ["make", *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_the_demo_names_its_own_photographs(make):
    assert make("demo")[:2] == ["[identify]", "[build/demo/photos]"]


@pytest.mark.parametrize("photos", ["plain", "my photos/July 3", 'it\'s "quoted"', "été 猫"])
def test_any_folder_of_photographs_reaches_the_command_whole(make, photos):
    assert make("demo", f"PHOTOS={photos}")[:2] == ["[identify]", f"[{photos}]"]


def test_make_alone_lists_the_targets(make):
    listed = "\n".join(make())
    assert all(
        f"make {target} " in listed for target in ("demo", "test", "lint", "names", "docs", "site", "mutants", "clean")
    )


def test_a_stranger_to_the_machine_runs_what_we_run(root):
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"


def test_the_readme_gives_the_size_that_make_prints(root):
    measured = root / ".venv" / ".core_mb"
    if not measured.exists():
        pytest.skip("the core was not installed by `make` in this checkout, so its size was not measured")
    (stated,) = re.findall(r"`\.venv` \(about (\d+) MB", (root / "README.md").read_text(encoding="utf-8"))
    assert int(stated) == pytest.approx(int(measured.read_text()), rel=0.1)
