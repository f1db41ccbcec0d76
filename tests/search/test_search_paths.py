"""The exact and the fast way through a large table against a dense float64 softmax."""

import numpy as np
import pytest

from linnaea.records import RANKS
from linnaea.search import batch_query as sweep
from linnaea.search import scorer as score
from linnaea.search import single_query as scan
from linnaea.search.quantized_table import FINER, PARTS, Queries, build_coarse, load_coarse
from linnaea.search.reranked import Precision, largest_squares, sharpest
from linnaea.search.scorer import Scorer, Scores
from linnaea.search.segments import sums
from linnaea.taxonomy.tree import Tree

DIM, SCALE = 96, 60.0


class CoarseOnly:
    """A name table whose vectors are read by way of its coarse copy."""

    def __init__(self, vectors_nd, tree):
        self.vectors_nd = vectors_nd
        self._coarse = build_coarse(vectors_nd, tree)

    def coarse(self, tree):
        return self._coarse


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    """A tree of 2,400 leaves whose vectors follow it, the first two of them twins, and images near some leaves."""
    rng = np.random.default_rng(0)
    rows = [
        ["Animalia", f"P{o // 6}", f"C{o // 4}", f"O{o // 2}", f"F{o}", f"G{o}_{g}", f"G{o}_{g} s{s}"]
        for o in range(24)
        for g in range(10)
        for s in range(4 + 2 * (g % 7))
    ]
    tree = Tree.from_lineages({rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)})[0]
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


@pytest.fixture(autouse=True)
def even_small_tables_are_scanned(monkeypatch):
    monkeypatch.setattr(score, "FEW_CANDIDATES", 0)


def reference(tree, vectors_nd, image_d, leaves, prior_n, refusals_fd, scale=SCALE):
    """Probability of every node, of the refusals, and the entropy, in float64."""
    cosine_n = vectors_nd.astype(np.float64) @ image_d.astype(np.float64)
    logit_n = np.full(tree.n_leaves, -np.inf)
    logit_n[leaves] = scale * cosine_n[leaves] + (0 if prior_n is None else prior_n[leaves])
    refusal_f = scale * (refusals_fd.astype(np.float64) @ image_d.astype(np.float64))
    both = np.concatenate([logit_n, refusal_f])
    p = np.exp(both - both.max())
    p /= p.sum()
    sum_n = np.concatenate([[0.0], np.cumsum(p[: tree.n_leaves])])
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
    return sum_n[tree.end_k] - sum_n[tree.start_k], p[tree.n_leaves :].sum(), entropy, cosine_n


CASES = {
    "plain": {},
    "refusals": {"refusals": True},
    "priors": {"prior": True, "refusals": True},
    "a clade": {"leaves": "clade"},
    "scattered leaves with priors": {"leaves": "scattered", "prior": True},
}


def scores_by(way, scorer, images_bd, monkeypatch):
    """The scores by one of the ways, all images together or one by one."""
    if way == "sweep in one pass":
        pytest.importorskip("numba")
        monkeypatch.setattr(sweep, "MANY_FINE", 1.0)
        passed = []
        alone = sweep.Sweep._fused_block
        monkeypatch.setattr(sweep.Sweep, "_fused_block", lambda *given: passed.append(alone(*given)) or passed[-1])
        scores = scorer.score(images_bd, top=5)
        assert passed and all(block is not None for block in passed)
        return scores
    if way.startswith("sweep"):
        monkeypatch.setattr(sweep, "fused", lambda: None)
    if way == "sweep of all second codes":
        monkeypatch.setattr(sweep, "CAUTION", 0.0)
    if way == "sweep that is done again":
        monkeypatch.setattr(sweep, "CAUTION", 1e9)
    if way == "sweep after a scan":
        monkeypatch.setattr(scan, "MOST_HITS", 0)
    if way in ("scan", "sweep after a scan"):
        alone = [scorer.score(images_bd[i : i + 1], top=5) for i in range(len(images_bd))]
        return Scores(
            **{name: np.concatenate([getattr(one, name) for one in alone]) for name in Scores.__annotations__}
        )
    return scorer.score(images_bd, top=5)


