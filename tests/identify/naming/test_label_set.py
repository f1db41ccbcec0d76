import json

import numpy as np
import pytest

from linnaea.identify.commands.identify import identify
from linnaea.identify.commands.learn import learn_labels
from linnaea.identify.naming.centroids import fit_centroids
from linnaea.identify.naming.label_set import Label, clean_folder_name, load_labels, parse_labels, resolve_labels


def test_labels_may_be_typed_or_listed_or_come_as_a_table(tmp_path):
    assert [label.name for label in parse_labels(" red fox , cat,")] == ["red fox", "cat"]
    (tmp_path / "l.txt").write_text("cat\n\n# comment\nred, fox\n", encoding="utf-8")
    assert [label.name for label in parse_labels(str(tmp_path / "l.txt"))] == ["cat", "red, fox"]
    (tmp_path / "l.csv").write_text("label,family,genus\ntabby,Felidae,Felis\nchair,,\n", encoding="utf-8")
    tabby, chair = parse_labels(str(tmp_path / "l.csv"))
    assert (tabby.name, tabby.rank, tabby.lineage[4:6]) == ("tabby", "genus", ("Felidae", "Felis"))
    assert chair == Label(name="chair")


@pytest.mark.parametrize(
    ("labels", "message"), [("cat", "two or more"), ("cat,cat", "twice"), ("cat,dog,cat", "'cat'")]
)
def test_too_few_labels_or_one_twice_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        parse_labels(labels)


def test_what_looks_like_a_file_and_is_none_is_not_taken_for_a_label(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.csv"):
        parse_labels("gone.csv")
    with pytest.raises(FileNotFoundError, match="linnaea learn"):
        load_labels(str(tmp_path), None, None)


def test_labels_that_mean_one_taxon_get_its_lineage_and_others_stay_plain(vocabulary):
    cat, homonym, thing = resolve_labels(
        [Label(name="Felis catus"), Label(name="Oenanthe"), Label(name="chair")], lambda: vocabulary
    )
    assert (cat.rank, cat.common_name, cat.lineage[4]) == ("species", "cat", "Felidae")
    assert homonym.rank == "" == thing.rank


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("Felis_catus", "Felis catus"),
        ("12", "12"),
        ("猫", "猫"),
    ],
)
def test_folder_names_become_names(folder, name):
    assert clean_folder_name(folder) == name


