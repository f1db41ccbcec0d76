"""What happens to the rabbits without foxes? The same simulated world with and without an intervention.

python examples/what_if.py [YEARS] [MEMBERS]
"""

import sys
import tempfile
from pathlib import Path

import linnaea

SCENARIO = """
version = 1
name = "Without foxes"

[[intervention]]
kind = "remove"
species = "red fox"
from_year = 0
"""


def main(years: str = "1", members: str = "4") -> None:
    """Print the mean number of each species in both worlds, and the difference with its 90 % interval."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "foxless.toml").write_text(SCENARIO, encoding="utf-8")
        options = {"years": float(years), "ensemble": int(members), "report": False}
        base = linnaea.run_world("tutorial", out_dir=work / "base", **options)
        whatif = linnaea.run_world("tutorial", out_dir=work / "foxless", scenario_path=work / "foxless.toml", **options)
        for species, one in linnaea.compare_runs(base, whatif, last_years=float(years) / 2).items():
            print(
                f"{species}: {one.base:.1f} with foxes, {one.whatif:.1f} without; "
                f"difference {one.difference:+.1f} ({one.low:+.1f} to {one.high:+.1f})"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
