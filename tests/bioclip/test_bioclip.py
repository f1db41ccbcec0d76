"""pybioclip's classifiers and commands, against the answers of pybioclip 2.1.6 for the same model and names."""

import csv
import io
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

from linnaea import cli
from linnaea.bioclip import (
    BaseClassifier,
    CustomLabelsBinningClassifier,
    CustomLabelsClassifier,
    Rank,
    TreeOfLifeClassifier,
    base_classifier,
    ranks,
)
from linnaea.bioclip.pixels import FloatImageEncoder, squash
from linnaea.bioclip.recorder import attach_prediction_recorder, save_recorded_predictions
from linnaea.model.loading import load_model

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def all_taxa(request):
    """Every test finds the tree without a filter."""
    if "tree" in request.fixturenames:
        request.getfixturevalue("tree").apply_filter(None)


def check_equal(found, wanted):
    """The same keys in the same order, the same names, and scores that differ by no more than the tolerance."""
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert list(ours) == list(theirs)
        ours, theirs = dict(ours), dict(theirs)
        assert float(ours.pop("score")) == pytest.approx(float(theirs.pop("score")), abs=TOLERANCE)
        ours["file_name"] = Path(ours["file_name"]).name
        assert ours == theirs


# --- The same answers


@pytest.mark.parametrize("rank", Rank)
def test_every_rank_has_the_names_and_probabilities_of_pybioclip(tree, photos, golden, rank):
    check_equal(tree.predict(photos, rank), golden[rank.get_label()])


def test_a_subset_has_the_names_and_probabilities_of_pybioclip(tree, made, photos, golden):
    tree.apply_filter(tree.create_taxa_filter_from_csv(made / "subset.csv"))
    check_equal(tree.predict(photos, Rank.SPECIES, k=3), golden["subset"])


def test_labels_have_the_probabilities_of_pybioclip(script, made, photos, golden):
    classifier = CustomLabelsClassifier(script.LABELS, model_str=str(made / "model"), pixels="squash")
    check_equal(classifier.predict(photos), golden["labels"])


def test_bins_have_the_probabilities_of_pybioclip(script, made, photos, golden):
    classifier = CustomLabelsBinningClassifier(script.BINS, model_str=str(made / "model"), pixels="squash")
    check_equal(classifier.predict(photos, k=2), golden["bins"])


def test_a_model_without_a_tree_of_life_sees_the_pixels_of_its_config_as_in_pybioclip(script, made, photos, golden):
    classifier = CustomLabelsClassifier(script.LABELS, model_str=f"local-dir:{made / 'model'}")
    assert classifier.pixels == "model"
    check_equal(classifier.predict(photos), golden["labels_own_pixels"])


def test_features_that_keep_their_length_are_those_of_pybioclip(tree, photos, golden):
    features = tree.create_image_features(photos, normalize=False)
    np.testing.assert_allclose(features, golden["features"], atol=1e-4)
    unit = tree.create_image_features_for_image(photos[1], True)
    np.testing.assert_allclose(unit, features[1] / np.linalg.norm(features[1]), atol=1e-6)


def test_the_list_of_taxa_is_that_of_pybioclip(made, golden, capsys):
    options = ["--model", str(made / "model"), "--table", str(made / "table")]
    assert cli.main(["bioclip", "list-tol-taxa", *options]) == 0
    assert capsys.readouterr().out == golden["taxa"]


def test_the_command_writes_the_csv_of_pybioclip(made, photos, golden, capsys):
    options = ["--model", str(made / "model"), "--table", str(made / "table"), "--rank", "order", "--k", "2"]
    assert cli.main(["bioclip", "predict", *photos[:2], *options]) == 0
    found, wanted = (list(csv.DictReader(io.StringIO(text))) for text in (capsys.readouterr().out, golden["csv"]))
    check_equal(found, wanted)


def test_the_command_writes_the_table_of_pybioclip(made, photos, golden, capsys):
    options = ["--model", str(made / "model"), "--pixels", "squash", "--cls", "cat,oak", "--format", "table"]
    assert cli.main(["bioclip", "predict", *photos[:2], *options]) == 0

    def cells(text):
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[0] == "|"]

    (heads, *found), (wanted_heads, *wanted) = cells(capsys.readouterr().out), cells(golden["table"])
    assert heads == wanted_heads
    check_equal(*([dict(zip(heads, row, strict=True)) for row in rows] for rows in (found, wanted)))


