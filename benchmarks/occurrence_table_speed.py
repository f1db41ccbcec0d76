"""Time and memory of counting a large occurrence table, against another checkout of Linnaea, in turns.

    python benchmarks/occurrence_table_speed.py --against ../other/src --rows 2000000

It writes a table like a download of GBIF (50 columns, UTF-8, a quotation mark here and there), runs both checkouts on
it in processes of their own, checks that they count the same, and prints medians and the ratios of the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GENERA = ("Parus", "Felis", "Quercus", "Salix", "Larus", "Carex", "Apis", "Vanessa", "Bufo", "Lynx")
CHILD = """
import json, resource, sys, time
from pathlib import Path
from linnaea.standards.occurrence_records import count_occurrences
import polars
start_s = time.perf_counter()
counts = count_occurrences(Path(sys.argv[1]), near=(50.0, 8.0), month=5)
elapsed_s = time.perf_counter() - start_s
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([elapsed_s, peak_mb, len(counts), round(sum(counts.values()), 3)]))
"""


def write_table(path: Path, n_rows: int, separator: str) -> None:
    generator = random.Random(1)
    columns = ["gbifID", "kingdom", "phylum", "class", "order", "family", "genus", "species", "scientificName"]
    columns += ["decimalLatitude", "decimalLongitude", "eventDate", "month", "occurrenceStatus", "locality"]
    columns += [f"other{number}" for number in range(35)]
    filler = separator.join(f"value {number}" for number in range(35))
    with path.open("w", encoding="utf-8") as handle:
        handle.write(separator.join(columns) + "\n")
        for number in range(n_rows):
            genus = generator.choice(GENERA)
            species = f"{genus} sp{generator.randrange(500)}a"
            place = (f"{generator.uniform(30, 70):.5f}", f"{generator.uniform(-20, 40):.5f}")
            month = generator.randrange(1, 13)
            locality = 'the "old farm, Müllheim' if number % 500 == 0 and separator == "\t" else "Müllheim am Rhein"
            cells = [str(number), "Animalia", "Chordata", "Aves", "Passeriformes", f"{genus}idae", genus, species]
            cells += [f"{species} Linnaeus 1758", *place, f"2020-{month:02}-01", str(month), "PRESENT", locality]
            handle.write(separator.join(cells) + separator + filler + "\n")


def run(source_dir: Path, table_path: Path) -> list[float]:
    environment = os.environ | {"PYTHONPATH": str(source_dir)}
    command = [sys.executable, "-c", CHILD, str(table_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=900)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    own_dir = Path(__file__).resolve().parents[1] / "src"
    for name, separator in (("tab-separated", "\t"), ("comma-separated", ",")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "occurrence.txt"
            write_table(path, options.rows, separator)
            pairs = [(run(options.against, path), run(own_dir, path)) for _pair in range(options.pairs)]
            for old, new in pairs:
                assert old[2:] == new[2:], (old, new)
            ratios = sorted(new[0] / old[0] for old, new in pairs)
            print(f"{name}, {options.rows:,} rows, {path.stat().st_size / 1e6:.0f} MB, {options.pairs} pairs")
            for label, side in (("other", 0), ("this", 1)):
                seconds = statistics.median(pair[side][0] for pair in pairs)
                memory = statistics.median(pair[side][1] for pair in pairs)
                print(f"  {label}: {seconds:.2f} s, peak {memory:.0f} MB")
            print(f"  ratio of times: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
