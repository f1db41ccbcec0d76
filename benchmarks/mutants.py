"""Which wrong lines would the tests miss? A mutation run over three areas, with cosmic-ray.

    make mutants                                   # the three areas, 30 mutants each
    python benchmarks/mutants.py --n 5 --areas scoring        # a short run

Each mutant changes one operator or number of one module in a copy of the checkout. The area's tests run on it. A mutant
is killed if a test fails or if the tests take too long, and survives if all tests pass. Mutants are drawn at random
with a seed, because there are thousands of them and each run of the twin's tests compiles kernels first. In the area of
model constants only numbers change.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hardware import describe_hardware, show_command, write_result

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Area:
    """Modules to mutate, the tests that must notice, and an optional restriction to one kind of mutation."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    operator: str = ""
    excluded: tuple[str, ...] = ()


AREAS = {
    "twin rules": Area(
        modules=("src/linnaea/twin/rules",),
        tests=("tests/twin/rules",),
    ),
    "model constants": Area(
        modules=("src/linnaea/model/graphs", "src/linnaea/model/core/preprocessing.py"),
        tests=("tests/model/graphs", "tests/model/core", "tests/model/runtimes"),
        operator="core/NumberReplacer",
    ),
    "scoring": Area(
        modules=("src/linnaea/search",),
        tests=("tests/search",),
    ),
}


def copy_checkout(target: Path) -> None:
    """Copy every tracked or new file of the checkout, without the files that git ignores."""
    shutil.rmtree(target, ignore_errors=True)
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("src/linnaea/model/bundled/image"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    for name in ("image.onnx", "text.onnx"):
        source = ROOT / "src/linnaea/model/bundled" / name
        link = target / "src/linnaea/model/bundled" / name
        if source.is_file() and not link.exists():
            link.symlink_to(source)


def run(command: list[str], folder: Path, **options) -> subprocess.CompletedProcess:
    """Run a command in the copy, with the copy's sources before the installed ones."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, cwd=folder, env=environment, check=False, **options)


def write_config(folder: Path, area: Area, timeout_s: float) -> Path:
    """Write the cosmic-ray configuration of an area; return its path."""
    tests = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {' '.join(area.tests)}"
    lines = [
        "[cosmic-ray]",
        f"module-path = {list(area.modules)!r}",
        f"timeout = {timeout_s:.1f}",
        f"excluded-modules = {['**/__init__.py', *area.excluded]!r}",
        f"test-command = {tests!r}",
        "[cosmic-ray.distributor]",
        'name = "local"',
    ]
    path = folder / "mutants.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def draw_mutants(session: Path, area: Area, n: int, seed: int) -> int:
    """Mark all but `n` mutants of the session as skipped; return the number of mutants before that."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(session, WorkDB.Mode.open) as db:
        items = list(db.work_items)
        wanted = [item for item in items if not area.operator or item.mutations[0].operator_name == area.operator]
        wanted.sort(key=lambda item: (str(item.mutations[0].module_path), item.mutations[0].start_pos, item.job_id))
        chosen = {item.job_id for item in random.Random(seed).sample(wanted, min(n, len(wanted)))}
        for item in items:
            if item.job_id not in chosen:
                db.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    return len(wanted)


def read_outcomes(session: Path) -> tuple[Counter, list[str]]:
    """Return how many mutants were killed and survived, and a line for each survivor."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome

    counts: Counter = Counter()
    survivors = []
    with use_db(session, WorkDB.Mode.open) as db:
        items = {item.job_id: item for item in db.work_items}
        for job_id, result in db.results:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            outcome = result.test_outcome.value if result.test_outcome else result.worker_outcome.value
            counts[outcome] += 1
            if outcome == "survived":
                changed = [
                    line
                    for line in (result.diff or "").splitlines()
                    if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
                ]
                mutation = items[job_id].mutations[0]
                place = f"{mutation.module_path}:{mutation.start_pos[0]}"
                change = " → ".join(line[1:].strip() for line in changed).replace("|", "\\|")
                survivors.append(f"| `{place}` | `{change}` |")
    return counts, sorted(survivors)


def mutate(name: str, area: Area, options: argparse.Namespace, work: Path) -> list[str]:
    """Return the lines of an area's part of the page."""
    folder = work / name.replace(" ", "_")
    copy_checkout(folder)
    plain = run([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *area.tests], folder)
    if plain.returncode:
        raise ValueError(f"{name}: the tests fail without a mutant; fix them first")
    config, session = write_config(folder, area, options.timeout), folder / "mutants.sqlite"
    cosmic_ray = [sys.executable, "-m", "cosmic_ray.cli"]
    run([*cosmic_ray, "init", str(config), str(session)], folder).check_returncode()
    n_possible = draw_mutants(session, area, options.n, options.seed)
    run([*cosmic_ray, "exec", str(config), str(session)], folder).check_returncode()
    counts, survivors = read_outcomes(session)
    tried = sum(counts.values())
    lines = [
        f"## {name}",
        "",
        (
            f"Modules: {', '.join(f'`{module}`' for module in area.modules)}. Tests: "
            f"{', '.join(f'`{test}`' for test in area.tests)}."
        ),
        "",
        (
            f"{tried} of {n_possible:,} possible mutants tried, {counts['killed']} killed, "
            f"{counts['survived']} survived, {tried - counts['killed'] - counts['survived']} could not run."
        ),
        "",
    ]
    if survivors:
        lines += ["| survivor | change |", "| --- | --- |", *survivors, ""]
    return lines


def main(argv: list[str] | None = None) -> int:
    """Return 0 after every area has run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=30, help="mutants of each area")
    parser.add_argument("--seed", type=int, default=0, help="seed by which mutants are drawn")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds after which a mutant counts as killed")
    parser.add_argument("--areas", nargs="+", default=list(AREAS), choices=list(AREAS), help="which areas")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants", help="folder for the copies")
    parser.add_argument("--results", type=Path, help="folder for the result page (default: the page is printed)")
    options = parser.parse_args(argv)
    given = sys.argv[1:] if argv is None else argv
    lines = [
        "# Mutants",
        "",
        f"- hardware: {describe_hardware()}",
        f"- made by: `{show_command('mutants', given)}`",
        "",
    ]
    for name in options.areas:
        lines += mutate(name, AREAS[name], options, options.work)
    if options.results:
        areas = "" if set(options.areas) == set(AREAS) else "_" + "_".join(options.areas).replace(" ", "-")
        write_result(options.results, f"mutants{areas}", lines)
    else:
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