@pytest.mark.skipif("LINNAEA_PEERS" not in os.environ, reason="LINNAEA_PEERS is the folder of benchmarks/peers.py")
def test_the_golden_answers_are_what_pybioclip_gives_now(script, golden, tmp_path):
    found = script.ask_pybioclip(Path(os.environ["LINNAEA_PEERS"]) / "bin" / "python", tmp_path)
    for key in (*script.RANKS, "labels", "bins", "subset", "labels_own_pixels"):
        check_equal(found[key], [{**row, "file_name": Path(row["file_name"]).name} for row in golden[key]])


# --- Pixels


def test_squashed_pixels_are_weighted_means_that_are_not_rounded():
    stripes = np.zeros((2, 4, 3), np.uint8)
    stripes[:, 1::2] = 100
    # Halved, each new pixel weighs the four old ones around its centre 1 3 3 1; at the borders one of them is missing.
    found = squash(Image.fromarray(stripes), 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, :, 0], [100 * 3 / 7, 100 * 4 / 7], rtol=1e-6)


def test_squashed_pixels_lie_within_one_rounding_of_pillows_eight_bits(photos):
    for photo in photos:
        image = Image.open(photo)
        rounded = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), np.float32)
        assert np.abs(squash(image, 64) - rounded).max() <= 1.01


def test_the_tower_of_floats_gives_the_models_own_vectors_for_whole_pixels(tree):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    np.testing.assert_allclose(
        FloatImageEncoder(tree.model).encode_images(pixels), tree.model.encode_images(pixels), atol=1e-6
    )


def test_torch_gives_the_same_vectors_of_squashed_pixels(tree, made, photos):
    pytest.importorskip("torch")
    on_torch = TreeOfLifeClassifier(model_str=str(made / "model"), table=made / "table", runtime="torch")
    if on_torch._torch_encoder.encode_images.__self__.device != "cpu":
        pytest.skip("bfloat16 on a GPU differs by more")
    np.testing.assert_allclose(on_torch.create_image_features(photos), tree.create_image_features(photos), atol=1e-5)


def test_a_fast_runtime_is_checked_on_names_and_said(made, photos, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "linnaea")
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path))
    many = 16 * photos  # a check takes 32 photographs
    tree = TreeOfLifeClassifier(
        model_str=str(made / "model"), table=made / "table", pixels="model", runtime="onnxruntime-int8"
    )
    tree.predict(many, Rank.SPECIES, k=1)
    assert "onnxruntime-int8" in caplog.text
    assert "same names" in caplog.text
    caplog.clear()
    labels = CustomLabelsClassifier(
        ["cat", "dog"], model_str=str(made / "model"), pixels="model", runtime="onnxruntime-int8"
    )
    labels.predict(many)
    assert "same names" in caplog.text


def test_an_image_in_memory_is_taken_as_it_is_and_a_file_is_turned_upright(tree, photos, tmp_path):
    upright, turned = Image.open(photos[1]), tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    from_file, plain = tree.create_image_features([str(turned), photos[1]])
    np.testing.assert_allclose(from_file, plain, atol=1e-6)
    as_stored = tree.create_image_features([Image.open(turned)])[0]
    assert np.abs(as_stored - plain).max() > 1e-3


def test_images_in_memory_go_by_their_place_in_the_list(tree, photos):
    found = tree.predict([Image.open(photos[0]), Image.open(photos[1])], Rank.CLASS, k=1)
    assert [row["file_name"] for row in found] == ["0", "1"]
    again = tree.predict((photo for photo in photos[:2]), Rank.CLASS, k=1)
    assert [row["class"] for row in found] == [row["class"] for row in again]
    assert tree.predict([], Rank.CLASS) == []


# --- What cannot be read


