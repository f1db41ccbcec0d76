"""Does a restriction name what it does not hold? Fits and measures `linnaea.identify.naming.restriction`.

    python benchmarks/restriction.py --data ../shared/data --out benchmarks/results [--calibrate]

Photographs: the val split of `images`, and all of `everyday` and `everyday_more`, which no model was trained on. Lists:
clades (`--within`), random lists of species of a region's kind (`--among`), and labels that are taxa (`--labels`). A
photograph is an insider of a list if its taxon lies in it, an outsider if it lies wholly outside; *near* outsiders
belong to a class that the list holds. Regressions are cross-fitted: fitted on the other half of the lists and of the
species. With `--calibrate` the script fits them on all photographs and writes `restriction` into the bundled model's
calibration.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundled_model import write_manifest
from hardware import describe_hardware, result_path
from linnaea.embed.names.contrast_table import ContrastTable, count_candidates, load_contrast_table
from linnaea.embed.names.precomputed_names import resolve_name_table
from linnaea.embed.names.text_embedding import embed_texts
from linnaea.evaluate.truth import assign_fold, find_truth_nodes, read_examples, to_examples
from linnaea.evaluate.zeroshot import embed_examples
from linnaea.identify.naming.calibration import _fit_logistic, calibrate
from linnaea.identify.naming.decision import find_deepest_rank
from linnaea.identify.naming.label_set import embed_labels, parse_labels, resolve_labels
from linnaea.identify.naming.restriction import (
    CONTRAST_RANKS,
    LEAST_INSIDE,
    LEAST_ORGANISM,
    RestrictionGate,
    compute_inside_traits,
    compute_log_odds,
    estimate_inside,
)
from linnaea.model.loading import load_model
from linnaea.records import RANKS
from linnaea.search.scorer import Scorer
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

MODEL = Path(__file__).resolve().parent.parent / "src/linnaea/model/bundled"
PLACES = {"images": "", "everyday": "images", "everyday_more": "images"}
THEMES = {
    "birds": ("Aves",),
    "mammals": ("Mammalia",),
    "carnivores": ("Carnivora",),
    "butterflies": ("Lepidoptera",),
    "insects": ("Insecta",),
    "plants": ("Plantae",),
    "vertebrates": ("Aves", "Mammalia", "Actinopterygii"),
    "life": ("Animalia", "Plantae", "Fungi"),
}
SIZES = (10, 30, 100, 300)
N_LABELS = (3, 10, 30, 100)
# How many clades of each rank are drawn. A clade must have LEAST_INSIDERS photographs and at most MOST_LEAVES species.
CLADES = {"class": 10, "order": 16, "family": 16, "genus": 8}
NAMED_CLADES = ("Felidae", "Aves", "Mammalia", "Carnivora", "Primates", "Canidae")
LEAST_INSIDERS = 15
MOST_LEAVES = 20_000
# An organism that is called nothing is a worse error than an empty photograph that is looked at.
ORGANISM_WEIGHT = 3.0
FIT_N = 2000.0


@dataclass(kw_only=True)
class Photographs:
    """n photographs: vectors [n, d], truth nodes [n, r], where from, and the half of their species."""

    vectors_nd: np.ndarray
    truth_nr: np.ndarray
    organism_n: np.ndarray
    data_n: np.ndarray
    fold_n: np.ndarray


@dataclass(kw_only=True)
class Trial:
    """One list over all photographs: who is inside (1), outside (0), unclear (-1) or no organism (-2), and answers."""

    name: str
    kind: str
    fold: int
    inside_n: np.ndarray
    near_n: np.ndarray
    traits_nt: np.ndarray
    named_n: np.ndarray
    right_n: np.ndarray
    wrong_n: np.ndarray
    best_right_n: np.ndarray
    best_known_n: np.ndarray
    former_none_n: np.ndarray
    confidence_n: np.ndarray
    chance_n: np.ndarray | None = None


def read_photographs(data_dir: Path, work_dir: Path, model, vocabulary) -> Photographs:
    work_dir.mkdir(parents=True, exist_ok=True)
    vectors, examples, data = [], [], []
    for name, below in PLACES.items():
        root_dir, manifest_path = data_dir / name, data_dir / name / "manifest.csv"
        if name == "images":
            manifest_path = work_dir / "manifest.csv"
            write_manifest(root_dir, manifest_path)
        rows = read_examples(manifest_path, ("split=val",) if name == "images" else ())
        found, _unresolved = to_examples(rows, vocabulary)
        kept_path = work_dir / f"{name}_{model.card.hash}.npy"
        if not kept_path.exists():
            np.save(kept_path, embed_examples(model, found, root_dir / below, 32)[0])
        vectors.append(np.load(kept_path))
        examples += found
        data += [name] * len(found)
    truth_nr = find_truth_nodes(examples, vocabulary)
    keys = [max(example.lineage[::-1], key=bool) or example.file for example in examples]
    return Photographs(
        vectors_nd=np.concatenate(vectors),
        truth_nr=truth_nr,
        organism_n=np.array([example.organism for example in examples]),
        data_n=np.array(data),
        fold_n=np.array([assign_fold(key) for key in keys]),
    )


def draw_clades(tree, truth_nr: np.ndarray, rng) -> dict[str, np.ndarray]:
    """Leaves by name of clades."""
    drawn = {}
    for rank, n in CLADES.items():
        nodes, count = np.unique(truth_nr[:, RANKS.index(rank)], return_counts=True)
        enough = [
            int(node)
            for node, k in zip(nodes, count, strict=True)
            if node >= 0 and k >= LEAST_INSIDERS and tree.end_k[node] - tree.start_k[node] <= MOST_LEAVES
        ]
        chosen = set(rng.permutation(enough)[:n].tolist()) | {x for x in enough if tree.name(x) in NAMED_CLADES}
        drawn |= {tree.name(x): np.arange(tree.start_k[x], tree.end_k[x], dtype=np.int32) for x in sorted(chosen)}
    return drawn


def draw_species(vocabulary, truth_nr: np.ndarray, clades: tuple[str, ...], n: int, share: float, rng) -> np.ndarray:
    """Nodes of n species of some clades: at most half of the photographed ones, a `share` of the list, then others."""
    tree = vocabulary.tree
    nodes = np.unique(tree.leaf_node_n[vocabulary.leaves_within(clades)])
    photographed = np.intersect1d(np.unique(truth_nr[:, -1]), nodes)
    k = min(len(photographed) // 2, int(n * share))
    others = np.setdiff1d(nodes, photographed)
    return np.concatenate([rng.choice(photographed, k, replace=False), rng.choice(others, n - k, replace=False)])


def find_insiders(tree, photographs: Photographs, leaves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who is inside (see `Trial`), and which outsiders are of a class that the list holds."""
    truth_nr = photographs.truth_nr
    depth_n = np.max(np.where(truth_nr >= 0, np.arange(len(RANKS)), -1), axis=1)
    deepest_n = np.where(depth_n >= 0, truth_nr[np.arange(len(truth_nr)), np.maximum(depth_n, 0)], 0)
    n_inside = count_candidates(tree, deepest_n, leaves)
    inside_n = np.where(n_inside == 0, 0, np.where(n_inside == tree.end_k[deepest_n] - tree.start_k[deepest_n], 1, -1))
    inside_n[depth_n < 0] = -1
    inside_n[~photographs.organism_n] = -2
    classes = tree.nodes_at("class")
    held = classes[count_candidates(tree, classes, leaves) > 0]
    return inside_n, (inside_n == 0) & np.isin(truth_nr[:, RANKS.index("class")], held)


