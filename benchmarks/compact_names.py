"""Does the compact table of names lose anything? It is compared with the complete table on photographs of known name.

    python benchmarks/compact_names.py --out benchmarks/results

Both tables belong to the bundled model. Photographs: the split val of `data/images`, and those of `data/everyday` and
`data/everyday_more` whose label is a species (the model has seen none of them). Three questions. 1. Does the text
vector of a species that was never learned say which species of the genus it is? Its rank among the genus's species
that were not learned, 0 to 1, is 0.5 by chance. 2. How many answers differ between the tables, at the model's own
floor and at 0.5? 3. How good are the answers, with the calibration as shipped?
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bundled_model import ROOT, percent, write_manifest
from hardware import describe_hardware, show_command, write_result
from linnaea.embed.names.compact_table import load_compact_table
from linnaea.embed.names.name_table import load_name_table
from linnaea.embed.names.text_embedding import embed_texts
from linnaea.evaluate.metrics import expected_calibration_error
from linnaea.evaluate.truth import SPECIES, find_truth_nodes, read_examples, to_examples
from linnaea.evaluate.vocabulary_evaluation import group_examples, judge_names, summarize_groups
from linnaea.evaluate.zeroshot import embed_examples
from linnaea.identify.naming.calibration import calibrate
from linnaea.model.loading import load_model
from linnaea.records import RANKS
from linnaea.search.scorer import Scorer, Scores
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

BATCH = 32
FIGURES = ("given_right", "refused", "family_or_finer", "species_given", "wrong_species")


def load_photographs(data: Path, model, vocabulary, limit: int):
    """Return the examples and their vectors: val of `images`, then the species of the two everyday sets."""
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(data / "images", Path(folder) / "m.csv")
        sources = [(data / "images", read_examples(Path(folder) / "m.csv", ("split=val",)))]
    for name in ("everyday", "everyday_more"):
        rows = read_examples(data / name / "manifest.csv")
        sources.append((data / name / "images", [row for row in rows if " " in (row.get("scientific") or "")]))
    examples, vectors = [], []
    for root, rows in sources:
        own = to_examples(rows, vocabulary)[0]
        own = [e for e in own if (root.name == "images" and root.parent == data) or e.depth == SPECIES]
        own = own[:: max(1, len(own) // limit)] if limit else own
        vectors_nd, failures = embed_examples(model, own, root, BATCH)
        kept = [i for i in range(len(own)) if i not in failures]
        examples += [own[i] for i in kept]
        vectors.append(vectors_nd[kept])
    return examples, np.concatenate(vectors)


def rank_among_siblings(model, vocabulary, table, examples, vectors_nd, truth_nr) -> tuple[np.ndarray, int]:
    """Return each unlearned species's mean rank, 0 to 1, among those of its genus, and the number of photographs."""
    tree, learned = vocabulary.tree, set(model.familiar)
    ranks: dict[int, list[float]] = {}
    for i, example in enumerate(examples):
        node = int(truth_nr[i, SPECIES])
        if node < 0 or example.lineage in learned:
            continue
        genus = int(tree.parent_k[node])
        leaves = np.arange(tree.start_k[genus], tree.end_k[genus])
        leaves = np.array([leaf for leaf in leaves if tree.lineage(int(tree.leaf_node_n[leaf])) not in learned])
        if len(leaves) > 1:
            cosine = table.vectors_nd[leaves].astype(np.float32) @ vectors_nd[i]
            own = cosine[np.searchsorted(leaves, int(tree.start_k[node]))]
            ranks.setdefault(node, []).append(float((cosine < own).sum()) / (len(leaves) - 1))
    return np.array([np.mean(values) for values in ranks.values()]), sum(map(len, ranks.values()))


def score_all(model, vocabulary, table, vectors_nd) -> tuple[Scores, float]:
    """Return the scores of all photographs and the milliseconds that one took."""
    negative = embed_texts(model, list(model.card.negative_prompts))
    scorer = Scorer(vocabulary.tree, table, model.card.logit_scale, negative)
    start_s = time.perf_counter()
    parts = [scorer.score(vectors_nd[i : i + BATCH], top=2) for i in range(0, len(vectors_nd), BATCH)]
    milliseconds = 1000 * (time.perf_counter() - start_s) / len(vectors_nd)
    fields = Scores.__dataclass_fields__
    return Scores(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}), milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--limit", type=int, default=0, help="about this many photographs of each set (default: all)")
    parser.add_argument("--out", type=Path, help="folder for the result page")
    options = parser.parse_args()
    model = load_model("bundled")
    vocabulary = load_vocabulary("inat", model.card.common_names)
    tables = {"complete": load_name_table(model, vocabulary), "compact": load_compact_table(model, vocabulary)}
    examples, vectors_nd = load_photographs(options.data, model, vocabulary, options.limit)
    truth_nr = find_truth_nodes(examples, vocabulary)
    known_nr = (truth_nr >= 0) | np.array([[not example.organism] for example in examples])
    group_n = group_examples(examples, set(model.familiar))
    siblings, n = rank_among_siblings(model, vocabulary, tables["complete"], examples, vectors_nd, truth_nr)
    rank = f"{siblings.mean():.3f} ± {siblings.std() / np.sqrt(len(siblings)):.3f}"
    lines = [
        f"# The compact table of names, {datetime.date.today().isoformat()}",
        "",
        f"`{show_command('compact_names', sys.argv[1:])}` ({describe_hardware()})",
        "",
        (
            "Rank of the true species among the unlearned species of its genus, by text vectors, with standard error "
            f"(chance 0.5): {rank}; {n} photographs of {len(siblings)} species."
        ),
        "",
    ]
    floors, answers = (model.card.calibration["floor"], 0.5), {}
    for kind, table in tables.items():
        scores, milliseconds = score_all(model, vocabulary, table, vectors_nd)
        chance_nr = calibrate(model.card.calibration, scores, vocabulary.tree)
        right_nr = (scores.node_br == truth_nr) & (truth_nr >= 0)
        errors = [expected_calibration_error(chance_nr[k, r], right_nr[k, r]) for r, k in enumerate(known_nr.T)]
        shown = ", ".join(f"{rank} {value:.3f}" for rank, value in zip(RANKS, errors, strict=True))
        lines += [
            f"## {kind} table",
            "",
            f"Calibration error: {shown}. Scoring: {milliseconds:.1f} ms a photograph.",
            "",
        ]
        lines += [
            "| floor | group | n | name right % | refused % | family or finer % | species given % | wrong species % |"
        ]
        lines += ["| --- " * 8 + "|"]
        for floor in floors:
            rows = judge_names(vocabulary.tree, scores, chance_nr, truth_nr, examples, floor)
            answers[kind, floor] = rows
            for group, figures in summarize_groups(rows, group_n).items():
                cells = [str(floor), group, str(figures["n"]), *(percent(figures[key]) for key in FIGURES)]
                lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    for floor in floors:
        pairs = list(zip(answers["complete", floor], answers["compact", floor], strict=True))
        other = np.mean([(one["rank"], one["name"]) != (two["rank"], two["name"]) for one, two in pairs])
        lines.append(f"Other answers with the compact table at a floor of {floor}: {100 * other:.1f} %.")
    if options.out:
        write_result(options.out, "compact_names", lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
