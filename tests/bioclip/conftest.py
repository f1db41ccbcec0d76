import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    """benchmarks/golden_pybioclip.py, which makes the inputs of the golden answers."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import golden_pybioclip
    finally:
        sys.path.remove(str(BENCHMARKS))
    return golden_pybioclip


@pytest.fixture(scope="module")
def golden():
    return json.loads((HERE.parent / "golden" / "pybioclip.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(script, tmp_path_factory):
    """The folder with `model`, `table`, `photos`, `subset.csv` and `bins.csv`."""
    folder = tmp_path_factory.mktemp("bioclip")
    script.make_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def photos(made):
    return sorted(map(str, (made / "photos").iterdir()))


@pytest.fixture(scope="module")
def tree(made):
    from linnaea.bioclip import TreeOfLifeClassifier

    return TreeOfLifeClassifier(model_str=str(made / "model"), table=made / "table")