class Bench:
    """The model, its tables and the photographs."""

    def __init__(self, data_dir: Path, work_dir: Path):
        self.model = load_model("bundled")
        self.vocabulary = load_vocabulary("inat", self.model.card.common_names)
        self.tree = self.vocabulary.tree
        self.photographs = read_photographs(data_dir, work_dir, self.model, self.vocabulary)
        self.table = resolve_name_table(None, self.model, self.vocabulary, mode="auto")
        self.negative_fd = embed_texts(self.model, list(self.model.card.negative_prompts))
        self.scale = self.model.card.logit_scale

    def make_gate(self, leaves: np.ndarray, n: int) -> RestrictionGate:
        contrast = load_contrast_table(self.model, self.vocabulary, leaves)
        return RestrictionGate(self.tree, contrast, self.scale, n, self.negative_fd)

    def compute_traits(self, contrast: ContrastTable, log_mass_n, best_cosine_n, n: int) -> np.ndarray:
        outside_nc = self.photographs.vectors_nd @ contrast.vectors_cd[contrast.is_outside_c].T
        largest_n = outside_nc.max(1)
        log_n = self.scale * largest_n + np.log(np.exp(self.scale * (outside_nc - largest_n[:, None])).sum(1))
        return compute_inside_traits(log_mass_n - log_n, self.scale * (best_cosine_n - largest_n), n)

    def try_leaves(self, name: str, kind: str, leaves: np.ndarray) -> Trial:
        """The answers of today's rule for a list of leaves, and the traits of the gate."""
        photographs, tree = self.photographs, self.tree
        scorer = Scorer(tree, self.table, self.scale, self.negative_fd, leaves)
        scores = scorer.score(photographs.vectors_nd)
        chance_nr = calibrate(self.model.card.calibration, scores, tree)
        floor, rows = self.model.card.calibration["floor"], np.arange(len(chance_nr))
        r_n = np.array([find_deepest_rank(tree, scores.node_br[i], chance_nr[i], floor) for i in rows])
        at_n, first_n = np.maximum(r_n, 0), np.argmax(scores.node_br >= 0, axis=1)
        node_n, best_n = scores.node_br[rows, at_n], scores.node_br[:, -1]
        inside_n, near_n = find_insiders(tree, photographs, leaves)
        contrast = load_contrast_table(self.model, self.vocabulary, leaves)
        return Trial(
            name=name,
            kind=kind,
            fold=assign_fold(name),
            inside_n=inside_n,
            near_n=near_n,
            traits_nt=self.compute_traits(contrast, scores.log_leaf_mass_b, scores.leaf_similarity_b, len(leaves)),
            named_n=r_n >= 0,
            right_n=(r_n >= 0) & (photographs.truth_nr[rows, at_n] == node_n),
            wrong_n=(r_n >= 0) & (photographs.truth_nr[rows, at_n] >= 0) & (photographs.truth_nr[rows, at_n] != node_n),
            best_right_n=(best_n == photographs.truth_nr[:, -1]) & (best_n >= 0),
            best_known_n=photographs.truth_nr[:, -1] >= 0,
            confidence_n=np.where(r_n >= 0, chance_nr[rows, at_n], 0.0),
            former_none_n=(r_n < 0) & (scores.no_organism_b > chance_nr[rows, first_n]),
        )

    def try_labels(self, name: str, nodes: np.ndarray, *, common: bool) -> Trial | None:
        """The same for labels, which are always given today; None if two labels are one."""
        tree, photographs = self.tree, self.photographs
        names = [self.vocabulary.common_name(int(node)) if common else tree.name(int(node)) for node in nodes]
        known = {name: node for name, node in zip(names, nodes.tolist(), strict=True) if name and "," not in name}
        taxa = {name: self.vocabulary.resolve(name, suggest=False).taxa for name in known}
        known = {name: node for name, node in known.items() if [taxon.node for taxon in taxa[name]] == [node]}
        if len(known) < 2:
            return None
        labels = resolve_labels(parse_labels(",".join(known)), lambda: self.vocabulary)
        cosine_nl = photographs.vectors_nd @ embed_labels(self.model, labels).T
        node_l = np.array(list(known.values()))
        leaves = tree.leaves_within(node_l)
        inside_n, near_n = find_insiders(tree, photographs, leaves)
        best_n, largest_n = node_l[cosine_nl.argmax(1)], cosine_nl.max(1)
        log_n = self.scale * largest_n + np.log(np.exp(self.scale * (cosine_nl - largest_n[:, None])).sum(1))
        right_n = best_n == photographs.truth_nr[:, -1]
        contrast = load_contrast_table(self.model, self.vocabulary, leaves)
        return Trial(
            name=name,
            kind="labels",
            fold=assign_fold(name),
            inside_n=inside_n,
            near_n=near_n,
            traits_nt=self.compute_traits(contrast, log_n, largest_n, len(labels)),
            named_n=np.ones(len(right_n), bool),
            right_n=right_n,
            wrong_n=~right_n,
            best_right_n=right_n,
            best_known_n=photographs.truth_nr[:, -1] >= 0,
            former_none_n=np.zeros(len(right_n), bool),
            confidence_n=np.zeros(len(right_n)),
        )


