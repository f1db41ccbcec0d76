"""The names, messages and small functions of pybioclip that programs use beside `predict`."""

import json
import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

pytest.importorskip("onnx")

from linnaea import cli
from linnaea.bioclip import predict as module
from linnaea.bioclip import recorder
from linnaea.bioclip.arguments import parse_args
from linnaea.bioclip.commands import create_classes_str, parse_bins_csv
from linnaea.bioclip.predict import CustomLabelsBinningClassifier, Rank


def test_the_functions_on_ranks_and_models_answer_as_pybioclips():
    assert module.get_rank_labels() == ["kingdom", "phylum", "class", "order", "family", "genus", "species"]
    assert module.get_tol_repo_id("hf-hub:imageomics/bioclip") == "imageomics/TreeOfLife-10M"
    module.ensure_tol_supported_model("hf-hub:imageomics/bioclip-2")
    with pytest.raises(ValueError, match="TreeOfLife predictions are only supported for the following models: hf-hub"):
        module.ensure_tol_supported_model("hf-hub:some/other")


@pytest.mark.parametrize("missing", ["", None, math.nan, 0])
def test_a_bin_without_a_name_is_refused_with_pybioclips_message(missing):
    with pytest.raises(ValueError, match=r"^Empty, null, or nan are not allowed for bin values.$"):
        CustomLabelsBinningClassifier({"cat": "one", "dog": missing})


def test_pandas_missing_value_is_refused_and_numbers_are_bins(made):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="Empty, null, or nan"):
        CustomLabelsBinningClassifier({"cat": 1, "dog": pandas.NA})
    classifier = CustomLabelsBinningClassifier({"cat": 1, "dog": 2, "wolf": 2}, model_str=str(made / "model"))
    photo = min((made / "photos").iterdir())
    rows = classifier.predict(str(photo))
    assert {row["classification"] for row in rows} == {1, 2}
    assert sum(row["score"] for row in rows) == pytest.approx(1)


def test_bins_and_labels_are_read_from_files(tmp_path):
    (tmp_path / "bins.csv").write_text("cls,bin\ncat,1\ndog,2\n")
    assert parse_bins_csv(str(tmp_path / "bins.csv")) == {"cat": 1, "dog": 2}
    (tmp_path / "bins.csv").write_text("cls,bin\ncat,1\ndog,two\n")
    assert parse_bins_csv(str(tmp_path / "bins.csv")) == {"cat": "1", "dog": "two"}
    with pytest.raises(FileNotFoundError, match=r"^File not found: gone.csv$"):
        parse_bins_csv("gone.csv")
    (tmp_path / "one.csv").write_text("cls\ncat\n")
    with pytest.raises(ValueError, match=r"CSV file must have at least two columns\."):
        parse_bins_csv(str(tmp_path / "one.csv"))
    (tmp_path / "labels.txt").write_text("cat\n\ndog \n")
    assert create_classes_str(str(tmp_path / "labels.txt")) == "cat,dog"


def test_names_vectors_and_frames_have_a_row_for_each_column(tree, made):
    written = json.loads((made / "table" / "txt_emb_species.json").read_text(encoding="utf-8"))
    vectors_dn = np.load(made / "table" / "txt_emb_species.npy")
    named = [i for i, (names, _common) in enumerate(written) if all(names)]
    assert [tree.txt_names[i] for i in named] == [written[i] for i in named]
    assert tree.txt_embeddings.shape == vectors_dn.shape
    frame = tree.get_label_data()
    assert type(frame).__module__.split(".")[0] == ("pandas" if "pandas" in sys.modules else "polars")
    assert list(frame.columns)[-3:] == ["species_epithet", "species", "common_name"]
    assert isinstance(tree.make_label_frame(), pl.DataFrame)
    species = " ".join(written[named[0]][0][-2:])
    kept = tree.create_taxa_filter(Rank.SPECIES, [species])
    tree.apply_filter(kept)
    try:
        assert tree.get_txt_embeddings().shape[1] == len(tree.get_current_txt_names()) == kept.sum()
        assert tree.get_classification_dict(0, Rank.SPECIES)["species"] == species
    finally:
        tree.apply_filter(None)
    with pytest.raises(ValueError, match=r"^Unknown species received: Felis fake. Only known species may be used.$"):
        tree.create_taxa_filter(Rank.SPECIES, ["Felis fake"])
    with pytest.raises(ValueError, match=r"Invalid keep_embeddings values\. This parameter should be a list"):
        tree.apply_filter([True, False])