WAYS = (
    "scan",
    "sweep",
    "sweep in one pass",
    "sweep of all second codes",
    "sweep that is done again",
    "sweep after a scan",
    "dense",
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_exact_scores_are_those_of_a_dense_softmax_within_one_in_a_hundred_thousand(world, case, way, monkeypatch):
    tree, vectors_nd, images_bd = world
    if way == "dense":
        monkeypatch.setattr(score, "FEW_CANDIDATES", tree.n_leaves)
    rng = np.random.default_rng(1)
    options = CASES[case]
    refusals_fd = (
        unit(rng.normal(size=(2, DIM)) + 0.5 * images_bd[0])
        if "refusals" in options
        else np.zeros((0, DIM), np.float32)
    )
    prior_n = rng.normal(0, 2, tree.n_leaves).astype(np.float32) if "prior" in options else None
    leaves = None
    if options.get("leaves") == "clade":
        node = tree.nodes_at("phylum")[1]
        leaves = np.arange(tree.start_k[node], tree.end_k[node], dtype=np.int32)
    elif options.get("leaves") == "scattered":
        leaves = np.flatnonzero(rng.random(tree.n_leaves) < 0.1).astype(np.int32)
    scorer = Scorer(tree, CoarseOnly(vectors_nd, tree), SCALE, refusals_fd, leaves, prior_n, n_threads=2)
    scores = scores_by(way, scorer, images_bd, monkeypatch)
    assert scorer.counts[way.split()[0]] == len(images_bd)
    every = np.arange(tree.n_leaves) if leaves is None else leaves
    for i, image_d in enumerate(images_bd):
        mass_k, none, entropy, cosine_n = reference(tree, vectors_nd, image_d, every, prior_n, refusals_fd)
        assert scores.no_organism_b[i] == pytest.approx(none, abs=1e-5)
        assert scores.entropy_b[i] == pytest.approx(entropy, abs=2e-3)
        for r, rank in enumerate(RANKS):
            expected = np.sort(mass_k[tree.nodes_at(rank)])[::-1][:5]
            nodes = scores.top_node_brk[i, r, : len(expected)]
            found = nodes[nodes >= 0]
            np.testing.assert_allclose(scores.top_probability_brk[i, r, : len(expected)], expected, atol=1e-5)
            np.testing.assert_allclose(mass_k[found], expected[: len(found)], atol=1e-5)
            node = int(nodes[0])
            inside = every[(every >= tree.start_k[node]) & (every < tree.end_k[node])]
            assert scores.similarity_br[i, r] == pytest.approx(cosine_n[inside].max(), abs=1e-5)


def test_without_details_the_masses_are_the_same_and_the_rest_is_not_a_number(world):
    tree, vectors_nd, images_bd = world
    scorer = Scorer(tree, CoarseOnly(vectors_nd, tree), SCALE, n_threads=2)
    whole, bare = scorer.score(images_bd, top=5), scorer.score(images_bd, top=5, details=False)
    np.testing.assert_array_equal(whole.top_node_brk, bare.top_node_brk)
    np.testing.assert_allclose(whole.top_probability_brk, bare.top_probability_brk, atol=1e-9)
    assert np.isnan(bare.entropy_b).all() and np.isnan(bare.similarity_br).all()
    np.testing.assert_array_equal(whole.leaf_margin_b, bare.leaf_margin_b)


@pytest.mark.parametrize("way", ["scan", "sweep", "fast", "dense"])
def test_ranks_that_are_not_asked_for_have_no_node_and_the_others_are_the_same(world, way, monkeypatch):
    tree, vectors_nd, images_bd = world
    if way == "dense":
        monkeypatch.setattr(score, "FEW_CANDIDATES", tree.n_leaves)
    scorer = Scorer(
        tree, CoarseOnly(vectors_nd, tree), SCALE, scoring="fast" if way == "fast" else "exact", n_threads=2
    )
    images_bd = images_bd[:1] if way == "scan" else images_bd
    whole, some = scorer.score(images_bd, top=5), scorer.score(images_bd, top=5, ranks=["species", "order"])
    assert scorer.counts[way] > 0
    np.testing.assert_array_equal(some.top_node_brk[:, [3, 6]], whole.top_node_brk[:, [3, 6]])
    np.testing.assert_allclose(some.top_probability_brk[:, [3, 6]], whole.top_probability_brk[:, [3, 6]], atol=1e-6)
    assert (some.node_br[:, [0, 1, 2, 4, 5]] == -1).all()


def test_an_image_alone_has_the_scores_that_it_has_among_others(world):
    tree, vectors_nd, images_bd = world
    scorer = Scorer(tree, CoarseOnly(vectors_nd, tree), SCALE, n_threads=2)
    together = scorer.score(images_bd, top=3)
    for i in (0, 5, 11):
        alone = scorer.score(images_bd[i : i + 1], top=3)
        np.testing.assert_array_equal(together.top_node_brk[i], alone.top_node_brk[0])
        np.testing.assert_allclose(together.top_probability_brk[i], alone.top_probability_brk[0], atol=1e-5)


def test_a_block_with_too_many_second_codes_is_left_to_the_other_way(world, monkeypatch):
    pytest.importorskip("numba")
    tree, vectors_nd, images_bd = world
    passed = []
    alone = sweep.Sweep._fused_block
    monkeypatch.setattr(sweep.Sweep, "_fused_block", lambda *given: passed.append(alone(*given)) or passed[-1])
    scores = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(sweep, "MANY_FINE", share)
        scores[share] = Scorer(tree, CoarseOnly(vectors_nd, tree), SCALE, n_threads=2).score(images_bd, top=5)
    assert [block is None for block in passed] == [True, False]
    np.testing.assert_array_equal(scores[0.0].top_node_brk, scores[1.0].top_node_brk)
    np.testing.assert_allclose(scores[0.0].top_probability_brk, scores[1.0].top_probability_brk, atol=1e-5)


@pytest.mark.parametrize("n_images", [1, 5, 32])
@pytest.mark.parametrize("with_prior", [False, True])
def test_the_compiled_pass_does_what_its_rules_say_and_writes_no_further_than_its_room(n_images, with_prior):
    fused = pytest.importorskip("linnaea.search.batch_kernel", reason="needs numba")
    rng, b, m, lift, raised = np.random.default_rng(n_images), n_images, 90, 0.01, 1.1
    dot_m2b = rng.integers(-9000, 9000, (m, 2 * b)).astype(np.int32)
    rest_nd, first_bd = (rng.integers(-127, 128, (n, DIM)).astype(np.int8) for n in (2 * m, b))
    row_m = np.sort(rng.permutation(2 * m)[:m]).astype(np.int32)
    scale_m, scale_b = (rng.uniform(0.5, 1.5, n).astype(np.float32) * np.float32(0.02) for n in (m, b))
    prior_m = (
        np.where(rng.random(m) < 0.2, -np.inf, rng.normal(size=m)).astype(np.float32)
        if with_prior
        else np.empty(0, np.float32)
    )
    reference_b, fine_b = rng.normal(size=b).astype(np.float32), np.full(b, 2.5, np.float32)
    near_b, hit_b, end_s = fine_b - np.float32(0.5), fine_b + np.float32(0.8), np.array([7, 8, 50, m])

    without_mb = (dot_m2b[:, :b] + dot_m2b[:, b:] / FINER) * scale_m[:, None].astype(float) * scale_b
    coarse_mb = without_mb + (prior_m[:, None] if with_prior else 0)
    fine_mb = coarse_mb > fine_b
    rest_mb = rest_nd[row_m].astype(float) @ first_bd.T.astype(float) / FINER * scale_m[:, None] * scale_b
    logit_mb = np.where(fine_mb, coarse_mb + rest_mb, coarse_mb)
    hit_mb = fine_mb & (logit_mb > hit_b)
    mass_mb = np.exp(logit_mb - reference_b + lift * fine_mb) * np.where(~fine_mb & (coarse_mb > near_b), raised, 1.0)
    mass_mb[hit_mb] = 0
    log_mb = np.maximum(logit_mb - reference_b, -80) + lift * np.where(fine_mb, 1, -1)
    starts = np.append(0, end_s[:-1])
    assert hit_mb.any() and (fine_mb & ~hit_mb).any() and (~fine_mb & (coarse_mb > near_b)).any()

    for room in (*range(0, fine_mb.sum() + 2, 3), fine_mb.sum(), fine_mb.sum() + 1):
        places = [np.full(room + 4, -7, kind) for kind in (np.int64, np.int64, np.float32)]
        sum_sb, largest_sb, square_b, weighted_b = (
            np.empty((4, b), np.float32),
            np.empty((4, b), np.float32),
            np.zeros(b),
            np.zeros(b),
        )
        n_hits, n_rows = fused.pass_over(
            dot_m2b,
            rest_nd,
            row_m,
            scale_m,
            prior_m,
            first_bd.astype(np.int16),
            scale_b,
            reference_b,
            near_b,
            fine_b,
            hit_b,
            end_s,
            np.float32(FINER),
            np.float32(lift),
            np.float32(raised),
            True,
            sum_sb,
            largest_sb,
            square_b,
            weighted_b,
            *(place[:room] for place in places),
        )
        assert all((place[room:] == -7).all() for place in places)
        assert n_hits >= 0 or room <= fine_mb.sum()
    assert (n_hits, n_rows) == (hit_mb.sum(), fine_mb.any(1).sum())
    found = sorted(zip(*(place[:n_hits].tolist() for place in places), strict=True))
    assert [pair[:2] for pair in found] == list(zip(*(x.tolist() for x in np.nonzero(hit_mb)), strict=True))
    np.testing.assert_allclose([pair[2] for pair in found], logit_mb[hit_mb], rtol=1e-5)
    np.testing.assert_allclose(sum_sb, np.add.reduceat(mass_mb, starts), rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(largest_sb, np.maximum.reduceat(without_mb, starts), rtol=1e-5)
    np.testing.assert_allclose(square_b, np.where(fine_mb, 0, mass_mb**2).sum(0), rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(weighted_b, (mass_mb * log_mb).sum(0), rtol=1e-4, atol=1e-3)


def test_where_nothing_can_be_compiled_the_scores_come_from_numpy(monkeypatch):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert sweep.fused.__wrapped__() is None


def test_compiled_exponentials_are_those_of_float64_to_the_last_places():
    fused = pytest.importorskip("linnaea.search.batch_kernel", reason="needs numba")
    x = np.linspace(-79, 80, 20011, dtype=np.float32)
    found = np.array([fused.exp(value) for value in x], np.float64)
    assert np.abs(found / np.exp(x.astype(np.float64)) - 1).max() < 2.5e-7
    assert fused.exp(np.float32(-1e5)) == pytest.approx(np.exp(-80.0))


def test_sums_of_columns_are_those_between_the_starts():
    values_mb = np.arange(24, dtype=np.float32).reshape(6, 4)
    for b in (1, 3, 4):
        found_sb = sums(np.ascontiguousarray(values_mb[:, :b]), np.array([0, 1, 4]))
        np.testing.assert_array_equal(found_sb[:, 0], [0, 24, 36])
        np.testing.assert_array_equal(found_sb[1], [24, 27, 30, 33][:b])


def test_twins_share_their_mass_and_the_first_comes_first(world):
    tree, vectors_nd, images_bd = world
    scores = Scorer(tree, CoarseOnly(vectors_nd, tree), SCALE, n_threads=1).score(images_bd[:1], top=2)
    assert scores.top_node_brk[0, 6].tolist() == tree.leaf_node_n[:2].tolist()
    assert scores.top_probability_brk[0, 6, 0] == pytest.approx(scores.top_probability_brk[0, 6, 1], abs=1e-9)
    assert scores.leaf_margin_b[0] == 0


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_flat_and_sharp_distributions_are_as_exact(world, scale):
    tree, vectors_nd, images_bd = world
    scores = Scorer(tree, CoarseOnly(vectors_nd, tree), scale, n_threads=2).score(images_bd)
    for i, image_d in enumerate(images_bd):
        mass_k = reference(tree, vectors_nd, image_d, np.arange(tree.n_leaves), None, np.zeros((0, DIM)), scale)[0]
        for r, rank in enumerate(RANKS):
            assert scores.probability_br[i, r] == pytest.approx(mass_k[tree.nodes_at(rank)].max(), abs=1e-5)


def test_the_fast_way_names_the_likeliest_and_leaves_what_it_cannot_tell(world, monkeypatch):
    tree, vectors_nd, images_bd = world
    monkeypatch.setattr("linnaea.search.ivf.FIRST_LEAVES", 300)
    monkeypatch.setattr("linnaea.search.ivf.MOST_LEAVES", 1000)
    monkeypatch.setattr("linnaea.search.ivf.MOST_FOR_BEST", 1000)
    rng = np.random.default_rng(3)
    flat_bd = unit(rng.normal(size=(3, DIM)))
    scorer = Scorer(tree, CoarseOnly(vectors_nd, tree), SCALE, scoring="fast", n_threads=2)
    exact = Scorer(tree, CoarseOnly(vectors_nd, tree), SCALE, n_threads=2).score(images_bd)
    fast = scorer.score(images_bd)
    assert scorer.counts["fast"] > 3 and 0 < scorer.largest_unread <= 0.6
    np.testing.assert_array_equal(fast.node_br[:, 6], exact.node_br[:, 6])
    assert np.abs(fast.probability_br - exact.probability_br).max() <= scorer.largest_unread + 1e-5
    scorer = Scorer(tree, CoarseOnly(vectors_nd, tree), 1.0, scoring="fast", n_threads=2)
    scorer.score(flat_bd)
    assert scorer.counts["fast"] == 0


def test_both_codes_of_rows_and_three_parts_of_images_give_cosines_within_their_bound(world):
    tree, vectors_nd, images_bd = world
    coarse = build_coarse(vectors_nd, tree)
    exact_bn = images_bd.astype(np.float64) @ vectors_nd.T.astype(np.float64)
    found_bn = Queries(images_bd).fine(slice(None)).dot(coarse.codes_nd, coarse.rest_nd, coarse.scale_n).T
    assert np.abs(found_bn - exact_bn).max() < min(1.1 * coarse.fine_error, 1e-4)
    few = np.array([3, 4, 9, 2000])
    rows = coarse.codes_nd[few], coarse.rest_nd[few], coarse.scale_n[few]
    np.testing.assert_allclose(Queries(images_bd[2:3]).fine(slice(None)).dot(*rows)[:, 0], found_bn[2, few], atol=1e-7)
    rows_nd = (coarse.codes_nd + coarse.rest_nd / np.float64(FINER)) * coarse.scale_n[:, None]
    assert np.linalg.norm(rows_nd - vectors_nd, axis=1).max() <= coarse.fine_error * 1.001
    assert Queries(images_bd).scale_pb.shape == (PARTS, len(images_bd))


def test_pieces_are_the_parts_of_cells_of_one_genus(world):
    tree, vectors_nd, _images_bd = world
    coarse = build_coarse(vectors_nd, tree)
    assert set(coarse.start_c) <= set(coarse.piece_start_p) and set(tree.start_k[tree.nodes_at("genus")]) <= set(
        coarse.piece_start_p
    )
    first, last = coarse.piece_start_p[7:9]
    mean_d = vectors_nd[first:last].mean(axis=0)
    np.testing.assert_allclose(
        coarse.piece_pd[7] * coarse.piece_scale_p[7], mean_d, atol=coarse.piece_scale_p[7] * 0.51
    )


def test_the_copy_is_made_once_and_mapped(world, tmp_path):
    tree, vectors_nd, _images_bd = world
    np.save(tmp_path / "v.npy", vectors_nd)
    done = []
    for _ in range(2):
        mapped_nd = np.load(tmp_path / "v.npy", mmap_mode="r")
        coarse = load_coarse(
            mapped_nd, tree, tmp_path / "v.npy", cache_dir=tmp_path / "c", report=lambda *x: done.append(x)
        )
    assert len(done) == len({count for count, _ in done})
    made = build_coarse(vectors_nd, tree)
    for name in ("codes_nd", "rest_nd", "piece_pd", "scale_n"):
        np.testing.assert_array_equal(getattr(coarse, name), getattr(made, name))


def test_the_largest_squares_are_taken_until_the_rest_is_little():
    mass_h = np.array([0.1, 3.0, 0.2, 1.0])
    assert largest_squares(mass_h, 0.051).tolist() == [False, True, False, True]
    assert largest_squares(mass_h, 0.049).tolist() == [False, True, True, True]
    assert largest_squares(mass_h, 100).tolist() == [False] * 4


def test_leaves_within_twice_the_bound_of_the_best_are_read_again():
    logit_h = np.array([-30.0, 5.0, 4.9, 4.7, -5.0])
    assert sharpest(logit_h, Precision(0.06, 1e-12), 1).tolist() == [False, True, True, False, False]
    assert sharpest(logit_h, Precision(0.01, 1.0), 1).tolist() == [False, True, True, True, True]