def weigh(trial: Trial) -> np.ndarray:
    """Weights: insiders together 1, outsiders together 1, half of it on the near ones."""
    weight_n = np.zeros(len(trial.inside_n))
    far_n = (trial.inside_n == 0) & ~trial.near_n
    parts = [(trial.inside_n == 1, 1.0), (trial.near_n, 0.5), (far_n, 0.5 if trial.near_n.any() else 1.0)]
    for part_n, share in parts:
        weight_n[part_n] = share / max(part_n.sum(), 1)
    return weight_n


def fit_inside(trials: list[Trial], chosen_n: np.ndarray) -> dict:
    """A regression on photographs of `chosen_n`."""
    kept = [(trial, (weight_n > 0) & chosen_n, weight_n) for trial in trials for weight_n in [weigh(trial)]]
    x = np.concatenate([trial.traits_nt[k] for trial, k, _w in kept])
    y = np.concatenate([(trial.inside_n[k] == 1).astype(float) for trial, k, _w in kept])
    weight = np.concatenate([w[k] for _trial, k, w in kept])
    return write_fit(_fit_logistic(x, y, weight * FIT_N / weight.sum(), 1.0))


def write_fit(fit: tuple[np.ndarray, float]) -> dict:
    return {"weights": [round(float(w), 6) for w in fit[0]], "bias": round(float(fit[1]), 6)}


