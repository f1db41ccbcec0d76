"""Random checkpoints and name tables that replace those of the hub."""

import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script as if it ran from its folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: __import__(name)


@pytest.mark.parametrize(("name", "millions"), [("vit-b-16", 149.62), ("vit-l-14", 427.62), ("vit-h-14", 986.11)])
def test_the_architectures_have_the_published_numbers_of_parameters(script, name, millions):
    random_checkpoint = script("random_checkpoint")
    shapes = random_checkpoint.tensor_shapes(random_checkpoint.ARCHITECTURES[name])
    assert sum(map(math.prod, shapes.values())) / 1e6 == pytest.approx(millions, abs=0.01)


def test_a_checkpoint_is_a_whole_file_whose_tensors_depend_on_their_names_alone(script, tmp_path):
    from linnaea.model.core.safetensors import read_safetensors

    random_checkpoint = script("random_checkpoint")
    config = random_checkpoint.ARCHITECTURES["tiny"]
    random_checkpoint.write_checkpoint(tmp_path / "one", config)
    random_checkpoint.write_checkpoint(tmp_path / "two", random_checkpoint.with_second_projector(config))
    one, two = (read_safetensors(tmp_path / name / random_checkpoint.WEIGHTS) for name in ("one", "two"))
    assert set(two) - set(one) == {"visual.continual_proj"}
    assert all(np.array_equal(one[name].array(), two[name].array()) for name in one)
    assert two["visual.continual_proj"].shape == one["visual.proj"].shape
    written = json.loads((tmp_path / "two" / random_checkpoint.CONFIG).read_text())
    assert written["model_cfg"]["vision_cfg"]["is_continual"] is True


def test_a_random_table_has_unit_columns_and_the_stated_cosine_between_species_of_a_genus(script, tmp_path):
    random_table = script("random_table")
    random_table.write_table(tmp_path, 600, 64, n_zero=3)
    matrix_dn = np.load(tmp_path / random_table.NPY)
    names = json.loads((tmp_path / random_table.JSON).read_text(encoding="utf-8"))
    assert matrix_dn.shape == (64, 600)
    assert matrix_dn.dtype == np.float32
    assert len(names) == 600
    assert all(len(lineage) == 7 and " " not in lineage[6].split("-")[0] for lineage, _ in names)
    np.testing.assert_allclose(np.linalg.norm(matrix_dn[:, :-3], axis=0), 1, atol=1e-5)
    assert not matrix_dn[:, -3:].any()
    of_genus = defaultdict(list)
    for column, (lineage, _) in enumerate(names[:-3]):
        of_genus[lineage[5]].append(column)
    cosines = [
        cosine
        for columns in of_genus.values()
        for cosine in (matrix_dn[:, columns].T @ matrix_dn[:, columns])[np.triu_indices(len(columns), 1)]
    ]
    assert np.mean(cosines) == pytest.approx(random_table.COSINES[-1], abs=0.05)
