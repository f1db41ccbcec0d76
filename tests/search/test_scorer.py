"""The fast scorer against a dense float64 reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.records import RANKS
from linnaea.search.rank_intervals import largest_first
from linnaea.search.scorer import Scorer
from linnaea.taxonomy.tree import Tree


class FixedTable:
    def __init__(self, cosine_bn):
        self.cosine_bn = cosine_bn

    def similarities(self, image_vectors_bd, leaves=None):
        chosen = self.cosine_bn if leaves is None else self.cosine_bn[:, leaves]
        return np.ascontiguousarray(chosen, np.float32)


def tree_of(rows):
    columns = {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}
    return Tree.from_lineages(columns)[0]


def reference(tree, cosine_n, scale, refusal_f, leaves=None, prior_n=None):
    """Per rank {node: mass}, the mass of refusals, the entropy: one long softmax, then one sum a node."""
    chosen = np.arange(tree.n_leaves) if leaves is None else leaves
    logits = scale * cosine_n[chosen].astype(np.float64) + (0 if prior_n is None else prior_n[chosen])
    both = np.concatenate([logits, scale * refusal_f.astype(np.float64)])
    p = np.exp(both - both.max())
    p /= p.sum()
    masses = {}
    for rank in RANKS:
        masses[rank] = {}
        for node in tree.nodes_at(rank).tolist():
            inside = (chosen >= tree.start_k[node]) & (chosen < tree.end_k[node])
            if inside.any():
                masses[rank][node] = (p[: len(chosen)][inside].sum(), cosine_n[chosen][inside].max())
    return masses, p[len(chosen) :].sum(), -(p[p > 0] * np.log(p[p > 0])).sum()


@st.composite
def problems(draw):
    n_rows = draw(st.integers(1, 14))
    rows = []
    for _ in range(n_rows):
        # few names a rank, so that leaves share ancestors; "" leaves a rank out
        row = [draw(st.sampled_from(["A", "B", ""])) + (rank[0] if rank else "") for rank in RANKS]
        rows.append([name if len(name) > 1 else "" for name in row])
    rows = [row for row in rows if any(row)] or [["Ak", *[""] * 6]]
    tree = tree_of(rows)
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    b = draw(st.integers(1, 3))
    cosine_bn = rng.uniform(-1, 1, (b, tree.n_leaves)).astype(np.float32)
    if draw(st.booleans()):
        cosine_bn = np.round(cosine_bn)  # ties
    leaves = None
    if draw(st.booleans()):
        leaves = np.flatnonzero(rng.random(tree.n_leaves) < 0.6).astype(np.int32)
        leaves = leaves if len(leaves) else np.array([tree.n_leaves - 1], np.int32)
    prior_n = rng.normal(0, 3, tree.n_leaves).astype(np.float32) if draw(st.booleans()) else None
    n_refusals = draw(st.integers(0, 3))
    return (
        tree,
        cosine_bn,
        leaves,
        prior_n,
        rng.uniform(-1, 1, (n_refusals, b)),
        draw(st.sampled_from([1.0, 20.0, 100.0])),
    )


@settings(max_examples=150, deadline=None)
@given(problems(), st.integers(1, 20))
def test_all_ranks_in_one_pass_equal_a_dense_softmax_summed_node_by_node(problem, top):
    tree, cosine_bn, leaves, prior_n, refusal_fb, scale = problem
    b = len(cosine_bn)
    # image i is the i-th unit vector, so the refusals' cosines can be chosen freely
    scorer = Scorer(tree, FixedTable(cosine_bn), scale, refusal_fb.astype(np.float32), leaves, prior_n, n_threads=2)
    scores = scorer.score(np.eye(b, dtype=np.float32), top=top)
    assert len(scores) == b
    for i in range(b):
        masses, none, entropy = reference(
            tree, cosine_bn[i], scale, refusal_fb.astype(np.float32)[:, i], leaves, prior_n
        )
        assert scores.no_organism_b[i] == pytest.approx(none, abs=1e-5)
        assert scores.entropy_b[i] == pytest.approx(entropy, abs=2e-3)
        for r, rank in enumerate(RANKS):
            expected = sorted((mass for mass, _cosine in masses[rank].values()), reverse=True)
            got = scores.top_node_brk[i, r]
            kept = got[got >= 0].tolist()
            assert len(kept) == len(set(kept)) == min(len(expected), max(2, top))
            np.testing.assert_allclose(scores.top_probability_brk[i, r, : len(kept)], expected[: len(kept)], atol=2e-5)
            for k, node in enumerate(kept[:top]):
                mass, cosine = masses[rank][node]
                assert scores.top_probability_brk[i, r, k] == pytest.approx(mass, abs=2e-5)
                assert scores.top_similarity_brk[i, r, k] == pytest.approx(cosine)
            assert scores.node_br[i, r] == (kept[0] if kept else -1)
            assert scores.second_br[i, r] == pytest.approx(expected[1] if len(expected) > 1 else 0, abs=2e-5)


def test_a_worked_example_by_hand():
    animal = ["Animalia", "", "", "", "F"]
    tree = tree_of([[*animal, "G", "G a"], [*animal, "G", "G b"], [*animal, "H", "H c"]])
    cosine_bn = np.log(np.array([[4.0, 3.0, 2.0]])).astype(np.float32)
    scores = Scorer(tree, FixedTable(cosine_bn), 1.0, np.zeros((1, 1), np.float32)).score(np.ones((1, 1), np.float32))
    # masses 4 : 3 : 2 for the species and 1 for the refusal
    assert scores.no_organism_b[0] == pytest.approx(0.1)
    best = {rank: tree.name(int(scores.node_br[0, r])) for r, rank in enumerate(RANKS) if scores.node_br[0, r] >= 0}
    assert best == {"kingdom": "Animalia", "family": "F", "genus": "G", "species": "G a"}
    np.testing.assert_allclose(scores.probability_br[0], [0.9, 0, 0, 0, 0.9, 0.7, 0.4], atol=1e-6)
    np.testing.assert_allclose(scores.second_br[0, [5, 6]], [0.2, 0.3], atol=1e-6)
    assert scores.leaf_margin_b[0] == pytest.approx(np.log(4 / 3), abs=1e-6)
    assert scores.leaf_similarity_b[0] == pytest.approx(np.log(4))
    assert scores.no_organism_similarity_b[0] == 0


def test_a_refusal_far_above_all_leaves_takes_everything_without_overflow():
    tree = tree_of([["Animalia", *[""] * 6], ["Plantae", *[""] * 6]])
    refusal = np.array([[1.0]], np.float32)
    scores = Scorer(tree, FixedTable(np.full((1, 2), -1.0)), 1000.0, refusal).score(np.ones((1, 1), np.float32))
    assert scores.no_organism_b[0] == pytest.approx(1) and scores.probability_br[0, 0] == 0
    assert np.isfinite(scores.entropy_b[0])


def test_one_leaf_alone_is_certain_and_no_image_gives_no_score():
    tree = tree_of([["Animalia", *[""] * 6]])
    scorer = Scorer(tree, FixedTable(np.zeros((1, 1))), 10.0)
    scores = scorer.score(np.ones((1, 1), np.float32))
    assert (
        scores.probability_br[0, 0] == 1
        and np.isinf(scores.leaf_margin_b[0])
        and np.isnan(scores.no_organism_similarity_b[0])
    )
    assert len(scorer.score(np.zeros((0, 1), np.float32))) == 0


def test_an_empty_restriction_is_refused():
    tree = tree_of([["Animalia", *[""] * 6]])
    with pytest.raises(ValueError, match="--within"):
        Scorer(tree, FixedTable(np.zeros((1, 1))), 1.0, leaves=np.zeros(0, np.int32))


@given(st.lists(st.integers(-3, 3), max_size=60), st.integers(1, 40))
def test_the_largest_come_first_with_ties_by_position_and_the_values_stay(values, k):
    array = np.array(values, np.float32)
    expected = np.argsort(-array, kind="stable")[:k]
    np.testing.assert_array_equal(largest_first(array, k), expected)
    np.testing.assert_array_equal(array, np.array(values, np.float32))


def test_more_images_than_are_scored_at_once_have_the_scores_they_have_alone():
    tree = tree_of([("Animalia", "C", "A", "O", "F", f"G{i // 3}", f"G{i // 3} s{i}") for i in range(9)])
    rng = np.random.default_rng(0)
    names = rng.normal(size=(tree.n_leaves, 6)).astype(np.float32)

    class Table:
        def similarities(self, image_vectors_bd, leaves=None):
            return image_vectors_bd @ names.T

    scorer = Scorer(tree, Table(), 3.0, rng.normal(size=(2, 6)).astype(np.float32))
    images = rng.normal(size=(70, 6)).astype(np.float32)
    together = scorer.score(images)
    for i in (0, 31, 32, 69):
        alone = scorer.score(images[i : i + 1])
        np.testing.assert_array_equal(together.node_br[i], alone.node_br[0])
        np.testing.assert_allclose(together.probability_br[i], alone.probability_br[0], atol=1e-6)
        np.testing.assert_allclose(together.no_organism_b[i], alone.no_organism_b[0], atol=1e-6)


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
    for i, leaf in enumerate((7, 100)):
        expected = reference(tree, cosine_bn[i], 10.0, np.zeros(0))[0]["species"]
        node = int(tree.leaf_node_n[leaf])
        assert scores.node_br[i, 6] == node
        assert scores.probability_br[i, 6] == pytest.approx(float(expected[node][0]), rel=1e-5)
        assert scores.second_br[i, 6] == pytest.approx(
            float(sorted(mass for mass, *_ in expected.values())[-2]), rel=1e-5
        )
        assert float(scores.similarity_br[i, 6]) == pytest.approx(0.9)
