"""What a run reports beside its rows: counts, the summary line, the manifest, who named the photographs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from linnaea import __version__
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.naming.namer import Namer
from linnaea.model.core.contract import Model
from linnaea.records import RANKS, Prediction
from linnaea.search.scorer import METHODS, Scorer
from linnaea.store import get_manifest_path, write_json
from linnaea.terminal import format_duration

# Run-identity fields that are copied to the manifest of the output.
MANIFEST_KEYS = (
    "options",
    "model",
    "runtime",
    "runtime_check",
    "names",
    "name_vectors",
    "vocabulary",
    "version",
    "hash",
    "created",
    "calibration",
)


def count_statuses(predictions: Iterable[Prediction]) -> Counter:
    """How many images (or boxes) have each status, and how many were identified at each rank."""
    counts: Counter = Counter()
    for prediction in predictions:
        if prediction.position == 1:
            counts[prediction.status] += 1
            if prediction.status == "identified":
                counts[f"rank:{prediction.rank}"] += 1
    return counts


def format_run_summary(counts: Counter, duration_s: float, out_path: Path | None, n_left_out: int = 0) -> str:
    """One line with the counts of a run, its duration, what it left out, and its output."""
    total = counts["identified"] + counts["unidentified"] + counts["unreadable"]
    ranks = ", ".join(f"{counts[f'rank:{rank}']:,} {rank}" for rank in reversed(RANKS) if counts[f"rank:{rank}"])
    line = f"{total:,} in {format_duration(duration_s)}: {counts['identified']:,} identified"
    line += f" ({ranks})" if ranks else ""
    line += f", {counts['unidentified']:,} unidentified, {counts['unreadable']:,} unreadable"
    line += f"; {n_left_out:,} left out" if n_left_out else ""
    return line + (f" → {out_path}" if out_path is not None else "")


def summarize_run(config: IdentifyConfig, counts: Counter, start_s: float, n_left_out: int = 0) -> str:
    """`format_run_summary` for a run that began at `start_s` of the monotonic clock."""
    out_path = config.out if config.writes_file else None
    return format_run_summary(counts, time.monotonic() - start_s, out_path, n_left_out)


def write_run_manifest(out_path: Path, state: Mapping, counts: Counter, more: Mapping) -> None:
    """Write the manifest beside the output: the run's identity from its journal's `state`, `counts`, and `more`."""
    facts = {key: state[key] for key in MANIFEST_KEYS if key in state}
    write_json(get_manifest_path(out_path), {**facts, "counts": dict(counts), **more})


def take_fast_scorer(config: IdentifyConfig, namer: Namer) -> Scorer | None:
    """The scorer of a run with `--scoring fast`, None for other runs.

    Its counters are reset, so that the check of a runtime is not counted.
    """
    scorer = getattr(namer, "scorer", None) if config.scoring == "fast" else None
    if scorer is not None:
        scorer.take_summary()
    return scorer


def format_scoring_summary(summary: Mapping[str, int | float]) -> str:
    """One line with the number of photographs scored fast, and how much probability that left out."""
    exact = sum(summary[method] for method in METHODS) - summary["fast"]
    line = f"--scoring fast: {summary['fast']:,} photographs scored fast, {exact:,} exactly"
    if not summary["fast"]:
        return line
    return f"{line}; at most {summary['largest_unread']:.2g} of a photograph's probability was left out"


def format_utc_now() -> str:
    """The time in UTC, as tables of observations write it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_identified_by(model: Model) -> str:
    """Who named the photographs, for the column `identifiedBy` and its like."""
    return f"Linnaea {__version__} (model {model.card.name}, {model.card.hash})"