def test_forward_gives_the_probabilities_that_predict_sorts(tree, made):
    photo = min((made / "photos").iterdir())
    image = tree.ensure_rgb_image(str(photo))
    pixels_chw = np.asarray(tree.preprocess(image))
    assert (pixels_chw.dtype, pixels_chw.shape[0]) == (np.float32, 3)
    (mass_n,) = tree.forward(pixels_chw[None])
    assert mass_n.sum() == pytest.approx(1, abs=1e-5)
    rows = tree.predict(str(photo), Rank.SPECIES, k=3)
    ours = tree.format_species_probs(str(photo), mass_n, k=3)
    assert ours[0]["species"] == rows[0]["species"]
    assert ours[0]["score"] == pytest.approx(rows[0]["score"], abs=1e-3)
    with pytest.raises(ValueError, match="does not exist"):
        tree.ensure_rgb_image("gone.jpg")
    assert tree.ensure_rgb_image(Image.new("RGBA", (4, 4))).mode == "RGB"


class Dummy:
    model_str, pretrained_str, device, recorder = "clip", None, "cpu", None

    def set_recorder(self, given):
        self.recorder = given


def test_the_log_has_pybioclips_keys(tmp_path):
    classifier = Dummy()
    recorder.attach_prediction_recorder(classifier, alpha=0.5, beta=None).add_prediction(["a.png"], min_prob=0.1)
    recorder.save_recorded_predictions(classifier, str(tmp_path / "log.json"))
    keys = list(json.loads((tmp_path / "log.json").read_text()))
    assert [key for key in keys if key != "linnaea_version"] == [
        "pybioclip_version",
        "start",
        "end",
        "command_line",
        "model",
        "pretrained",
        "device",
        "top_level_settings",
        "predictions",
    ]
    with pytest.raises(ValueError, match=r"already exists\. Please choose a different file name"):
        recorder.save_recorded_predictions(classifier, str(tmp_path / "log.json"))
    recorder.save_recorded_predictions(classifier, str(tmp_path / "log.txt"))
    text = (tmp_path / "log.txt").read_text()
    assert "Prediction Log" in text
    assert "Alpha: 0.5\nMin Prob: 0.1\nImages:\na.png" in text
    assert "Beta" not in text


def test_the_version_names_pybioclips(capsys):
    assert cli.main(["bioclip", "--version"]) == 0
    assert "pybioclip 2.1.6" in capsys.readouterr().out
    from linnaea.bioclip.ranks import PYBIOCLIP_VERSION

    assert cli.PYBIOCLIP_VERSION == PYBIOCLIP_VERSION


def test_arguments_have_pybioclips_names_and_defaults():
    given = parse_args(["predict", "a.jpg", "b.jpg"])
    assert (given.command, given.image_file, given.format, given.output) == (
        "predict",
        ["a.jpg", "b.jpg"],
        "csv",
        "stdout",
    )
    assert (given.rank, given.k, given.cls, given.log, given.batch_size, given.model) == (
        Rank.SPECIES,
        5,
        None,
        None,
        10,
        None,
    )
    given = parse_args(["predict", "a.jpg", "--cls", "cat,dog"])
    assert (given.rank, given.k, given.cls) == (None, None, "cat,dog")
    with pytest.raises(SystemExit):
        parse_args(["predict", "a.jpg", "--cls", "cat", "--rank", "genus"])
    with pytest.raises(ValueError, match="only supported"):
        parse_args(["list-tol-taxa", "--model", "other"])


def test_no_framework_is_loaded_for_the_names():
    program = "import sys, linnaea.bioclip; print([m for m in ('numpy', 'torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
