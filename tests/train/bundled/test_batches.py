"""What is true of a label, and candidates that stand for the whole vocabulary."""

from __future__ import annotations

import numpy as np
import pytest

from linnaea.taxonomy.tree import Tree
from linnaea.train.bundled.batches import (
    ClassLabel,
    FeatureSampler,
    LabelledClassRows,
    LabelText,
    Photographs,
    TextSource,
    refusal_text,
)
from linnaea.train.bundled.class_features import ClassRows, estimate_class_means, measure_margin, measure_scatter
from linnaea.train.bundled.vocabulary_sampling import VocabularySampler

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
MAMMAL = ("Animalia", "Chordata", "Mammalia", "Carnivora")
ROWS = [
    (*MAMMAL, "Felidae", "Felis", "Felis catus"),
    (*MAMMAL, "Felidae", "Felis", "Felis silvestris"),
    (*MAMMAL, "Felidae", "Panthera", "Panthera leo"),
    (*MAMMAL, "Canidae", "Canis", "Canis lupus"),
    ("Animalia", "Arthropoda", "Insecta", "Hymenoptera", "Apidae", "Apis", "Apis mellifera"),
    *[("Plantae", "T", "M", "R", "Rosaceae", "Rosa", f"Rosa r{i}") for i in range(40)],
]


@pytest.fixture(scope="module")
def tree():
    return Tree.from_lineages(dict(zip(RANKS, zip(*ROWS, strict=True), strict=True)))[0]


def node(tree, name):
    return next(k for k in range(tree.n_nodes) if tree.name(k) == name)


@pytest.fixture(scope="module")
def labels(tree):
    cat = node(tree, "Felis catus")
    return {
        "tabby": ClassLabel(source="imagenet", node=cat, names=("tabby",)),
        "persian": ClassLabel(source="imagenet", node=cat, names=("Persian cat",)),
        "bee": ClassLabel(source="imagenet", node=node(tree, "Hymenoptera"), names=("bee",)),
        "honey bee": ClassLabel(source="inat", node=node(tree, "Apis mellifera"), names=("honey bee",)),
        "abacus": ClassLabel(source="things", node=-1, names=("abacus",)),
        "lion": ClassLabel(source="zoo", node=node(tree, "Panthera leo"), names=("lion",)),
    }


def text(tree, words, of, name="", source=""):
    return LabelText(text=words, node=node(tree, of) if of else -1, name=name, source=source)


def test_taxon_names_hold_below_them_and_label_names_for_that_label_alone(tree, labels):
    texts = [
        text(tree, "Animalia Chordata", "Chordata"),
        text(tree, "tabby", "Felis catus", "tabby", "imagenet"),
        text(tree, "Felis catus", "Felis catus"),
        text(tree, "bee", "Hymenoptera", "bee", "imagenet"),
        text(tree, "abacus", "", "abacus", "things"),
    ]
    order = ["tabby", "persian", "bee", "honey bee", "abacus"]
    true = TextSource(tree).match([labels[name] for name in order], texts)
    expected = {
        "tabby": [True, True, True, False, False],
        "persian": [True, False, True, False, False],
        "bee": [False, False, False, True, False],
        "honey bee": [False, False, False, True, False],
        "abacus": [False, False, False, False, True],
    }
    assert dict(zip(order, true.tolist(), strict=True)) == expected


def test_within_one_source_a_wider_class_is_another_class(tree):
    wide = ClassLabel(source="plankton", node=node(tree, "Felidae"), names=("cats, other",))
    narrow = ClassLabel(source="plankton", node=node(tree, "Felis catus"), names=("house cat",))
    texts = [text(tree, "cats, other", "Felidae", "cats, other", "plankton")]
    assert TextSource(tree).match([wide, narrow], texts).tolist() == [[True], [False]]


def test_every_drawn_text_is_true_of_its_label(tree, labels):
    source, rng = TextSource(tree), np.random.default_rng(0)
    for label in labels.values():
        drawn = [source.draw(label, rng) for _ in range(60)]
        assert source.match([label], drawn).all()
        assert len({text.text for text in drawn}) > 1