def cross_fit(trials: list[Trial], fold_n: np.ndarray) -> None:
    for fold in (0, 1):
        for half in (0, 1):
            fitted = fit_inside([trial for trial in trials if trial.fold != fold], fold_n != half)
            for trial in trials:
                if trial.fold == fold:
                    if trial.chance_n is None:
                        trial.chance_n = np.zeros(len(fold_n))
                    trial.chance_n[fold_n == half] = estimate_inside(fitted, trial.traits_nt[fold_n == half])


def fit_organism(bench: Bench, chosen_n: np.ndarray, odds_n: np.ndarray) -> dict:
    organism_n = bench.photographs.organism_n
    weight_n = np.where(organism_n, ORGANISM_WEIGHT / organism_n.sum(), 1 / (~organism_n).sum()) * FIT_N / 2
    fit = _fit_logistic(odds_n[chosen_n, None], organism_n[chosen_n].astype(float), weight_n[chosen_n], 1.0)
    return write_fit(fit)


def fit_ranks(bench: Bench, gate: RestrictionGate) -> dict:
    """How likely the contrast's best taxon of each rank is right, from its log odds."""
    photographs = bench.photographs
    n = len(photographs.vectors_nd)
    verdicts = gate.judge(photographs.vectors_nd, np.zeros(n), np.zeros(n))
    fitted, guesses_nr = {}, [gate.list_guesses(verdicts, i, 1) for i in range(n)]
    for r, rank in enumerate(CONTRAST_RANKS):
        odds_n = compute_log_odds(np.array([gate.sum_masses(verdicts, i, r).max() for i in range(n)]))
        node_n = np.array([guesses[r][0].node for guesses in guesses_nr])
        known_n = photographs.truth_nr[:, r] >= 0
        right_n = node_n == photographs.truth_nr[:, r]
        fit = _fit_logistic(odds_n[known_n, None], right_n[known_n].astype(float), np.ones(known_n.sum()), 1.0)
        fitted[rank] = write_fit(fit)
    return fitted


