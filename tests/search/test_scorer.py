"""Both scoring methods against the float64 reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.records import RANKS
from linnaea.search import sampled_softmax, scorer
from linnaea.search.index import ExactIndex
from linnaea.search.rank_intervals import largest_first
from linnaea.search.reference import compute_reference
from linnaea.search.scorer import Scorer, Scores, merge_summaries
from linnaea.taxonomy.tree import Tree

DIM, SCALE = 96, 60.0


class FixedTable:
    """A name table with given cosines, whatever the images are."""

    def __init__(self, cosine_bn):
        self.cosine_bn = cosine_bn

    def similarities(self, image_vectors_bd, leaves=None):
        chosen = self.cosine_bn if leaves is None else self.cosine_bn[:, leaves]
        return np.ascontiguousarray(chosen, np.float32)


class VectorTable:
    """A name table with an index that finds every nearest vector."""

    def __init__(self, vectors_nd):
        self.vectors_nd = vectors_nd

    def similarities(self, image_vectors_bd, leaves=None):
        return image_vectors_bd @ (self.vectors_nd if leaves is None else self.vectors_nd[leaves]).T

    def open_index(self):
        return ExactIndex(self.vectors_nd)


def make_tree(rows):
    columns = {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}
    return Tree.from_lineages(columns)[0]


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def candidates_of(tree, node, leaves):
    every = np.arange(tree.n_leaves) if leaves is None else leaves
    return every[(every >= tree.start_k[node]) & (every < tree.end_k[node])]


def check_against_reference(scores, tree, cosine_bn, scale, negative_bf, leaves, prior_n, top, atol):
    """Every probability, node, cosine and entropy that `top` best taxa ask for."""
    for i, cosine_n in enumerate(cosine_bn):
        expected = compute_reference(tree, cosine_n, scale, negative_bf[i], leaves, prior_n)
        assert scores.no_organism_b[i] == pytest.approx(expected.no_organism, abs=atol)
        assert scores.entropy_b[i] == pytest.approx(expected.entropy, abs=2e-3)
        for r, rank in enumerate(RANKS):
            nodes = np.array([k for k in tree.nodes_at(rank) if len(candidates_of(tree, k, leaves))], np.int64)
            best = np.sort(expected.probability_k[nodes])[::-1][: max(2, top)]
            got = scores.top_node_brk[i, r]
            kept = got[got >= 0]
            assert len(kept) == len(set(kept.tolist())) == len(best)
            probability = scores.top_probability_brk[i, r, : len(kept)]
            np.testing.assert_allclose(probability, best, atol=atol)
            np.testing.assert_allclose(probability, expected.probability_k[kept], atol=atol)
            similarity = scores.top_similarity_brk[i, r, : min(len(kept), top)]
            np.testing.assert_allclose(similarity, expected.similarity_k[kept[:top]], atol=1e-5)
            assert scores.node_br[i, r] == (kept[0] if len(kept) else -1)
            assert scores.second_br[i, r] == pytest.approx(best[1] if len(best) > 1 else 0, abs=atol)


@st.composite
def problems(draw):
    """A small tree, cosines (sometimes with ties), candidates, a prior, negative prompts and a temperature."""
    rows = []
    for _ in range(draw(st.integers(1, 14))):
        # Few names per rank, so that leaves share ancestors; "" leaves a rank out.
        row = [draw(st.sampled_from(["A", "B", ""])) + (rank[0] if rank else "") for rank in RANKS]
        rows.append([name if len(name) > 1 else "" for name in row])
    tree = make_tree([row for row in rows if any(row)] or [["Ak", *[""] * 6]])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b, n = draw(st.integers(1, 3)), tree.n_leaves
    cosine_bn = rng.uniform(-1, 1, (b, n)).astype(np.float32)
    if draw(st.booleans()):
        cosine_bn = np.round(cosine_bn)
    leaves = None
    if draw(st.booleans()):
        leaves = np.flatnonzero(rng.random(n) < 0.6).astype(np.int32)
        leaves = leaves if len(leaves) else np.array([n - 1], np.int32)
    prior_n = rng.normal(0, 3, n).astype(np.float32) if draw(st.booleans()) else None
    negative_fb = rng.uniform(-1, 1, (draw(st.integers(0, 3)), b)).astype(np.float32)
    return tree, cosine_bn, leaves, prior_n, negative_fb, draw(st.sampled_from([1.0, 20.0, 100.0]))


@settings(max_examples=150, deadline=None)
@given(problems(), st.integers(1, 20))
def test_exact_scores_equal_the_float64_reference(problem, top):
    tree, cosine_bn, leaves, prior_n, negative_fb, scale = problem
    # Image i is the i-th unit vector, so that the cosines of the negative prompts can be chosen freely.
    exact = Scorer(tree, FixedTable(cosine_bn), scale, negative_fb, leaves, prior_n, n_threads=2)
    scores = exact.score(np.eye(len(cosine_bn), dtype=np.float32), top=top)
    check_against_reference(scores, tree, cosine_bn, scale, negative_fb.T, leaves, prior_n, top, atol=1e-5)


def test_a_worked_example_by_hand():
    animal = ["Animalia", "", "", "", "F"]
    tree = make_tree([[*animal, "G", "G a"], [*animal, "G", "G b"], [*animal, "H", "H c"]])
    cosine_bn = np.log(np.array([[4.0, 3.0, 2.0]])).astype(np.float32)
    scores = Scorer(tree, FixedTable(cosine_bn), 1.0, np.zeros((1, 1), np.float32)).score(np.ones((1, 1), np.float32))
    # Masses 4 : 3 : 2 for the species and 1 for the negative prompt.
    assert scores.no_organism_b[0] == pytest.approx(0.1)
    best = {rank: tree.name(int(scores.node_br[0, r])) for r, rank in enumerate(RANKS) if scores.node_br[0, r] >= 0}
    assert best == {"kingdom": "Animalia", "family": "F", "genus": "G", "species": "G a"}
    np.testing.assert_allclose(scores.probability_br[0], [0.9, 0, 0, 0, 0.9, 0.7, 0.4], atol=1e-6)
    np.testing.assert_allclose(scores.second_br[0, [5, 6]], [0.2, 0.3], atol=1e-6)
    assert scores.leaf_margin_b[0] == pytest.approx(np.log(4 / 3), abs=1e-6)
    assert scores.leaf_similarity_b[0] == pytest.approx(np.log(4))
    assert scores.no_organism_similarity_b[0] == 0


def test_a_negative_prompt_far_above_all_leaves_takes_everything_without_overflow():
    tree = make_tree([["Animalia", *[""] * 6], ["Plantae", *[""] * 6]])
    negative_fd = np.array([[1.0]], np.float32)
    scores = Scorer(tree, FixedTable(np.full((1, 2), -1.0)), 1000.0, negative_fd).score(np.ones((1, 1), np.float32))
    assert scores.no_organism_b[0] == pytest.approx(1)
    assert scores.probability_br[0, 0] == 0
    assert np.isfinite(scores.entropy_b[0])


def test_one_leaf_alone_is_certain_and_no_image_gives_no_score():
    tree = make_tree([["Animalia", *[""] * 6]])
    alone = Scorer(tree, FixedTable(np.zeros((1, 1))), 10.0)
    scores = alone.score(np.ones((1, 1), np.float32))
    assert scores.probability_br[0, 0] == 1
    assert np.isinf(scores.leaf_margin_b[0])
    assert np.isnan(scores.no_organism_similarity_b[0])
    assert len(alone.score(np.zeros((0, 1), np.float32))) == 0


def test_an_empty_restriction_is_refused():
    tree = make_tree([["Animalia", *[""] * 6]])
    with pytest.raises(ValueError, match="--within"):
        Scorer(tree, FixedTable(np.zeros((1, 1))), 1.0, leaves=np.zeros(0, np.int32))


@given(st.lists(st.integers(-3, 3), max_size=60), st.integers(1, 40))
def test_the_largest_come_first_with_ties_by_position_and_the_values_stay(values, k):
    array = np.array(values, np.float32)
    expected = np.argsort(-array, kind="stable")[:k]
    np.testing.assert_array_equal(largest_first(array, k), expected)
    np.testing.assert_array_equal(array, np.array(values, np.float32))


def test_a_species_under_two_identifiers_has_the_mass_of_both():
    rows = [("Animalia", "C", "A", "O", "F", "G", f"G s{i}") for i in range(150)]
    tree, _ = Tree.from_lineages(
        {**{rank: [row[i] for row in [*rows, rows[7]]] for i, rank in enumerate(RANKS)}, "id": list(range(151))},
        key="id",
    )
    assert (tree.n_leaves, len(tree.nodes_at("species"))) == (151, 150)
    cosine_bn = np.random.default_rng(0).uniform(0, 0.1, (2, 151)).astype(np.float32)
    cosine_bn[0, 7:9] = 0.9
    cosine_bn[1, 100] = 0.9
    scores = Scorer(tree, FixedTable(cosine_bn), 10.0).score(np.zeros((2, 4), np.float32))
    check_against_reference(scores, tree, cosine_bn, 10.0, np.zeros((2, 0)), None, None, 1, atol=1e-5)
    assert scores.node_br[:, 6].tolist() == tree.leaf_node_n[[7, 100]].tolist()


# --- Both methods on vectors


@pytest.fixture(scope="module")
def world():
    """A tree of 2,400 leaves whose vectors follow it, the first two of them twins, and images near some leaves."""
    rng = np.random.default_rng(0)
    tree = make_tree(
        [
            ["Animalia", f"P{o // 6}", f"C{o // 4}", f"O{o // 2}", f"F{o}", f"G{o}_{g}", f"G{o}_{g} s{s}"]
            for o in range(24)
            for g in range(10)
            for s in range(4 + 2 * (g % 7))
        ]
    )
    vectors_nd = np.zeros((tree.n_leaves, DIM))
    for rank, weight in (("kingdom", 0.5), ("class", 0.4), ("family", 0.4), ("genus", 0.4)):
        for node in tree.nodes_at(rank):
            vectors_nd[tree.start_k[node] : tree.end_k[node]] += weight * rng.normal(size=DIM)
    vectors_nd = unit(vectors_nd + 0.5 * rng.normal(size=vectors_nd.shape))
    vectors_nd[1] = vectors_nd[0]
    near = rng.integers(tree.n_leaves, size=12)
    near[0] = 0
    images_bd = unit(0.5 * vectors_nd[near] + unit(rng.normal(size=(12, DIM))))
    return tree, vectors_nd, images_bd


@pytest.fixture
def small_sample(monkeypatch):
    """The approximate method on the small world, with a sample that is smaller than the table."""
    monkeypatch.setattr(scorer, "FEW_CANDIDATES", 0)
    monkeypatch.setattr(sampled_softmax, "N_NEAREST", 400)
    monkeypatch.setattr(sampled_softmax, "N_SAMPLED", 300)


CASES = ("plain", "negative prompts", "prior", "clade", "scattered candidates with a prior")


@pytest.mark.parametrize("scoring", ["exact", "fast"])
@pytest.mark.parametrize("case", CASES)
def test_both_methods_keep_the_contract(world, case, scoring, small_sample):
    tree, vectors_nd, images_bd = world
    rng = np.random.default_rng(1)
    negative_fd = unit(rng.normal(size=(2, DIM)) + 0.5 * images_bd[0]) if case == "negative prompts" else None
    prior_n = rng.normal(0, 2, tree.n_leaves).astype(np.float32) if "prior" in case else None
    leaves = None
    if case == "clade":
        node = tree.nodes_at("phylum")[1]
        leaves = np.arange(tree.start_k[node], tree.end_k[node], dtype=np.int32)
    elif "scattered" in case:
        leaves = np.flatnonzero(rng.random(tree.n_leaves) < 0.1).astype(np.int32)
    method = Scorer(tree, VectorTable(vectors_nd), SCALE, negative_fd, leaves, prior_n, scoring=scoring)
    scores = method.score(images_bd, top=5)
    assert method.counts.total() == len(images_bd)
    assert (method.counts["fast"] > 6) == (scoring == "fast" and leaves is None and prior_n is None)
    cosine_bn = images_bd.astype(np.float64) @ vectors_nd.T.astype(np.float64)
    negative_bf = np.zeros((len(images_bd), 0)) if negative_fd is None else images_bd @ negative_fd.T
    if not method.counts["fast"]:
        check_against_reference(scores, tree, cosine_bn, SCALE, negative_bf, leaves, prior_n, 5, atol=1e-5)
        return
    assert 0 < method.largest_unread <= sampled_softmax.MAX_UNREAD
    for i, cosine_n in enumerate(cosine_bn):
        expected = compute_reference(tree, cosine_n, SCALE, negative_bf[i])
        for r in range(len(RANKS)):
            node = scores.node_br[i, r]
            error = abs(scores.probability_br[i, r] - expected.probability_k[node])
            assert error <= method.largest_unread + 1e-5
        assert expected.probability_k[scores.node_br[i, 6]] == expected.probability_k[tree.nodes_at("species")].max()
        np.testing.assert_allclose(scores.similarity_br[i], expected.similarity_k[scores.node_br[i]], atol=1e-5)


def test_the_estimate_of_unread_mass_is_near_the_truth(world, monkeypatch):
    tree, vectors_nd, images_bd = world
    monkeypatch.setattr(scorer, "FEW_CANDIDATES", 0)
    monkeypatch.setattr(sampled_softmax, "N_NEAREST", 200)
    monkeypatch.setattr(sampled_softmax, "N_SAMPLED", 800)
    monkeypatch.setattr(sampled_softmax, "MAX_STANDARD_ERROR", 0.05)
    fast = Scorer(tree, VectorTable(vectors_nd), 30.0, scoring="fast")
    exact = Scorer(tree, VectorTable(vectors_nd), 30.0)
    approximate, truth = fast.score(images_bd), exact.score(images_bd)
    assert fast.counts["fast"] > 6
    assert fast.largest_unread > 0.1
    # Without the estimate, the best kingdom (the only one) would still have 1, but species would be too probable.
    ratio = approximate.probability_br[:, 6] / truth.probability_br[:, 6]
    assert np.abs(ratio - 1).max() < 0.05
    np.testing.assert_allclose(approximate.entropy_b, truth.entropy_b, atol=0.1)
    np.testing.assert_allclose(approximate.probability_br[:, 0], 1, atol=1e-9)


def test_near_uniform_images_are_left_to_the_exact_method(world, small_sample):
    tree, vectors_nd, images_bd = world
    fast = Scorer(tree, VectorTable(vectors_nd), 1.0, scoring="fast")
    scores = fast.score(images_bd)
    assert fast.summary() == {"fast": 0, "dense": len(images_bd), "largest_unread": 0.0}
    exact = Scorer(tree, VectorTable(vectors_nd), 1.0).score(images_bd)
    np.testing.assert_array_equal(scores.top_probability_brk, exact.top_probability_brk)


def test_an_image_whose_nearest_leaves_the_index_missed_is_left_to_the_exact_method(world, small_sample, monkeypatch):
    tree, vectors_nd, images_bd = world

    class FarIndex(ExactIndex):
        def search(self, queries_bd, k):
            return super().search(-queries_bd, k)

    monkeypatch.setattr(VectorTable, "open_index", lambda self: FarIndex(self.vectors_nd))
    fast = Scorer(tree, VectorTable(vectors_nd), SCALE, scoring="fast")
    fast.score(images_bd)
    assert fast.counts["fast"] == 0


def test_without_details_the_probabilities_are_the_same_and_the_rest_is_not_a_number(world):
    tree, vectors_nd, images_bd = world
    exact = Scorer(tree, VectorTable(vectors_nd), SCALE)
    with_details, without = exact.score(images_bd, top=5), exact.score(images_bd, top=5, details=False)
    np.testing.assert_array_equal(with_details.top_node_brk, without.top_node_brk)
    np.testing.assert_array_equal(with_details.top_probability_brk, without.top_probability_brk)
    assert np.isnan(without.entropy_b).all()
    assert np.isnan(without.similarity_br).all()
    np.testing.assert_array_equal(with_details.leaf_margin_b, without.leaf_margin_b)


@pytest.mark.parametrize("scoring", ["exact", "fast"])
def test_ranks_that_are_not_asked_for_have_no_node_and_the_others_are_the_same(world, scoring, small_sample):
    tree, vectors_nd, images_bd = world
    method = Scorer(tree, VectorTable(vectors_nd), SCALE, scoring=scoring)
    all_ranks, some = method.score(images_bd, top=5), method.score(images_bd, top=5, ranks=["species", "order"])
    np.testing.assert_array_equal(some.top_node_brk[:, [3, 6]], all_ranks.top_node_brk[:, [3, 6]])
    np.testing.assert_allclose(some.top_probability_brk[:, [3, 6]], all_ranks.top_probability_brk[:, [3, 6]], atol=1e-6)
    assert (some.node_br[:, [0, 1, 2, 4, 5]] == -1).all()


def test_an_image_alone_has_the_scores_that_it_has_among_others(world):
    tree, vectors_nd, images_bd = world
    images_bd = np.concatenate([images_bd] * 6)  # more than one batch
    exact = Scorer(tree, VectorTable(vectors_nd), SCALE)
    together = exact.score(images_bd, top=3)
    for i in (0, 31, 32, 71):
        alone = exact.score(images_bd[i : i + 1], top=3)
        np.testing.assert_array_equal(together.top_node_brk[i], alone.top_node_brk[0])
        np.testing.assert_allclose(together.top_probability_brk[i], alone.top_probability_brk[0], atol=1e-5)


def test_twins_share_their_mass_and_the_first_comes_first(world):
    tree, vectors_nd, images_bd = world
    scores = Scorer(tree, VectorTable(vectors_nd), SCALE).score(images_bd[:1], top=2)
    assert scores.top_node_brk[0, 6].tolist() == tree.leaf_node_n[:2].tolist()
    assert scores.top_probability_brk[0, 6, 0] == pytest.approx(scores.top_probability_brk[0, 6, 1], abs=1e-9)
    assert scores.leaf_margin_b[0] == 0


# A float32 cosine is rounded by up to 6e-8, which the logit scale multiplies. CLIP's is at most 100.
@pytest.mark.parametrize(("scale", "atol"), [(1.0, 1e-6), (100.0, 1e-5), (300.0, 3e-5)])
def test_flat_and_sharp_distributions_are_as_exact(world, scale, atol):
    tree, vectors_nd, images_bd = world
    scores = Scorer(tree, VectorTable(vectors_nd), scale).score(images_bd)
    cosine_bn = images_bd.astype(np.float64) @ vectors_nd.T.astype(np.float64)
    check_against_reference(scores, tree, cosine_bn, scale, np.zeros((len(images_bd), 0)), None, None, 1, atol=atol)


def test_summaries_of_earlier_versions_are_merged():
    former = {"fast": 1, "scan": 2, "sweep": 30, "dense": 400, "largest_unread": 0.25}
    present = {"fast": 2, "dense": 3, "largest_unread": 0.1}
    assert merge_summaries([former, present]) == {"fast": 3, "dense": 435, "largest_unread": 0.25}


def test_scores_are_empty_before_they_are_filled():
    scores = Scores.empty(2, 3)
    assert len(scores) == 2
    assert (scores.node_br == -1).all()
    assert np.isnan(scores.top_similarity_brk).all()
