"""Compare scoring of image vectors among 868,000 taxa with pybioclip: time, errors, and the cost of a clade.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/random_checkpoint.py vit-l-14 CHECKPOINT
    python benchmarks/random_table.py TABLE && python benchmarks/random_table.py UNIFORM --near-uniform
    python benchmarks/scoring_speed.py --peers DIR --model CHECKPOINT --table TABLE --near-uniform UNIFORM

pybioclip (a process in the peers' environment) and ours (this process) hold the same table and answer for the same
image vectors, in turns in every round, from vectors to rows with names, both for one rank. Image vectors of the
structured table lie near taxa of it: they have the cosine COSINE to their own taxon and are random otherwise (or the
cosine HARD, where most of the mass lies elsewhere). Those of the near-uniform table are random. The temperature is the
checkpoint's, 1/100 as in BioCLIP 2.

Errors are against a dense float64 softmax over all taxa: for every rank in the five and in the hundred likeliest taxa,
with the images in one batch and one by one; and for the five likeliest species alone, one by one, which is what
`batch 1` times. The cache is empty at the start (4 GB of disk with 868,000 taxa).

Shape suffixes: b images, c columns of the table, n leaves, d vector dimensions.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hardware import describe_hardware, measure_bandwidth, measure_sgemm, n_cores, show_command, write_result
from peers import peer_python
from pybioclip_peer import Peer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

NPY = "txt_emb_species.npy"
COSINE = 0.4
HARD = 0.3
K = 5
# Number of taxa of each rank that are compared with float64; ranks above genus have few more.
MANY = 100
CLADE = ("class", "Aves")
# Requests whose errors are measured: ranks, answers, details, images at once (0: all). The last request is also timed.
ASKED = {
    "every rank, one batch": (None, MANY, True, 0),
    "every rank, one by one": (None, MANY, True, 1),
    "species, one by one": (("species",), K, False, 1),
}


def image_vectors(table: Path, n: int, seed: int, cosine: float) -> np.ndarray:
    """Return unit vectors float32 [b, d] with that cosine to random columns of the table (0: random directions)."""
    matrix_dc = np.load(table / NPY, mmap_mode="r")
    rng = np.random.default_rng(seed)
    noise_bd = rng.standard_normal((n, matrix_dc.shape[0]))
    noise_bd /= np.linalg.norm(noise_bd, axis=1, keepdims=True)
    if cosine:
        column_bd = np.array([matrix_dc[:, c] for c in rng.integers(matrix_dc.shape[1], size=n)], np.float64)
        noise_bd -= (noise_bd * column_bd).sum(1, keepdims=True) * column_bd
        noise_bd *= np.sqrt(1 - cosine**2) / np.linalg.norm(noise_bd, axis=1, keepdims=True)
        noise_bd += cosine * column_bd
    return noise_bd.astype(np.float32)


class Ours:
    """Our classifier on a table, with exchangeable scoring.

    `first_s` is the loading time with an empty cache, `load_s` the loading time after that.
    """

    def __init__(self, model: Path, table: Path):
        from linnaea.bioclip import TreeOfLifeClassifier
        from linnaea.search.scorer import Scorer

        start = time.perf_counter()
        TreeOfLifeClassifier(model_str=str(model), table=table)
        self.first_s = time.perf_counter() - start
        start = time.perf_counter()
        self.classifier = TreeOfLifeClassifier(model_str=str(model), table=table)
        self.load_s = time.perf_counter() - start
        self.tree, self.table = self.classifier.vocabulary.tree, self.classifier._table
        scale = self.classifier.model.card.logit_scale
        self.scorers = {way: Scorer(self.tree, self.table, scale, scoring=way) for way in ("exact", "fast")}
        self.scale = float(scale)

    def seconds(self, way: str, vectors_bd: np.ndarray, rank: str, batch: int) -> float:
        """Return the seconds from vectors to rows with names."""
        from linnaea.bioclip.ranks import Rank

        self.classifier._scorer = self.scorers[way]
        start = time.perf_counter()
        for first in range(0, len(vectors_bd), batch):
            for rows in self.classifier._name(vectors_bd[first : first + batch], Rank[rank.upper()], 1e-9, K):
                assert rows
        return time.perf_counter() - start

    def clade_s(self) -> tuple[float, int]:
        """Return the seconds until a scorer of one clade is ready, and its candidates."""
        from linnaea.search.scorer import Scorer

        start = time.perf_counter()
        leaves = self.classifier.vocabulary.leaves_within([CLADE[1]])
        scorer = Scorer(self.tree, self.table, self.scale, None, leaves)
        return time.perf_counter() - start, scorer.n_candidates


def dense_masses(ours: Ours, vectors_bd: np.ndarray):
    """Yield for each image float64 [k]: the mass below each taxon by one dense softmax."""
    tree, block = ours.tree, 16384
    logit_bn = np.empty((len(vectors_bd), tree.n_leaves))
    for first in range(0, tree.n_leaves, block):
        rows_nd = np.asarray(ours.table.vectors_nd[first : first + block], np.float64)
        logit_bn[:, first : first + len(rows_nd)] = ours.scale * (vectors_bd.astype(np.float64) @ rows_nd.T)
    for logit_n in logit_bn:
        mass_n = np.exp(logit_n - logit_n.max())
        sum_n = np.concatenate([[0.0], np.cumsum(mass_n / mass_n.sum())])
        yield sum_n[tree.end_k] - sum_n[tree.start_k]


def answers(scorer, vectors_bd: np.ndarray, asked: str) -> tuple[np.ndarray, np.ndarray]:
    """Return taxa int32 and probabilities float64, both [b, r, k], for a request of `ASKED`."""
    ranks, top, details, batch = ASKED[asked]
    parts = [
        vectors_bd[i : i + (batch or len(vectors_bd))] for i in range(0, len(vectors_bd), batch or len(vectors_bd))
    ]
    given = {"top": top, "details": details} | ({"ranks": ranks} if ranks else {})
    scores = [scorer.score(part, **given) for part in parts]
    return np.concatenate([s.top_node_brk for s in scores]), np.concatenate([s.top_probability_brk for s in scores])


def dense_errors(ours: Ours, vectors_bd: np.ndarray) -> dict[tuple[str, str], dict]:
    """Return the errors of each way and question.

    These are: the largest error of a probability against float64, the share of the five likeliest species that are
    kept, how the images were scored, and what the fast way did not read.
    """
    from linnaea.records import RANKS

    tree, found, said = ours.tree, {}, {}
    for way, scorer in ours.scorers.items():
        for asked in ASKED:
            before, scorer.largest_unread = scorer.counts.copy(), 0.0
            said[way, asked] = answers(scorer, vectors_bd, asked)
            found[way, asked] = {
                K: 0.0,
                MANY: 0.0,
                "kept": [],
                "went": scorer.counts - before,
                "unread": scorer.largest_unread,
            }
    for image, true_k in enumerate(dense_masses(ours, vectors_bd)):
        for r, rank in enumerate(RANKS):
            every = np.sort(true_k[tree.nodes_at(rank)])[::-1]
            for key, (node_brk, mass_brk) in said.items():
                ranks, top, *_ = ASKED[key[1]]
                if ranks and rank not in ranks:
                    continue
                best = every[:top]
                of_node = true_k[node_brk[image, r, : len(best)]]
                error_k = np.maximum(
                    np.abs(mass_brk[image, r, : len(best)] - best), np.abs(mass_brk[image, r, : len(best)] - of_node)
                )
                for k in (K, MANY):
                    found[key][k] = max(found[key][k], float(error_k[:k].max()))
                if rank == "species":
                    found[key]["kept"].append(np.mean(of_node[:K] >= best[:K][-1]))
    return {key: values | {"kept": statistics.mean(values["kept"])} for key, values in found.items()}


def alternate(peer: Peer, ours: Ours, table: Path, folder: Path, case: dict, rounds: int) -> dict[str, list[float]]:
    """Return milliseconds per image of each side by round; ours answer for more images, because they are faster."""
    vectors_bd = image_vectors(table, case["n"], seed=1, cosine=case["cosine"])
    few = folder / "few.npy"
    np.save(few, vectors_bd[: case["n_peer"]])
    ms: dict[str, list[float]] = {"pybioclip": [], "exact": [], "fast": []}
    for way in ("exact", "fast"):
        ours.seconds(way, vectors_bd, case["rank"], case["batch"])  # both sides' tables are then in memory
    for _ in range(rounds):
        answer = peer.ask("score", vectors=str(few), rank=case["rank"], k=K, batch_size=case["batch"])
        ms["pybioclip"].append(1000 * answer["seconds"] / case["n_peer"])
        for way in ("exact", "fast"):
            # load what was idle while the other side worked, as between images of one run
            ours.seconds(way, vectors_bd[: case["batch"]], case["rank"], case["batch"])
            ms[way].append(1000 * ours.seconds(way, vectors_bd, case["rank"], case["batch"]) / case["n"])
    return ms


def spread(values: list[float], form: str = "{:.1f}") -> str:
    """Return the median with minimum and maximum."""
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return f"{middle} ({low} … {high})"


def timings(peer: Peer, ours: Ours, table: Path, cases: list[dict], rounds: int) -> list[str]:
    """Return a table of the cases."""
    lines = ["| case | pybioclip, ms per image | exact, ms | speed-up | fast, ms | speed-up | how fast scoring went |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            before = ours.scorers["fast"].counts.copy()
            ms = alternate(peer, ours, table, Path(folder), case, rounds)
            went = ours.scorers["fast"].counts - before
            cells = [f"{case['rank']}, batch {case['batch']}", spread(ms["pybioclip"], "{:.0f}")]
            for way in ("exact", "fast"):
                ratio = [theirs / own for theirs, own in zip(ms["pybioclip"], ms[way], strict=True)]
                cells += [spread(ms[way]), f"**{spread(ratio)}**"]
            cells.append(", ".join(f"{name} {count}" for name, count in sorted(went.items())))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def error_lines(ours: Ours, table: Path, n: int, cosine: float) -> list[str]:
    """Return a table of the errors of both ways."""
    lines = [
        "",
        f"{n} images against dense float64, largest error of a probability:",
        "",
        (
            f"| way | asked | {K} likeliest | {MANY} likeliest | {K} likeliest species kept | way of scoring "
            "| largest unread mass |"
        ),
        "| --- | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for (way, asked), values in dense_errors(ours, image_vectors(table, n, seed=2, cosine=cosine)).items():
        many = "" if ASKED[asked][1] < MANY else f"{values[MANY]:.1e}"
        went = ", ".join(f"{name} {count}" for name, count in sorted(values["went"].items()))
        unread = f"{values['unread']:.1e}" if way == "fast" else ""
        lines.append(f"| {way} | {asked} | {values[K]:.1e} | {many} | {values['kept']:.4f} | {went} | {unread} |")
    return lines


def measure(options) -> list[str]:
    """Return the lines of the result."""
    python = peer_python(options.peers.absolute())
    with Peer(python, model=options.model, table=None) as peer:
        bare_s = peer.loaded["load_s"]
    ours = Ours(options.model, options.table)
    matrix_dc = np.load(options.table / NPY, mmap_mode="r")
    lines = ["## Structured", ""]
    n_values, gb_s, sgemm = matrix_dc.size, measure_bandwidth() / 1e9, measure_sgemm()
    with Peer(python, model=options.model, table=options.table) as peer:
        peer_load_s = peer.loaded["load_s"]
        for cosine in (COSINE, HARD):
            lines += [f"Images with the cosine {cosine} to their own taxon:", ""]
            one, many = ({"rank": "species", "batch": batch, "cosine": cosine} for batch in (1, 32))
            cases = [one | {"n": 128, "n_peer": 8}, many | {"n": 64, "n_peer": 32}]
            lines += timings(peer, ours, options.table, cases, options.rounds)
            lines += [*error_lines(ours, options.table, options.images, cosine), ""]
        clade = [ours.clade_s() for _ in range(9)]
        theirs = [peer.ask("restrict", rank=CLADE[0], names=[CLADE[1]]) for _ in range(2)]
        assert theirs[0]["result"] == clade[0][1], (theirs[0]["result"], clade[0][1])
    clade_ms = [1000 * seconds for seconds, _ in clade]
    restrict_s = spread([answer["seconds"] for answer in theirs])
    text = f"""