def summarize(trials: list[Trial], chosen_n: np.ndarray, organism_chance_n: np.ndarray) -> dict[str, float]:
    """Means over the lists, in per cent."""
    rows = []
    is_organism_n = organism_chance_n >= LEAST_ORGANISM
    for trial in trials:
        inside_n, outside_n = (trial.inside_n == 1) & chosen_n, (trial.inside_n == 0) & chosen_n
        if inside_n.sum() < 5:
            continue
        passed_n = is_organism_n & (trial.chance_n >= LEAST_INSIDE)
        near_n, known_n = trial.near_n & chosen_n, inside_n & trial.best_known_n
        rows.append(
            {
                "outsiders named": (trial.named_n, trial.named_n & passed_n, outside_n),
                "near outsiders named": (trial.named_n, trial.named_n & passed_n, near_n),
                "outsiders called no organism": (trial.former_none_n, ~is_organism_n, outside_n),
                "insiders called no organism": (trial.former_none_n, ~is_organism_n, inside_n),
                "insiders named right": (trial.right_n, trial.right_n & passed_n, inside_n),
                "outsiders, with --rank species": (outside_n, passed_n, outside_n),
                "insiders right, with --rank species": (trial.best_right_n, trial.best_right_n & passed_n, known_n),
            }
        )
    figures = {"lists": len(rows)}
    for key in rows[0] if rows else ():
        pairs = [
            (before[among].mean(), after[among].mean())
            for b in rows
            for before, after, among in [b[key]]
            if among.any()
        ]
        figures[key] = (100 * np.mean(pairs, axis=0)).round(1).tolist()
        figures[f"worst {key}"] = round(100 * max(after for _before, after in pairs), 1)
    return figures


def measure_confidence(trials: list[Trial], truth_nr: np.ndarray, organism_chance_n: np.ndarray) -> tuple[float, float]:
    """Of the names given among as many insiders as outsiders: the mean confidence and the share right, in per cent."""
    total = confidence = right = 0.0
    for trial in trials:
        weight_n = np.zeros(len(truth_nr))
        for part_n in (trial.inside_n == 1, trial.inside_n == 0):
            weight_n[part_n] = 1 / max(part_n.sum(), 1)
        known_n = (trial.inside_n == 0) | trial.right_n | trial.wrong_n
        passed_n = (organism_chance_n >= LEAST_ORGANISM) & (trial.chance_n >= LEAST_INSIDE)
        weight_n *= trial.named_n & passed_n & known_n
        total += weight_n.sum()
        confidence += weight_n @ trial.confidence_n
        right += weight_n @ (trial.right_n & (trial.inside_n == 1))
    return 100 * confidence / total, 100 * right / total


