"""The tables of a run, as polars frames.

Shape suffixes: m members, k records, s species, q quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import CAUSES
from linnaea.twin.rules.energy_budget import TISSUE_KJ_PER_KG
from linnaea.twin.runs.plan import derive_member_seed
from linnaea.twin.runs.recorder import HEALTH
from linnaea.twin.runs.results import Run

BAND = (0.05, 0.5, 0.95)
"Quantiles of the members that tables and charts show."


def build_tables(run: Run) -> dict[str, pl.DataFrame]:
    """The tables of a run by name."""
    tables = {
        "series": build_series(run),
        "summary": build_summary(run),
        "deaths": build_deaths(run),
        "flows": build_flows(run),
    }
    if run.records["traits"].shape[3]:
        tables["traits"] = build_traits(run)
    if run.foods:
        tables["foods"] = build_foods(run)
    if find_hosts(run):
        tables["health"] = build_health(run)
    return {"members": build_members(run), **tables, "unverified": build_unverified(run)}


def _build_long(
    run: Run, names: Sequence[str], label: str, columns: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> pl.DataFrame:
    """A frame with one row for each member, record and name.

    `columns` turns records into columns, [m, k, len(names)] each. Members that failed have the rows that they reached.
    """
    parts = []
    for members, records in run.blocks:
        m, k = records["time_h"].shape
        part = {
            "member": np.repeat(np.array(members) + 1, k * len(names)),
            "year": np.repeat(records["time_h"].ravel() / HOURS_A_YEAR, len(names)),
            label: np.tile(np.arange(len(names)), m * k),
        }
        parts.append(part | {name: values.ravel() for name, values in columns(records).items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    joined[label] = pl.Series([names[index] for index in joined[label]], dtype=pl.Categorical)
    return pl.DataFrame(joined).sort("member", maintain_order=True)


def build_series(run: Run) -> pl.DataFrame:
    """Numbers and biomass, births and deaths since the start, of every member, record and species."""
    return _build_long(
        run,
        run.species,
        "species",
        lambda records: {
            "animals": records["counts"],
            "biomass_kg": records["mass_kg"],
            "born_since_start": records["born"],
            "died_since_start": records["died"].sum(3),
        },
    )


def compute_bands(values_mks: np.ndarray, quantiles: tuple[float, ...] = BAND) -> np.ndarray:
    """Quantiles over the members, float64 [q, k, s]."""
    return np.quantile(values_mks, quantiles, axis=0)


def build_summary(run: Run) -> pl.DataFrame:
    """Mean and quantiles over the members at every record, and the share of members in which a species is extinct."""
    counts = run.records["counts"]
    low, middle, high = compute_bands(counts)
    k, s = len(run.time_y), len(run.species)
    return pl.DataFrame(
        {
            "year": np.repeat(run.time_y, s),
            "species": pl.Series(list(run.species) * k, dtype=pl.Categorical),
            "mean": counts.mean(0).ravel(),
            "median": middle.ravel(),
            f"q{round(100 * BAND[0]):02}": low.ravel(),
            f"q{round(100 * BAND[2]):02}": high.ravel(),
            "gone": (counts == 0).mean(0).ravel(),
            "members": np.full(k * s, len(run.members)),
        }
    )


def build_deaths(run: Run) -> pl.DataFrame:
    """Deaths of each species by cause, per year over the whole run, mean of the members."""
    years = max(run.hours / HOURS_A_YEAR, 1e-9)
    total = run.records["died"][:, -1].mean(0) / years
    rows = [(name, cause, total[i, j]) for i, name in enumerate(run.species) for j, cause in enumerate(CAUSES) if j]
    return pl.DataFrame(rows, schema=["species", "cause", "deaths_per_year"], orient="row")


def compute_flows(run: Run) -> dict[tuple[str, str], float]:
    """Energy that flows from the eaten to the eater, kJ per year, mean of the members, by (eater, eaten).

    Killed prey counts at adult body mass because kills are counted, not weighed. Empty if no member reached the end.
    """
    years, flows = max(run.hours / HOURS_A_YEAR, 1e-9), {}
    if (grazed := run.records.get("tally_grazed_kj")) is not None:
        for i, j in np.argwhere(grazed.sum(0) > 0):
            flows[run.species[i], run.foods[j]] = float(grazed[:, i, j].mean()) / years
    if (killed := run.records.get("tally_killed")) is not None:
        for i, j in np.argwhere(killed.sum(0) > 0):
            mass = run.data.web.species[run.species[j]].body_mass_kg
            flows[run.species[i], run.species[j]] = float(killed[:, i, j].mean()) * mass * TISSUE_KJ_PER_KG / years
    return flows


def build_flows(run: Run) -> pl.DataFrame:
    """The energy flows as a table."""
    rows = [(eater, eaten, amount) for (eater, eaten), amount in sorted(compute_flows(run).items())]
    return pl.DataFrame(rows, schema={"eater": pl.String, "eaten": pl.String, "kj_per_year": pl.Float64}, orient="row")


def build_traits(run: Run) -> pl.DataFrame:
    """Mean and standard deviation of the heritable traits, for every member, record and species with animals."""
    parts = []
    for index, name in enumerate(list_trait_columns(run)):
        frame = _build_long(
            run,
            run.species,
            "species",
            lambda records, index=index: {
                "mean": records["traits"][..., index, 0],
                "sd": records["traits"][..., index, 1],
            },
        )
        parts.append(frame.with_columns(pl.lit(name).alias("trait")).filter(pl.col("mean").is_not_nan()))
    return pl.concat(parts)


def find_hosts(run: Run) -> list[int]:
    """Rows of the species with at least one animal that was ill, recovered or vaccinated at some record."""
    health = run.records.get("health")
    return [] if health is None else [int(row) for row in np.flatnonzero(health[..., 1:].sum((0, 1, 3)))]


def build_health(run: Run) -> pl.DataFrame:
    """Susceptible, ill, recovered (immune) and vaccinated animals of the hosts, for every member and record."""
    rows = find_hosts(run)
    return _build_long(
        run,
        [run.species[row] for row in rows],
        "species",
        lambda records: {name: records["health"][:, :, rows, index] for index, name in enumerate(HEALTH)},
    )


def list_trait_columns(run: Run) -> list[str]:
    """The traits in the order of the animals' columns: for each its phenotype, then its breeding value."""
    return [name for trait in run.data.traits for name in (trait, f"{trait}_value")]


def build_foods(run: Run) -> pl.DataFrame:
    """Biomass of plants, dead matter and pools over the whole map, for every member and record."""
    return _build_long(run, run.foods, "food", lambda records: {"biomass_kg": records["food_kg"]})


def build_members(run: Run) -> pl.DataFrame:
    """Every member: its seed, how far it was recorded, whether means use it, and the reason if it failed."""
    numbers = range(run.plan.members)
    return pl.DataFrame(
        {
            "member": [member + 1 for member in numbers],
            "seed": pl.Series([derive_member_seed(run.plan.seed, member) for member in numbers], dtype=pl.UInt64),
            "status": ["failed" if member in run.failures else "done" for member in numbers],
            "until_year": [run.lived_h(member) / HOURS_A_YEAR for member in numbers],
            "in_means": [member in run.members for member in numbers],
            "reason": [run.failures.get(member, "") for member in numbers],
        }
    )


def build_unverified(run: Run) -> pl.DataFrame:
    """The values of the world without a source."""
    return pl.DataFrame({"value": list(run.data.unmeasured())}, schema={"value": pl.String})