Restricted to {CLADE[1]} ({clade[0][1]:,} taxa): {spread(clade_ms)} ms; pybioclip {restrict_s} s.

Loading names, vectors and model: {ours.load_s:.2f} s (the first time, with an empty cache, {ours.first_s:.0f} s);\
 pybioclip {peer_load_s:.1f} s, of which the model alone {bare_s:.1f} s.

The lower limit for an exact score of one image is {4000 * n_values / gb_s / 1e9:.0f} ms: reading the float32 table\
 once at the {gb_s:.1f} GB/s of a copy here. The lower limit for an image of a large batch is\
 {1000 * n_values / sgemm:.1f} ms: {n_values / 1e9:.2f} G multiply-adds at the {sgemm / 1e9:.0f} G/s of the fastest\
 product.

## Near-uniform
"""
    lines += text.split("\n")
    del ours
    ours = Ours(options.model, options.near_uniform)
    with Peer(python, model=options.model, table=options.near_uniform) as peer:
        flat = {"batch": 1, "cosine": 0.0}
        cases = [{"rank": "genus"} | flat | {"n": 4, "n_peer": 1}, {"rank": "species"} | flat | {"n": 16, "n_peer": 8}]
        lines += timings(peer, ours, options.near_uniform, cases, options.rounds)
        lines += error_lines(ours, options.near_uniform, 8, cosine=0.0)
    return lines


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", type=Path, required=True, help="folder of the peers' environment, made if it is missing"
    )
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint in open_clip's hub format")
    parser.add_argument("--table", type=Path, required=True, help="folder of a table that random_table.py wrote")
    parser.add_argument("--near-uniform", type=Path, required=True, help="folder that it wrote with --near-uniform")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=128, help="images whose errors are measured (default: 128)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    options = parser.parse_args()
    n = np.load(options.table / NPY, mmap_mode="r").shape
    text = f"""# Scoring among all taxa, compared with pybioclip

- hardware: {describe_hardware()}, all {n_cores()} cores on both sides
- made by: `{show_command("scoring_speed", sys.argv[1:])}`
- {n[1]:,} taxa, {n[0]} dimensions, random vectors: taxa of a genus have the cosine 0.80, of a family 0.65, of a kingdom
  0.30; an image has the cosine {COSINE} with its own taxon, {HARD} in the hard case. Near-uniform: any two taxa 0.99,
  images at random
- medians of {options.rounds} rounds in turns; ratios with minimum and maximum; both sides answer for one rank, that
  of the case; each table of errors states its requests
"""
    head = text.split("\n")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LINNAEA_CACHE"] = cache
        lines = measure(options)
    write_result(options.results, "scoring_speed", head + lines)


if __name__ == "__main__":
    main()