def test_a_photograph_that_cannot_be_read_is_a_row_and_the_others_are_answered(tree, photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    first, second = tree.predict([str(broken), photos[0]], Rank.GENUS, k=1)
    assert first["reason"] == "not an image: the content is text"
    assert math.isnan(first["score"])
    assert first["genus"] == ""
    assert "reason" not in second
    assert second["genus"]


def test_the_command_leaves_the_cells_of_an_unreadable_photograph_empty(made, photos, tmp_path, capsys):
    missing = str(tmp_path / "none.jpg")
    options = ["--model", str(made / "model"), "--table", str(made / "table"), "--rank", "kingdom", "--k", "1"]
    assert cli.main(["bioclip", "predict", missing, photos[0], *options]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1] == f"{missing},,"
    assert f"{missing}: the file does not exist" in captured.err
    assert cli.main(["bioclip", "predict", missing, *options]) == 1


def test_embed_leaves_unreadable_photographs_out_of_valid_json(made, photos, golden, tmp_path):
    out = tmp_path / "vectors.json"
    options = ["--model", str(made / "model"), "--pixels", "squash", "--output", str(out), "--batch-size", "2"]
    assert cli.main(["bioclip", "embed", str(tmp_path / "none.jpg"), *photos[:3], *options]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert list(found) == ["model", "embeddings"]
    assert list(found["embeddings"]) == photos[:3]
    np.testing.assert_allclose(list(found["embeddings"].values()), golden["features"][:3], atol=1e-4)


# --- Names, filters, tables


def test_a_filter_keeps_all_taxa_that_bear_the_name_at_the_rank(tree):
    kept = tree.create_taxa_filter(Rank.GENUS, ["Oenanthe"])
    names = tree.make_label_frame().filter(kept)
    assert set(names["kingdom"]) == {"Animalia", "Plantae"}
    assert set(names["genus"]) == {"Oenanthe"}
    assert kept.sum() == 5


def test_a_filtered_tree_answers_within_the_filter_and_its_probabilities_sum_to_one(tree, photos):
    tree.apply_filter(tree.create_taxa_filter(Rank.SPECIES, ["Felis catus", "Rosa canina"]))
    found = tree.predict(photos[0], Rank.SPECIES, k=9)
    assert {row["species"] for row in found} == {"Felis catus", "Rosa canina"}
    assert sum(row["score"] for row in found) == pytest.approx(1)


def test_an_unknown_name_in_a_filter_is_named(tree):
    with pytest.raises(ValueError, match=r"Unknown class received: Avess\."):
        tree.create_taxa_filter(Rank.CLASS, ["Aves", "Avess"])


def test_a_filter_of_another_length_is_refused(tree):
    with pytest.raises(ValueError, match="it has 2"):
        tree.apply_filter([True, False])


def test_a_subset_file_must_name_a_rank(tree, tmp_path):
    (tmp_path / "subset.csv").write_text("taxon\nAves\n")
    with pytest.raises(ValueError, match="is named 'taxon'"):
        tree.create_taxa_filter_from_csv(tmp_path / "subset.csv")


def test_zero_columns_are_named_and_embedded(tree, made, script, photos, tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    script.write_table(tmp_path, tree.model.card.dim)
    table = np.load(tmp_path / "txt_emb_species.npy")
    table[:, -2:] = 0
    np.save(tmp_path / "txt_emb_species.npy", table)
    mended = TreeOfLifeClassifier(model_str=str(made / "model"), table=tmp_path / "txt_emb_species.json")
    lineage, common = script.names()[-1]
    assert f"{lineage[-2]} {lineage[-1]}" in caplog.text
    # The text of the missing taxon, embedded as a whole, stands in its column.
    text = " ".join(lineage) + (f" with common name {common}" if common else "")
    (vector,) = mended.model.encode_texts([mended.model.card.templates[0].format(text)])
    image_bd = mended.create_image_features(photos[:1])
    leaf = mended.vocabulary.leaf_of_row[-1]
    leaves = np.array(sorted([leaf, mended.vocabulary.leaf_of_row[0]]), np.int32)
    for found in (
        mended._table.similarities(image_bd)[0, leaf],
        mended._table.similarities(image_bd, leaves)[0, list(leaves).index(leaf)],
    ):
        assert found == pytest.approx(float(image_bd[0] @ vector), abs=1e-5)


def test_a_table_of_another_model_is_refused_in_one_line(made, script, tmp_path):
    script.write_table(tmp_path, 7)
    with pytest.raises(ValueError, match="vectors of 7 dimensions") as error:
        TreeOfLifeClassifier(model_str=str(made / "model"), table=tmp_path)
    assert "\n" not in str(error.value)


def test_a_model_with_a_tree_of_life_takes_its_published_table_from_the_hub(made, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository, file, *, repo_type):
        asked.append((repository, file, repo_type))
        return str(made / "table" / Path(file).name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(base_classifier, "load_model", lambda name: load_model(str(made / "model")))
    tree = TreeOfLifeClassifier()
    assert tree.pixels == "squash"
    assert tree.vocabulary.tree.n_leaves == len(tree.get_label_data())
    files = ("embeddings/txt_emb_species.json", "embeddings/txt_emb_species.npy")
    assert asked == [("imageomics/TreeOfLife-200M", file, "dataset") for file in files]

    def fail(*args, **options):
        raise OSError("no route to the hub\nand a second line")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ConnectionError, match=r"could not be fetched \(no route to the hub\); run again"):
        TreeOfLifeClassifier()


def test_taxa_under_the_least_probability_are_left_out(tree, photos):
    everything = tree.predict(photos[0], Rank.GENUS, k=99)
    likely = tree.predict(photos[0], Rank.GENUS, min_prob=0.05, k=99)
    assert 0 < len(likely) < len(everything)
    assert likely == [row for row in everything if row["score"] >= 0.05]


def test_answers_do_not_depend_on_the_batch_and_progress_is_told(tree, photos):
    told = []
    one_by_one = tree.predict(
        photos, Rank.FAMILY, batch_size=1, callback=lambda done, total: told.append((done, total))
    )
    assert told == [(n, len(photos)) for n in range(1, len(photos) + 1)]
    for ours, theirs in zip(one_by_one, tree.predict(photos, Rank.FAMILY, batch_size=None), strict=True):
        assert ours["family"] == theirs["family"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)


# --- Labels, options, the record


def test_two_labels_of_the_same_name_share_the_probability(made, photos):
    found = CustomLabelsClassifier(["cat", "cat "], model_str=str(made / "model")).predict(photos[0])
    assert [row["score"] for row in found] == [pytest.approx(0.5)] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rank", "genus", "--cls", "a,b"], "--rank and --cls exclude each other"),
        (["--subset", "a.csv", "--bins", "b.csv"], "--bins and --subset exclude each other"),
        (["--k", "0"], "--k 0 is too small"),
        (["--pretrained", "x.pt", "--cls", "a,b"], "give the folder of the checkpoint as the model"),
        (["--runtime", "onnxruntime-int8", "--pixels", "squash", "--cls", "a,b"], "add pixels 'model'"),
        (["--cls", ",,"], "label 1 of 3 is empty"),
        (["--cls", "a, ,b"], "label 2 of 3 is empty"),
        (["--cls", ""], "--cls is empty; leave it out for the whole tree of life"),
        (["--bins", ""], "--bins is empty"),
        (["--subset", ""], "--subset is empty"),
        (
            ["--device", "cuda", "--runtime", "onnxruntime-int8", "--pixels", "model"],
            "device 'cuda' is for torch and runtime",
        ),
    ],
)
def test_what_cannot_be_asked_ends_in_one_line(made, capsys, options, said):
    assert cli.main(["bioclip", "predict", "photo.jpg", "--model", str(made / "model"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("device", ["banana", "meta", "cuda:99", "hpu", "3"])
@pytest.mark.parametrize(
    "command", [["predict"], ["predict", "--cls", "a,b"], ["predict", "--pixels", "model"], ["embed"]]
)
def test_a_device_that_torch_has_not_is_refused_in_one_line_whatever_the_pixels(
    made, photos, capsys, tmp_path, command, device
):
    torch, out = pytest.importorskip("torch"), tmp_path / "out"
    given = [photos[0], "--model", str(made / "model"), "--output", str(out), "--device", device]
    assert cli.main(["bioclip", *command, *given]) == 2
    error = capsys.readouterr().err
    assert f"torch {torch.__version__} cannot use device {device!r} here; choose cpu" in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_device_without_torch_names_the_extra_and_the_processor_asks_no_torch(made, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("linnaea.model.runtimes.runtime_names.is_installed", lambda runtime: runtime != "torch")
    assert BaseClassifier(str(made / "model"), device="cpu").create_image_features(photos[:1]).shape[0] == 1
    with pytest.raises(ValueError, match=r"pip install 'linnaea\[torch\]'"):
        BaseClassifier(str(made / "model"), device="cuda")


@pytest.mark.parametrize("pixels", ["squash", "model"])
def test_a_device_of_torch_runs_the_model_whatever_the_pixels(made, photos, monkeypatch, pixels):
    pytest.importorskip("torch")
    here = BaseClassifier(str(made / "model"), pixels=pixels)
    # a name that torch knows for the processor and that is not the default
    there = BaseClassifier(str(made / "model"), pixels=pixels, device="cpu:0")
    wanted = [here.create_image_features(photos, normalize=unit) for unit in (True, False)]
    monkeypatch.setattr(base_classifier, "FloatImageEncoder", None)
    there.model.use_image_encoder(None, "")
    for unit, vectors in zip((True, False), wanted, strict=True):
        np.testing.assert_allclose(there.create_image_features(photos, normalize=unit), vectors, atol=1e-4)
    assert there._torch_encoder.device == "cpu:0"


@pytest.mark.parametrize("model", ["bundled", "placeholder"])
def test_a_model_that_is_no_transformer_is_refused_on_a_device(model):
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"the model '.*' is of another kind.*leave device and runtime out"):
        BaseClassifier(model, device="cpu:0")


def test_a_runtime_of_unit_vectors_is_refused_for_features_before_anything_is_written(made, photos, tmp_path, capsys):
    pytest.importorskip("openvino")
    given = [
        "--model",
        str(made / "model"),
        "--pixels",
        "model",
        "--runtime",
        "openvino",
        "--output",
        str(tmp_path / "out"),
    ]
    assert cli.main(["bioclip", "embed", photos[0], *given]) == 2
    error = capsys.readouterr().err
    assert "runtime 'openvino' gives unit vectors only" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_labels_come_from_a_file_too_and_bins_need_two_columns(made, photos, tmp_path, capsys):
    labels, bins = tmp_path / "labels.txt", tmp_path / "bins.csv"
    labels.write_text("cat\n\na small bird\n")
    options = [photos[0], "--model", str(made / "model"), "--k", "9"]
    assert cli.main(["bioclip", "predict", *options, "--cls", str(labels)]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["classification"] for row in found} == {"cat", "a small bird"}
    bins.write_text("label\ncat\n")
    assert cli.main(["bioclip", "predict", *options, "--bins", str(bins)]) == 2
    assert "two columns" in capsys.readouterr().err


def test_the_record_of_a_classifier_holds_its_calls(made, photos, tmp_path):
    classifier = CustomLabelsClassifier(["cat", "oak"], model_str=str(made / "model"))
    attach_prediction_recorder(classifier, classes="cat,oak")
    classifier.predict([photos[0], Image.open(photos[1])], k=1)
    save_recorded_predictions(classifier, str(tmp_path / "log.json"))
    found = json.loads((tmp_path / "log.json").read_text(encoding="utf-8"))
    assert found["model"] == str(made / "model")
    assert found["top_level_settings"] == {"classes": "cat,oak"}
    assert found["predictions"] == [{"images": [photos[0], "1"], "details": {"k": 1, "batch_size": 10}}]
    with pytest.raises(ValueError, match=r"log.json already exists"):
        save_recorded_predictions(classifier, str(tmp_path / "log.json"))


def test_a_log_in_text_is_appended_to(made, photos, tmp_path):
    log = tmp_path / "log.txt"
    for _ in range(2):
        options = ["--model", str(made / "model"), "--cls", "cat,oak", "--output", str(tmp_path / "out.csv")]
        assert cli.main(["bioclip", "predict", photos[0], *options, "--log", str(log)]) == 0
    text = log.read_text(encoding="utf-8")
    assert text.count("Prediction Log") == 2
    assert text.count(f"Images:\n{photos[0]}\n") == 2


def test_list_models_names_those_with_a_tree_of_life(capsys):
    assert cli.main(["bioclip", "list-models"]) == 0
    assert {f"\t{name}" for name in ranks.TOL_MODELS} <= set(capsys.readouterr().out.splitlines())


def test_any_model_of_ours_can_be_asked_in_this_manner(photos):
    classifier = BaseClassifier("bundled", pixels="model")
    vectors = classifier.create_image_features(photos[:2])
    assert vectors.shape == (2, classifier.model.card.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
