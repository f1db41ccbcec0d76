"""The benchmarks with pybioclip and open_clip measure what they claim, on tiny models and tables."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from linnaea.model.loading import load_model

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Return a function that imports a script as if it ran from its folder, with a cache of its own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    return lambda name: __import__(name)


@pytest.fixture
def made(script, tmp_path):
    """Return the folder with a tiny `model`, a `table` and `photos`."""
    script("golden_pybioclip").make_inputs(tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def ours(script, made, monkeypatch):
    """Return the scorers of scoring_speed.py on the tiny table, with the settings of a large one."""
    pytest.importorskip("faiss")
    from linnaea.search import scorer

    monkeypatch.setattr(scorer, "FEW_CANDIDATES", 0)
    return script("scoring_speed").Ours(made / "model", made / "table")


def test_the_batch_of_one_that_is_timed_is_held_against_float64(script, made, ours):
    module = script("scoring_speed")
    vectors_bd = module.image_vectors(made / "table", 6, seed=0, cosine=0.6)
    found = module.dense_errors(ours, vectors_bd)
    for asked in ("every rank, one by one", "species, one by one"):
        assert found["exact", asked]["went"] == {"dense": 6}
    assert found["exact", "every rank, one batch"]["went"] == {"dense": 6}
    assert all(found["exact", asked][module.K] < 1e-5 and found["exact", asked]["kept"] == 1 for asked in module.ASKED)


def test_an_error_of_a_scorer_is_found(script, made, ours):
    module = script("scoring_speed")
    vectors_bd = module.image_vectors(made / "table", 3, seed=0, cosine=0.6)
    score = ours.scorers["exact"].score

    def wrong(part, **given):
        scores = score(part, **given)
        if len(part) == 1:
            scores.top_probability_brk[:, -1, 0] += 0.01
        return scores

    ours.scorers["exact"].score = wrong
    found = module.dense_errors(ours, vectors_bd)
    assert found["exact", "every rank, one batch"][module.K] < 1e-5
    assert found["exact", "species, one by one"][module.K] == pytest.approx(0.01, abs=1e-5)
    text = "\n".join(module.error_lines(ours, made / "table", 3, 0.6))
    assert "| exact | species, one by one | 1.0e-02 |  | 1.0000 | dense 3 |  |" in text


def test_the_first_load_of_the_scoring_benchmark_finds_an_empty_cache(script, made, tmp_path, monkeypatch):
    module, seen = script("scoring_speed"), {}

    def measure(options):
        cache = Path(os.environ["LINNAEA_CACHE"])
        seen["before"] = list(cache.iterdir())
        first = module.Ours(options.model, options.table)
        seen["after"] = list(cache.iterdir())
        return [f"{first.first_s:.0f}"]

    (tmp_path / "cache" / "x").mkdir(parents=True)
    monkeypatch.setattr(module, "measure", measure)
    given = {
        "--peers": tmp_path,
        "--model": made / "model",
        "--table": made / "table",
        "--near-uniform": made / "table",
    }
    given |= {"--results": tmp_path / "results"}
    monkeypatch.setattr(sys, "argv", ["x", *(str(word) for pair in given.items() for word in pair)])
    module.main()
    assert seen["before"] == []
    assert seen["after"]


def test_a_folder_is_named_among_the_published_vectors_as_they_are(script, made):
    module = script("folder_to_species")
    worker = module.Worker()
    worker.load(str(made / "model"), str(made / "table"), "onnxruntime")
    table = worker.namer.scorer.table
    assert table.kind == "published"
    assert table.vectors_nd.dtype == np.float32
    named = worker.predict(str(made / "photos"))["best"]
    assert len(named) == len(list((made / "photos").iterdir()))
    assert all(named.values())


def test_either_projector_of_a_checkpoint_is_given_to_open_clip_as_its_only_one(script, tmp_path):
    architectures, module = script("random_checkpoint"), script("checkpoint_equality")
    config = architectures.ARCHITECTURES["tiny"]
    architectures.write_checkpoint(tmp_path / "one", config)
    architectures.write_checkpoint(tmp_path / "two", architectures.with_second_projector(config))
    with module.projectors(tmp_path / "one") as plain:
        assert plain == [("", tmp_path / "one")]
    images = module.draw_images(2, 224)
    with module.projectors(tmp_path / "two") as plain:
        assert [suffix for suffix, _ in plain] == ["", "#second"]
        for suffix, theirs in plain:
            assert "is_continual" not in (theirs / "open_clip_config.json").read_text()
            wanted = load_model(f"{tmp_path / 'two'}{suffix}").encode_images(images)
            np.testing.assert_array_equal(load_model(str(theirs)).encode_images(images), wanted)
            with pytest.raises(ValueError, match="has only one image projector"):
                load_model(f"{theirs}#second")


@pytest.mark.parametrize(
    "path", sorted([*SCRIPTS.glob("*.py"), *SCRIPTS.glob("validation/*.py")]), ids=lambda path: path.stem
)
def test_every_benchmark_is_in_the_list(path):
    assert f"`{path.relative_to(SCRIPTS).as_posix()}`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")
