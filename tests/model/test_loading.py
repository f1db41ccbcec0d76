"""From a model's name to a model, or to the one line that says what to give instead."""

import shutil

import pytest

from linnaea.model import loading as checkpoint
from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.model.formats.model_folder import CONFIG, FolderModel
from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG


@pytest.fixture
def fault():
    """The one line that a name ends in."""

    def load(name, error=ValueError):
        with pytest.raises(error) as raised:
            checkpoint.load_model(str(name))
        text = str(raised.value)
        assert "\n" not in text
        return text

    return load


@pytest.fixture
def runs(tmp_path):
    """A folder with two models, a folder without a model and a file."""
    for name in ("birds", "Butterflies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG).touch()
    (tmp_path / "bards").mkdir()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_a_name_or_a_folder_gives_its_model(random_model_dir, tmp_path, monkeypatch):
    assert isinstance(checkpoint.load_model("placeholder"), PlaceholderModel)
    assert isinstance(checkpoint.load_model(str(random_model_dir)), FolderModel)
    shutil.copytree(random_model_dir, tmp_path / "bundled")
    monkeypatch.setattr(checkpoint, "BUNDLED_DIR", tmp_path / "bundled")
    assert checkpoint.load_model().card == checkpoint.load_model(str(random_model_dir)).card
    assert checkpoint.bundled_common_names() == {}


def test_an_installation_without_the_bundled_weights_says_so(tmp_path, monkeypatch, fault):
    monkeypatch.setattr(checkpoint, "BUNDLED_DIR", tmp_path / "nothing")
    text = fault("bundled", FileNotFoundError)
    assert "lacks the bundled weights" in text
    assert "install linnaea again" in text
    assert "--model DIR" in text
    assert "did you mean" not in text
    assert checkpoint.bundled_common_names() == {}


def test_a_mistyped_folder_names_the_models_beside_it(runs, fault):
    assert fault(runs / "brids") == f"unknown model '{runs / 'brids'}'; did you mean {runs / 'birds'}?"
    assert fault(runs / "butterflys").endswith(f"did you mean {runs / 'Butterflies'}?")
    assert fault(runs / "bards").startswith(
        f"'{runs / 'bards'}' is a folder without a model (no {CONFIG} and no {OPEN_CLIP_CONFIG}); did you mean"
    )


def test_a_folder_of_models_names_those_in_it(runs, fault):
    assert fault(runs).endswith(f"did you mean {runs / 'Butterflies'} or {runs / 'birds'}?")
    assert fault(runs / "birds" / "image.onnx").endswith(
        "choose bundled or another folder written by `linnaea train`, or an open_clip checkpoint"
    )
    (runs / "birds" / "image.onnx").touch()
    assert fault(runs / "birds" / "image.onnx").endswith(f"did you mean {runs / 'birds'}?")


def test_a_relative_name_is_compared_with_the_folders_here(runs, monkeypatch, fault):
    monkeypatch.chdir(runs)
    assert fault("brids") == "unknown model 'brids'; did you mean birds?"
    assert fault("bundeld") == "unknown model 'bundeld'; did you mean bundled?"
    known = (
        "choose bundled, Butterflies, birds or another folder written by `linnaea train`, or an open_clip checkpoint"
    )
    assert fault("zzzz") == f"unknown model 'zzzz'; {known}"


def test_a_folder_of_another_program_is_named_as_such(tmp_path, fault):
    for content in ('{"architectures": ["x"]}', "[]"):
        (tmp_path / CONFIG).write_text(content)
        assert fault(tmp_path).startswith(f"{tmp_path} is the model of another program")


@pytest.mark.parametrize("weights", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_weights_without_their_config_name_the_file_to_fetch(runs, fault, weights):
    (runs / "bards" / weights).touch()
    for name in (runs / "bards", f"{runs / 'bards'}#second"):
        text = fault(name, FileNotFoundError)
        assert text.startswith(f"'{runs / 'bards'}' has weights but no {OPEN_CLIP_CONFIG}")
        assert "put it beside them" in text
