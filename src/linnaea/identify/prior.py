"""What is likely here and now: a prior over species from occurrence records.

For leaf s, from occurrences i of it at distance d_i (km, great circle) and month m_i:

    c_s = Σ_i exp(-d_i² / 2h²) · exp(κ (cos(2π (m_i - m) / 12) - 1))
    π_s = (1 - ε) √c_s / Σ √c  +  ε / n

with h = 200 km, κ = 1 (a record half a year away counts 0.14 of one from the same month), ε = 0.05. The root damps what
follows observers' effort more than abundance. ε is the floor: the chance that a photograph shows what no list holds, so
nothing becomes impossible. log(n π_s) is added to the logits; it is 0 on average over a flat prior, so that refusals
keep their place. An occurrence above species rank is shared evenly by the leaves below it. An occurrence without month
counts with the season's average.

Shape suffixes: n leaves, m candidate leaves.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from linnaea.taxonomy.sources import table_errors
from linnaea.taxonomy.vocabulary import Vocabulary

RADIUS_KM = 200.0
SEASON_KAPPA = 1.0
FLOOR = 0.05
EARTH_RADIUS_KM = 6371.0
# The mean of exp(κ (cos x - 1)) over the year.
SEASON_MEAN = float(np.mean(np.exp(SEASON_KAPPA * (np.cos(2 * np.pi * np.arange(12) / 12) - 1))))
NEGLIGIBLE = 1e-6
NAME_COLUMNS = ("species", "scientificName", "acceptedScientificName", "verbatimScientificName", "genus", "family")


def occurrence_counts(path: Path, *, near: tuple[float, float] | None, month: int | None) -> dict[str, float]:
    """Smoothed counts c by name of a Darwin Core occurrence table (CSV, TSV, Parquet), read as a stream.

    Columns: decimalLatitude and decimalLongitude (needed for `near`), month or eventDate (for `month`), and the first
    of species, scientificName … that a row fills. Records of absence (occurrenceStatus) do not count. Raises
    FileNotFoundError and ValueError for a table that lacks them.
    """
    with table_errors(path):
        return _count(path, near, month)


def _count(path: Path, near: tuple[float, float] | None, month: int | None) -> dict[str, float]:
    import polars as pl

    frame = _scan(path)
    columns = frame.collect_schema().names()
    if "occurrenceStatus" in columns:
        absent = pl.col("occurrenceStatus").str.strip_chars().str.to_lowercase() == "absent"
        frame = frame.filter(~absent.fill_null(False))
    names = [column for column in NAME_COLUMNS if column in columns]
    if not names:
        raise ValueError(f"{path} has no column of names; it needs one of {', '.join(NAME_COLUMNS)}")
    weight = pl.lit(1.0)
    if near is not None:
        for column in ("decimalLatitude", "decimalLongitude"):
            if column not in columns:
                raise ValueError(f"{path} has no column {column}; --near needs it (has: {', '.join(columns[:8])} …)")
        weight = weight * _distance_weight(near)
    if month is not None:
        if not {"month", "eventDate"} & set(columns):
            raise ValueError(f"{path} has neither month nor eventDate; leave --month out or add one of them")
        weight = weight * _season_weight(month, columns)
    name = pl.coalesce([pl.when(pl.col(n).str.strip_chars() != "").then(pl.col(n).str.strip_chars()) for n in names])
    counts = (
        frame.select(name=name, weight=weight)
        .filter(pl.col("weight").is_finite() & pl.col("name").is_not_null())
        .group_by("name")
        .agg(pl.col("weight").sum())
        .filter(pl.col("weight") > NEGLIGIBLE)
        .sort("name")
        .collect(engine="streaming")
    )
    return dict(zip(counts["name"], counts["weight"], strict=True))


def _scan(path: Path):
    import polars as pl

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a Darwin Core occurrence table (CSV, TSV or Parquet)")
    if path.suffix.lower() == ".parquet":
        frame = pl.scan_parquet(path)
        return frame.select(pl.all().cast(pl.String, strict=False))
    with open(path, encoding="utf-8-sig", errors="replace") as handle:
        header = handle.readline()
    tabs = "\t" in header
    # GBIF's downloads are tab-separated without quoting, whatever their suffix.
    return pl.scan_csv(
        path,
        separator="\t" if tabs else ",",
        quote_char=None if tabs else '"',
        infer_schema_length=0,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
    )


def _distance_weight(near: tuple[float, float]):
    """exp(-d²/2h²) with the haversine distance d; null where a row has no place on Earth."""
    import polars as pl

    lat, lon = (
        pl.col(column).cast(pl.Float64, strict=False).radians() for column in ("decimalLatitude", "decimalLongitude")
    )
    lat0, lon0 = map(math.radians, near)
    half = ((lat - lat0) / 2).sin().pow(2) + lat.cos() * math.cos(lat0) * ((lon - lon0) / 2).sin().pow(2)
    distance_km = 2 * EARTH_RADIUS_KM * half.clip(0, 1).sqrt().arcsin()
    return (-(distance_km.pow(2)) / (2 * RADIUS_KM**2)).exp()


def _season_weight(month: int, columns: list[str]):
    import polars as pl

    sources = []
    if "month" in columns:
        sources.append(pl.col("month").cast(pl.Float64, strict=False))
    if "eventDate" in columns:
        sources.append(pl.col("eventDate").str.extract(r"^\d{4}-(\d{2})", 1).cast(pl.Float64, strict=False))
    angle = (pl.coalesce(sources) - month) * (2 * math.pi / 12)
    return (SEASON_KAPPA * (angle.cos() - 1)).exp().fill_null(SEASON_MEAN)


def log_prior(
    vocabulary: Vocabulary, counts: dict[str, float], leaves: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """float32 [n], log(n π) of every leaf, and the number of names that the vocabulary knows.

    With `leaves` int32 [m] the prior is one over these candidates alone. Homonyms share a count evenly.
    """
    tree = vocabulary.tree
    count_n = np.zeros(tree.n_leaves)
    n_known = 0
    for name, count in counts.items():
        taxa = vocabulary.resolve(name, suggest=False).taxa
        n_known += bool(taxa)
        for taxon in taxa:
            start, end = int(tree.start_k[taxon.node]), int(tree.end_k[taxon.node])
            count_n[start:end] += count / len(taxa) / (end - start)
    candidates = slice(None) if leaves is None else leaves
    root_m = np.sqrt(count_n[candidates])
    total, m = root_m.sum(), len(root_m)
    share_m = root_m / total if total > 0 else np.full(m, 1 / m)
    prior_n = np.zeros(tree.n_leaves, np.float32)
    prior_n[candidates] = np.log(m * ((1 - FLOOR) * share_m + FLOOR / m))
    return prior_n, n_known
