"""Compare names and probabilities of `linnaea.bioclip` with pybioclip 2.1.6 on the same weights, names and photographs.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/random_checkpoint.py vit-l-14 CHECKPOINT && python benchmarks/random_table.py TABLE
    python benchmarks/pybioclip_equality.py --peers DIR --model CHECKPOINT --table TABLE --photos PHOTOS

The script asks both sides the same questions in turn: every rank, a clade, labels, bins, the features. A row counts as
the same if all names in it are equal. At the ranks, the probabilities of both sides are also compared with dense sums
in float64: pybioclip adds hundreds of thousands of float32 numbers one by one and omits those below its `min_prob`. The
script does not measure speed. Above species pybioclip loops over all taxa in Python, half a minute per photograph and
rank: with 868,000 taxa `--n 2` takes six minutes on an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from hardware import describe_hardware, show_command, write_result
from peers import peer_python
from pybioclip_peer import IMAGE_SUFFIXES, Peer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
LABELS = ("cat", "dog", "a small bird", "beetle", "oak", "mushroom")
BINS = {"cat": "animal", "dog": "animal", "beetle": "animal", "oak": "plant", "rose": "plant", "mushroom": "fungus"}
CLADE = ("class", ("Aves", "Insecta"))
NEARLY_TIED = 1e-6


def compare(ours: list[dict], theirs: list[dict]) -> dict:
    """Return the number of rows, of rows with the same names, and the largest difference of scores.

    Names that swap places with an equally likely neighbour count as the same.
    """
    same, largest = 0, 0.0
    for mine, other in zip(ours, theirs, strict=True):
        assert list(mine) == list(other), (list(mine), list(other))
        difference = abs(mine["score"] - other["score"])
        largest = max(largest, difference)
        equal = {**mine, "score": 0} == {**other, "score": 0}
        tied = difference <= NEARLY_TIED and any(
            {**mine, "score": 0} == {**row, "score": 0} and abs(row["score"] - other["score"]) <= NEARLY_TIED
            for row in theirs
        )
        same += equal or tied
    return {"rows": len(ours), "same": same, "largest": largest}


def dense_sums(tree, photos: list[str], k: int) -> dict[str, np.ndarray]:
    """Return the k largest probabilities float64 [b, k] of every rank: one dense softmax, then its sums."""
    vectors_bd, taxa, block = tree.create_image_features(photos).astype(np.float64), tree.vocabulary.tree, 16384
    table_nd, scale = tree._table.vectors_nd, float(tree.model.card.logit_scale)
    starts = range(0, taxa.n_leaves, block)
    logit_bn = scale * np.concatenate(
        [vectors_bd @ np.asarray(table_nd[i : i + block], np.float64).T for i in starts], axis=1
    )
    mass_bn = np.exp(logit_bn - logit_bn.max(axis=1, keepdims=True))
    sum_bn = np.pad(np.cumsum(mass_bn / mass_bn.sum(axis=1, keepdims=True), axis=1), ((0, 0), (1, 0)))
    found = {}
    for rank in RANKS:
        nodes = taxa.nodes_at(rank)
        found[rank] = np.sort(sum_bn[:, taxa.end_k[nodes]] - sum_bn[:, taxa.start_k[nodes]], axis=1)[:, ::-1][:, :k]
    return found


def off_by(rows: list[dict], truth_bk: np.ndarray) -> float:
    """Return the largest difference of the scores from those in float64, in the order of the rows."""
    return float(np.abs(np.array([row["score"] for row in rows]) - truth_bk.ravel()[: len(rows)]).max())


def ask_both(peer: Peer, model: str, table: str, photos: list[str], ranks: list[str], k: int) -> dict[str, dict]:
    """Return the comparison of every question."""
    from linnaea.bioclip import CustomLabelsBinningClassifier, CustomLabelsClassifier, TreeOfLifeClassifier
    from linnaea.bioclip.ranks import Rank

    tree = TreeOfLifeClassifier(model_str=model, table=table)
    found, truth = {}, dense_sums(tree, photos, k)
    for label in ranks:
        theirs = peer.ask("predict", images=photos, rank=label, k=k)["result"]
        ours = tree.predict(photos, Rank[label.upper()], k=k)
        found[label] = compare(ours, theirs)
        if len(ours) == truth[label].size:
            found[label] |= {"ours": off_by(ours, truth[label]), "theirs": off_by(theirs, truth[label])}
    rank, names = CLADE
    tree.apply_filter(tree.create_taxa_filter(Rank[rank.upper()], names))
    n_kept = peer.ask("restrict", rank=rank, names=list(names))["result"]
    theirs = peer.ask("predict", images=photos, rank="species", k=k)["result"]
    found[f"species in {n_kept:,} taxa"] = compare(tree.predict(photos, Rank.SPECIES, k=k), theirs)
    with tempfile.TemporaryDirectory() as folder:
        peer.ask("features", images=photos, normalize=True, out=f"{folder}/features.npy")
        difference = np.abs(tree.create_image_features(photos) - np.load(f"{folder}/features.npy"))
    found["unit vectors"] = {"rows": len(photos), "same": len(photos), "largest": float(difference.max())}
    del tree
    options = {"model_str": model, "pixels": "squash"}
    theirs = peer.ask("labels", images=photos, labels=LABELS)["result"]
    found[f"{len(LABELS)} labels"] = compare(CustomLabelsClassifier(LABELS, **options).predict(photos), theirs)
    theirs = peer.ask("bins", images=photos, bins=BINS)["result"]
    found[f"{len(set(BINS.values()))} bins"] = compare(
        CustomLabelsBinningClassifier(BINS, **options).predict(photos), theirs
    )
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", type=Path, required=True, help="folder of the peers' environment, made if it is missing"
    )
    parser.add_argument("--model", required=True, help="an open_clip folder")
    parser.add_argument(
        "--table", required=True, help="folder of a table of that dimension, written by random_table.py"
    )
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG or PNG files")
    parser.add_argument("--n", type=int, default=8, help="number of photographs")
    parser.add_argument("--ranks", nargs="+", choices=RANKS, default=RANKS, metavar="RANK")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for the result")
    args = parser.parse_args()
    photos = sorted(str(path) for path in args.photos.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)[: args.n]
    with Peer(peer_python(args.peers.absolute()), model=args.model, table=args.table) as peer:
        found = ask_both(peer, args.model, args.table, photos, args.ranks, args.k)
    lines = ["# Names and probabilities, compared with pybioclip 2.1.6", "", describe_hardware(), ""]
    lines += [f"    {show_command('pybioclip_equality', sys.argv[1:])}", ""]
    lines += [
        (
            f"{len(photos)} photographs, random weights, pybioclip's own pixels (squashed, in floats); "
            "full precision on both sides."
        ),
        "",
    ]
    lines += [
        "| question | rows | with the same names | largest difference | ours from float64 | pybioclip from float64 |"
    ]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for what, r in found.items():
        dense = [f"{r[side]:.1e}" if side in r else "" for side in ("ours", "theirs")]
        lines.append(f"| {what} | {r['rows']} | {r['same']} | {r['largest']:.1e} | {' | '.join(dense)} |")
    write_result(args.out, "pybioclip_equality", lines)


if __name__ == "__main__":
    main()
