"""Do camtraptor's counts of a written Camtrap DP package equal those of our tables of events and records?

    linnaea identify DIR --as camtrap-dp --out PACKAGE --events events.csv --independent-events records.csv
    python benchmarks/camtraptor_counts.py PACKAGE --events events.csv --records records.csv

The counts are computed from the package alone, by what camtraptor 0.28 documents (inbo/camtraptor, `man/`):
`read_camtrap_dp` keeps observations of events, `eventID` becomes `sequenceID` and `eventStart` the time;
`get_n_obs` counts distinct sequences of a deployment and scientific name; `get_n_individuals` sums `count` (one missing
count makes the sum 0); `get_n_species` counts scientific names; `get_rai` is 100 times the number of observations over
the days of the deployment; `get_record_table` lists observations with a name, independent if they begin at least
`minDeltaTime` after the last record (`lastRecord`: its last photograph) or the last independent one
(`lastIndependentRecord`). This script shares no code with Linnaea.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

Key = tuple[str, str]


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def parse_time(text: str) -> datetime:
    """Return the time of a cell."""
    return datetime.fromisoformat(text)


class Package:
    """A package as camtraptor reads it."""

    def __init__(self, folder: Path):
        self.deployments = {row["deploymentID"]: row for row in read_csv(folder / "deployments.csv")}
        rows = read_csv(folder / "observations.csv")
        self.observations = [row for row in rows if row["observationLevel"] == "event"]

    def name_station(self, row: Mapping[str, str]) -> str:
        """Return the station of an observation, `locationName` as in get_record_table."""
        return self.deployments[row["deploymentID"]]["locationName"]

    def get_n_obs(self) -> dict[Key, int]:
        """Return the number of distinct sequences for each deployment and scientific name."""
        sequences = defaultdict(set)
        for row in self.observations:
            if row["scientificName"]:
                sequences[row["deploymentID"], row["scientificName"]].add(row["eventID"])
        return {key: len(found) for key, found in sequences.items()}

    def get_n_individuals(self) -> dict[Key, int]:
        """Return the sum of the counts for each deployment and scientific name."""
        counts = defaultdict(list)
        for row in self.observations:
            if row["scientificName"]:
                counts[row["deploymentID"], row["scientificName"]].append(row["count"])
        return {key: sum(map(int, found)) if all(found) else 0 for key, found in counts.items()}

    def get_n_species(self) -> dict[str, int]:
        """Return the number of scientific names for each deployment."""
        names = defaultdict(set)
        for row in self.observations:
            names[row["deploymentID"]].add(row["scientificName"])
        return {deployment: len(found - {""}) for deployment, found in names.items()}

    def get_rai(self) -> dict[Key, float]:
        """Return observations in 100 days; deployments without duration are left out."""
        rai = {}
        for (deployment, name), n in self.get_n_obs().items():
            row = self.deployments[deployment]
            effort = parse_time(row["deploymentEnd"]) - parse_time(row["deploymentStart"])
            if effort.total_seconds() > 0:
                rai[deployment, name] = 100 * n / (effort.total_seconds() / 86400)
        return rai

    def get_record_table(self, min_delta_minutes: float, compared_to: str) -> list[tuple[str, str, datetime]]:
        """Return station, species and time of each independent record, sorted."""
        groups = defaultdict(list)
        for row in self.observations:
            if row["scientificName"]:
                times = parse_time(row["eventStart"]), parse_time(row["eventEnd"])
                groups[self.name_station(row), row["scientificName"]].append(times)
        records = []
        for (station, name), times in groups.items():
            reference = None
            for start, end in sorted(times):
                if reference is None or (start - reference).total_seconds() >= 60 * min_delta_minutes:
                    records.append((station, name, start))
                    reference = start
                if compared_to == "lastRecord":
                    reference = max(reference, end)
        return sorted(records)


def compare(package_dir: Path, events_path: Path, records_path: Path, minutes: float, compared_to: str) -> list[str]:
    """Return what differs between the package and our tables, one line each."""
    package = Package(package_dir)
    station_of = {key: row["locationName"] for key, row in package.deployments.items()}
    n_events, n_individuals, unknown = Counter(), Counter(), set()
    species = defaultdict(set)
    for row in read_csv(events_path):
        # Camtrap DP requires a time: photographs without one are not in the package.
        if row["outcome"] == "named" and row["start"]:
            key = row["station"], row["name"]
            n_events[key] += 1
            n_individuals[key] += int(row["count"] or 0)
            species[row["station"]].add(row["name"])
            if not row["count"]:
                unknown.add(key)
    n_individuals.update({key: -n_individuals[key] for key in unknown})

    def by_station(counts: Mapping[Key, int]) -> dict[Key, int]:
        return {(station_of[deployment], name): n for (deployment, name), n in counts.items()}

    theirs = {
        "get_n_obs": by_station(package.get_n_obs()),
        "get_n_individuals": by_station(package.get_n_individuals()),
    }
    ours = {"get_n_obs": dict(n_events), "get_n_individuals": dict(n_individuals)}
    theirs["get_n_species"] = {station_of[one]: n for one, n in package.get_n_species().items() if n}
    ours["get_n_species"] = {station: len(names) for station, names in species.items()}
    theirs["get_record_table"] = package.get_record_table(minutes, compared_to)
    ours["get_record_table"] = sorted(
        (row["station"], row["name"], parse_time(row["start"])) for row in read_csv(records_path)
    )
    return [
        f"{what}: {theirs[what]} in camtraptor, {ours[what]} in ours" for what in ours if theirs[what] != ours[what]
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare a package with the tables of the same run; return 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="--independent-after of the run, in minutes")
    parser.add_argument("--compared-to", choices=("lastRecord", "lastIndependentRecord"), default="lastRecord")
    options = parser.parse_args(argv)
    differences = compare(options.package, options.events, options.records, options.minutes, options.compared_to)
    package = Package(options.package)
    n_obs, records = package.get_n_obs(), package.get_record_table(options.minutes, options.compared_to)
    print(f"{sum(n_obs.values())} observations, {sum(package.get_n_individuals().values())} individuals,")
    print(f"{len(records)} independent records, {len(package.get_rai())} relative abundances")
    print("\n".join(differences) or "all equal")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