def test_candidate_weights_add_up_to_the_vocabulary_on_average(tree, labels):
    organisms = [label for label in labels.values() if label.node >= 0]
    sampler = VocabularySampler(
        tree, list(labels.values()), excluded=np.empty(0), n_known=1, n_unknown=20, n_refusals=4
    )
    rng, batch = np.random.default_rng(3), organisms[:2]
    leaf_totals, known_totals = [], []
    for _ in range(400):
        drawn = sampler.draw(batch, rng)
        weights = np.exp(drawn.log_weight_c[: len(drawn.leaves)])
        known = np.isin(drawn.leaves, sampler.known)
        known_totals.append(weights[known].sum())
        leaf_totals.append(weights.sum())
    assert np.mean(known_totals) == pytest.approx(len(sampler.known), rel=0.01)
    assert np.mean(leaf_totals) == pytest.approx(tree.n_leaves, rel=0.05)


def test_leaves_that_may_never_be_drawn_are_not(tree, labels):
    excluded = np.array([tree.start_k[node(tree, "Felis silvestris")]])
    sampler = VocabularySampler(tree, list(labels.values()), excluded=excluded, n_known=2, n_unknown=50, n_refusals=2)
    rng = np.random.default_rng(4)
    drawn = np.concatenate([sampler.draw([labels["tabby"]], rng).leaves for _ in range(40)])
    assert excluded[0] not in drawn
    without = VocabularySampler(
        tree, list(labels.values()), excluded=np.empty(0), n_known=2, n_unknown=50, n_refusals=2
    )
    assert excluded[0] in np.concatenate([without.draw([labels["tabby"]], rng).leaves for _ in range(40)])


def test_a_label_is_right_for_its_own_candidates_and_a_thing_for_refusals(tree, labels):
    sampler = VocabularySampler(tree, list(labels.values()), excluded=np.empty(0), n_known=9, n_unknown=4, n_refusals=2)
    drawn = sampler.draw([labels["lion"], labels["abacus"]], np.random.default_rng(0))
    lion = tree.start_k[node(tree, "Panthera leo")]
    assert drawn.leaves[drawn.true_bc[0][: len(drawn.leaves)]].tolist() == [lion]
    assert drawn.true_bc[1].tolist() == [False] * len(drawn.leaves) + [True] * len(drawn.refusals)
    assert drawn.refusals == [refusal_text("abacus")]


def test_batches_are_a_function_of_the_seed_and_hold_the_shares_asked_for(tree, labels):
    features = np.arange(4 * 2 * 3, dtype=np.float16).reshape(4, 2, 3)
    pack = Photographs(features_nvw=features, labels=[labels[x] for x in ("tabby", "lion", "lion", "persian")])
    rows = LabelledClassRows(rows=ClassRows(np.ones((2, 3)), np.zeros((1, 3))), labels=[None, labels["abacus"]])
    sampler = FeatureSampler(TextSource(tree), [(pack, 6)], [(rows, 2)])
    one, two = sampler.draw(np.random.default_rng(9)), sampler.draw(np.random.default_rng(9))
    np.testing.assert_array_equal(one.features_bw, two.features_bw)
    assert [text.text for text in one.texts] == [text.text for text in two.texts]
    assert one.labels[6:] == [labels["abacus"]] * 2
    for features_w, label in zip(one.features_bw[:6], one.labels[:6], strict=True):
        photograph = int(features_w[0]) // 6
        assert pack.labels[photograph] == label


def test_class_rows_of_a_linear_discriminant_point_at_the_class_means():
    rng = np.random.default_rng(0)
    means = rng.normal(0, 2, (6, 30)).astype(np.float32)
    labels = np.repeat(np.arange(6), 50)
    features = means[labels] + rng.normal(size=(300, 30)).astype(np.float32)
    rows = means - means.mean(0)  # the discriminant's rows for a round covariance
    drawn = estimate_class_means(rows, features.mean(0), measure_margin(rows, features))
    distance = np.linalg.norm(drawn[:, None] - means[None], axis=2)
    assert distance.argmin(1).tolist() == list(range(6))
    scatter = measure_scatter(features, labels)
    assert scatter.astype(np.float32).mean(0) == pytest.approx(np.zeros(30), abs=1e-2)
    assert scatter.astype(np.float32).std() == pytest.approx(1, abs=0.05)


def test_drawn_features_stay_within_what_relu6_can_give():
    rows = ClassRows(np.array([[5.9, 0.1]]), np.array([[3.0, -3.0]]))
    assert rows.draw(np.zeros(2, int), np.random.default_rng(0)).tolist() == [[6.0, 0.0]] * 2