def render(figures: dict, organism: dict, sure: dict, hardware: str, command: str) -> str:
    lines = [
        "# Restrictions: insiders and outsiders",
        "",
        f"{hardware}. `{command}`",
        "",
        "Each cell is the share before → after the gate, a mean over the lists, in per cent; cross-fitted over lists",
        "and species. *Near* outsiders are of a class that the list holds. The last two rows are for runs that name",
        "every photograph (`--rank species`, and `--labels` always).",
        "",
    ]
    names = list(figures)
    lines += ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    lines.append("| lists | " + " | ".join(str(figures[name]["lists"]) for name in names) + " |")
    for key in next(iter(figures.values())):
        if key != "lists" and not key.startswith("worst"):
            cells = [f"{figures[n][key][0]} → {figures[n][key][1]}" if key in figures[n] else "–" for n in names]
            lines.append(f"| {key} | " + " | ".join(cells) + " |")
    lines += ["", "| photographs | organisms called no organism, % | of those without an organism recognised, % |"]
    lines += ["| --- | --- | --- |"]
    lines += [f"| {name} | {lost:.1f} | {caught:.1f} |" for name, (lost, caught) in organism.items()]
    lines += ["", "Of the names given to as many insiders as outsiders:", ""]
    lines += ["| | mean confidence, % | right, % |", "| --- | --- | --- |"]
    lines += [f"| {name} | {confidence:.1f} | {right:.1f} |" for name, (confidence, right) in sure.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the data pack")
    parser.add_argument("--work", type=Path, default=Path("build/restriction"), help="where vectors are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--calibrate", action="store_true", help="write `restriction` into the model's calibration.json"
    )
    options = parser.parse_args()
    bench = Bench(options.data, options.work)
    photographs, tree, rng = bench.photographs, bench.tree, np.random.default_rng(1)
    groups: dict[str, list[Trial]] = {"clades": [], "lists": [], "labels": []}
    for name, leaves in draw_clades(tree, photographs.truth_nr, rng).items():
        groups["clades"].append(bench.try_leaves(name, "clades", leaves))
    for theme, clades in THEMES.items():
        for n in SIZES:
            nodes = draw_species(bench.vocabulary, photographs.truth_nr, clades, n, 0.5, rng)
            groups["lists"].append(bench.try_leaves(f"{theme} {n}", "lists", tree.leaves_within(nodes)))
        for n in N_LABELS:
            nodes = draw_species(bench.vocabulary, photographs.truth_nr, clades, n, 0.9, rng)
            for common in (False, True):
                groups["labels"].append(bench.try_labels(f"{theme} {n} {common}", nodes, common=common))
        print(theme, flush=True)
    groups = {name: [trial for trial in trials if trial is not None] for name, trials in groups.items()}
    for trials in (groups["clades"] + groups["lists"], groups["labels"]):
        cross_fit(trials, photographs.fold_n)
    gate = bench.make_gate(np.arange(2, dtype=np.int32), 2)
    odds_n = gate.compute_organism_odds(photographs.vectors_nd)
    rows = np.arange(len(odds_n))
    chance_n = np.zeros(len(odds_n))
    for half in (0, 1):
        fitted = fit_organism(bench, rows % 2 != half, odds_n)
        chance_n[rows % 2 == half] = estimate_inside(fitted, odds_n[rows % 2 == half, None])
    every_n = np.ones(len(rows), bool)
    subsets = {
        "images (val)": photographs.data_n == "images",
        "everyday": photographs.data_n != "images",
        "all": every_n,
    }
    figures = {
        f"{kind}, {name}": summarize(trials, chosen_n, chance_n)
        for kind, trials in groups.items()
        for name, chosen_n in subsets.items()
    }
    none_n, organism_n = chance_n < LEAST_ORGANISM, photographs.organism_n
    organism = {
        name: (100 * none_n[organism_n & c].mean(), 100 * none_n[~organism_n & c].mean()) for name, c in subsets.items()
    }
    sure = {kind: measure_confidence(groups[kind], photographs.truth_nr, chance_n) for kind in ("clades", "lists")}
    page = render(figures, organism, sure, describe_hardware(), "python benchmarks/restriction.py --calibrate")
    path = result_path(options.out, "restriction")
    path.write_text(page, encoding="utf-8")
    print(page)
    print(json.dumps(figures, indent=1))
    if options.calibrate:
        card_path = MODEL / "calibration.json"
        card = json.loads(card_path.read_text())
        card["restriction"] = {
            "inside": fit_inside(groups["clades"] + groups["lists"], every_n),
            "labels": fit_inside(groups["labels"], every_n),
            "organism": fit_organism(bench, every_n, odds_n),
            "ranks": fit_ranks(bench, gate),
        }
        card_path.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