def slow_leave_one_out(vectors, labels, centre):
    """Accuracy with every centroid made anew without the example (the centre kept)."""
    unit = vectors - centre
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    right = []
    for i in range(len(unit)):
        keep = np.arange(len(unit)) != i
        if not (labels[keep] == labels[i]).any():
            continue
        means = np.stack([unit[keep & (labels == c)].sum(0) for c in np.unique(labels)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        right.append(np.argmax(means @ unit[i]) == labels[i])
    return np.mean(right)


def test_the_fit_equals_leaving_each_example_out_in_turn():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [8, 5, 2, 1])
    vectors = rng.normal(0, 1, (4, 16))[labels] + rng.normal(0, 1.2, (len(labels), 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    fit = fit_centroids(vectors, labels, 4)
    assert fit.accuracy == pytest.approx(slow_leave_one_out(vectors, labels, vectors.mean(0)))
    np.testing.assert_allclose(np.linalg.norm(fit.centroid_ld, axis=1), 1, atol=1e-5)
    assert 1 <= fit.logit_scale <= 200
    assert -1 <= fit.least_similarity <= 1


def test_harder_classes_give_a_softer_softmax():
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 20)
    means = np.eye(3, 24)[labels] * 3

    def scale(noise):
        vectors = means + rng.normal(0, noise, means.shape)
        return fit_centroids((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), labels, 3).logit_scale

    assert scale(0.2) > scale(2.0)


def test_one_example_a_class_cannot_be_fitted_on_and_refuses_nothing():
    fit = fit_centroids(np.eye(3, dtype=np.float32), np.arange(3), 3, default_scale=7.0)
    assert fit.logit_scale == 7.0
    assert fit.least_similarity == -1
    assert np.isnan(fit.accuracy)


@pytest.fixture
def class_folders(tmp_path, paint):
    root = tmp_path / "classes"
    for what, folder in (("cat", "Felis_catus"), ("wolf", "Canis lupus"), ("blue chair", "chair")):
        for i in range(4):
            paint(root / folder / f"{i}.jpg", what, quality=95 - 5 * i)
    (root / "chair" / "broken.jpg").touch()
    (root / "empty").mkdir()
    return root


def test_learnt_labels_name_photographs_and_refuse_others(tmp_path, model, vocabulary, class_folders, paint):
    out = tmp_path / "labels"
    manifest = learn_labels(class_folders, out, model=model, load_vocabulary=lambda: vocabulary)
    assert manifest["n"] == 3
    assert manifest["n_unreadable"] == 1
    assert manifest["without_photographs"] == ["empty"]
    assert manifest["accuracy_leave_one_out"] >= 0.9
    cat = paint(tmp_path / "q" / "cat.jpg", "cat", quality=88)
    other = paint(tmp_path / "q" / "other.png", "Quercus robur oak of the park")
    named, refused = identify([cat, other], model=model, labels=str(out))
    assert (named.name, named.rank, named.lineage[4]) == ("Felis catus", "species", "Felidae")
    assert refused.status == "unidentified"
    assert "unlike every label" in refused.reason


def test_learning_needs_two_classes_and_does_not_replace_what_is_there(
    tmp_path, model, vocabulary, class_folders, paint
):
    only = tmp_path / "only"
    paint(only / "cat" / "1.png", "cat")
    with pytest.raises(ValueError, match="needs two"):
        learn_labels(only, tmp_path / "l", model=model, load_vocabulary=lambda: vocabulary)
    with pytest.raises(FileNotFoundError):
        learn_labels(tmp_path / "gone", tmp_path / "l", model=model, load_vocabulary=lambda: vocabulary)
    with pytest.raises(FileExistsError, match="something else"):
        learn_labels(class_folders, only, model=model, load_vocabulary=lambda: vocabulary, overwrite=True)


def test_what_belongs_to_no_class_is_left_out_by_name(tmp_path, model, vocabulary, class_folders, paint, caplog):
    paint(class_folders / "beside.png", "cat")
    (class_folders / "chair" / "notes.txt").write_text("four legs")
    out = tmp_path / "labels"
    manifest = learn_labels(class_folders, out, model=model, load_vocabulary=lambda: vocabulary)
    text = (tmp_path / "labels.left_out.csv").read_text(encoding="utf-8")
    assert "beside.png,it lies in no class folder" in text
    assert "notes.txt,.txt is not the suffix of a photograph" in text
    assert sum(manifest["left_out"].values()) == 3  # and the empty class
    assert "16 given = 13 photographs + 3 left out" in caplog.text


def test_labels_learnt_with_another_model_are_refused(tmp_path, model, vocabulary, class_folders):
    from linnaea.model.core.placeholder import PlaceholderModel

    learn_labels(class_folders, tmp_path / "l", model=model, load_vocabulary=lambda: vocabulary)
    with pytest.raises(ValueError, match="learn it again"):
        load_labels(str(tmp_path / "l"), PlaceholderModel(dim=32), lambda: vocabulary)


def test_two_folders_that_mean_one_label_are_named(tmp_path, model, vocabulary, class_folders, paint):
    paint(class_folders / "002.Felis_catus" / "1.png", "cat")
    with pytest.raises(ValueError, match=r"'002.Felis_catus' and 'Felis_catus'.*both mean 'Felis catus'"):
        learn_labels(class_folders, tmp_path / "l", model=model, load_vocabulary=lambda: vocabulary)


def test_labels_learnt_from_photographs_prepared_otherwise_are_refused(tmp_path, model, vocabulary, class_folders):
    from dataclasses import replace

    out = tmp_path / "l"
    learn_labels(class_folders, out, model=model, load_vocabulary=lambda: vocabulary)
    assert load_labels(str(out), model, lambda: vocabulary).labels
    prepared = replace(model.card.preprocess, resize="shortest")
    model.card = replace(model.card, preprocess=prepared)
    with pytest.raises(ValueError, match=r"other preprocessing.*learn it again"):
        load_labels(str(out), model, lambda: vocabulary)


def test_labels_learnt_with_another_runtime_are_used_and_that_is_said(
    tmp_path, model, vocabulary, vocabulary_path, class_folders, caplog
):
    from linnaea.identify.commands.config import IdentifyConfig
    from linnaea.identify.commands.identify import main

    out = tmp_path / "l"
    learn_labels(class_folders, out, model=model, load_vocabulary=lambda: vocabulary)
    config = IdentifyConfig(paths=(class_folders,), labels=str(out), vocabulary=str(vocabulary_path))
    assert main(config, model=model) == 0
    assert "was learnt with" not in caplog.text
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"runtime": "onnxruntime-int8:abc"}))
    assert main(config, model=model) == 0
    assert "learnt with --runtime onnxruntime-int8:abc and is used with onnxruntime" in caplog.text
