"""Stress a watched folder: is every photograph named exactly once, and is the memory flat?

A writer makes photographs (whole, or piece by piece with pauses longer than the watch's interval). It rewrites,
replaces, renames, cuts and deletes them, and takes whole folders away and brings them back. Meanwhile
`linnaea identify --watch` runs as a subprocess. Then, with the writer still at work, the watch is killed (SIGKILL) and
started again a few times. When nothing changes any more, it gets SIGTERM. Its table is then compared with the answers
of one run of `linnaea identify` for every content that was ever written; the script keeps copies for that. Linux only.

    python benchmarks/watch_stress.py                           # 20 minutes, the bundled model
    python benchmarks/watch_stress.py --minutes 2 --model placeholder
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import heapq
import io
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from hardware import describe_hardware, show_command, shown, write_result

HERE = Path(__file__).resolve().parent
COMPARED = ("status", "reason", "rank", "name", "confidence", "similarity")
# Decimals in which the same image may differ from one batch to another.
TOLERANCE = 0.0002
# A photograph that stood this long before it vanished must have been named: two polls, and a queue for a busy model.
LONG_S = 30.0
# Time until a cut photograph gets its row: the watch's patience, a poll, and the next time that the table is written.
PATIENCE_S = 60.0 + 15.0
SAMPLE_S, CHECK_S = 1.0, 5.0
LEAST_FILES, MOST_FILES = 40, 400
WARM_UP = 0.2
RESTING = 0.1
N_BLOCKS = 16
MOST_SLOPE = 10.0
MOST_PEAK = 1.05
# The bundled model's watch holds 1.3 GB; growth of 100 MB per hour is 1.4 % of that from the first third of 16 minutes
# to the last.
MOST_MEDIAN = 1.01


@dataclass
class PathHistory:
    """The history of one path: the present content (None: gone or unfinished), since when, and all earlier contents."""

    content: str | None = None
    since: float = 0.0
    had: dict[str, float] = field(default_factory=dict)
    is_cut: bool = False


@dataclass
class Writer:
    """Does random operations in `folder`; every content is kept in `archive` under its hash. Times are monotonic."""

    folder: Path
    archive: Path
    chance: random.Random
    rate_hz: float
    paths: dict[Path, PathHistory] = field(default_factory=dict)
    busy: set[Path] = field(default_factory=set)
    done: Counter = field(default_factory=Counter)
    n_made: int = 0
    _queue: list = field(default_factory=list)
    _next: float = 0.0
    _n: int = 0

    def step(self, *, start_new: bool = True) -> bool:
        """Continue the operations that are due; return False if none is under way any more."""
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            _due, _n, action = heapq.heappop(self._queue)
            self._go_on(action)
        if start_new and now >= self._next:
            self._next = now + self.chance.expovariate(self.rate_hz)
            self._go_on(self._choose())
        return bool(self._queue)

    def _go_on(self, action: Iterator[float]) -> None:
        pause = next(action, None)
        if pause is not None:
            self._n += 1
            heapq.heappush(self._queue, (time.monotonic() + pause, self._n, action))

    def _choose(self) -> Iterator[float]:
        actions = {
            self.create_whole: 22,
            self.create_in_pieces: 30,
            self.rewrite_in_pieces: 16,
            self.replace: 6,
            self.rename: 6,
            self.delete: 14,
            self.cut: 3,
            self.take_away: 1,
        }
        n = sum(record.content is not None for record in self.paths.values())
        if n < LEAST_FILES:
            actions = {self.create_whole: 1, self.create_in_pieces: 1}
        elif n > MOST_FILES:
            actions = {self.delete: 1, self.replace: 1}
        (action,) = self.chance.choices(list(actions), list(actions.values()))
        self.done[action.__name__] += 1
        return action()

    # --- The operations; each yields its pauses in seconds.

    def create_whole(self):
        """Write under another name first, as programs do that know of watchers."""
        path, data = self._new_path(), self._new_content()
        hidden = self.chance.choice([f".{path.name}", f"{path.name}.part", f"~{path.name}"])
        aside = path.with_name(hidden)
        self.busy.add(path)
        for piece in self._pieces(data):
            with aside.open("ab") as handle:
                handle.write(piece)
            yield self.chance.uniform(0.0, 1.0)
        aside.rename(path)
        self._settle(path, data)

    def create_in_pieces(self):
        """Write under the final name with pauses, as cameras and cables do."""
        yield from self._write_in_pieces(self._new_path())

    def rewrite_in_pieces(self):
        if path := self._any_path():
            yield from self._write_in_pieces(path)

    def replace(self):
        """Replace by another file in one operation."""
        if path := self._any_path():
            data, aside = self._new_content(), path.with_name(f".{path.name}.new")
            aside.write_bytes(data)
            aside.rename(path)
            self._settle(path, data)
        yield from ()

    def rename(self):
        if path := self._any_path():
            target = self._new_path(path.suffix)
            content, self.paths[path].content = self.paths[path].content, None
            path.rename(target)
            self._settle(target, content=content)
        yield from ()

    def delete(self):
        if path := self._any_path():
            path.unlink()
            self.paths[path].content = None
        yield from ()

    def cut(self):
        """Begin a transfer that never ends."""
        path, data = self._new_path(), self._new_content()
        data = data[: int(len(data) * self.chance.uniform(0.1, 0.9))]
        path.write_bytes(data)
        self._settle(path, data)
        self.paths[path].is_cut = True
        yield from ()

    def take_away(self):
        """Remove a folder and bring it back, like a memory card."""
        folders = [path for path in self.folder.iterdir() if path.is_dir()]
        folder = self.chance.choice(folders)
        if any(path.is_relative_to(folder) for path in self.busy):
            return
        inside = {path for path in self.paths if path.is_relative_to(folder)} | {folder / "x"}
        self.busy |= inside
        aside = self.folder.with_name(f"away-{folder.name}")
        folder.rename(aside)
        yield self.chance.uniform(1.0, 10.0)
        aside.rename(folder)
        self.busy -= inside
        for path in inside & self.paths.keys():
            self.paths[path].since = time.monotonic()

    def _write_in_pieces(self, path: Path):
        data = self._new_content(path.suffix)
        self.busy.add(path)
        self.paths.setdefault(path, PathHistory()).content = None
        with path.open("wb") as handle:
            for piece in self._pieces(data):
                handle.write(piece)
                handle.flush()
                yield self.chance.choice([0.05, 0.5, 2.5, 7.0])
        self._settle(path, data)

    def _pieces(self, data: bytes) -> list[bytes]:
        ends = sorted(self.chance.sample(range(1, len(data)), self.chance.randint(1, 4)))
        return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]

    def _settle(self, path: Path, data: bytes = b"", content: str = "") -> None:
        record, now = self.paths.setdefault(path, PathHistory()), time.monotonic()
        record.content = content or self._keep(path, data)
        record.since = record.had[record.content] = now
        self.busy.discard(path)

    def _keep(self, path: Path, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()[:24] + path.suffix
        (self.archive / name).write_bytes(data)
        return name

    def _new_content(self, suffix: str = ".jpg") -> bytes:
        noise = np.random.default_rng(self.chance.getrandbits(64)).integers(0, 256, (9, 12, 3), np.uint8)
        image = Image.fromarray(noise).resize((480, 360), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        image.save(stream, "PNG" if suffix == ".png" else "JPEG", **({} if suffix == ".png" else {"quality": 90}))
        return stream.getvalue()

    def _new_path(self, suffix: str = ".jpg") -> Path:
        self.n_made += 1
        present = [path for path in self.folder.iterdir() if path.is_dir()]
        if self.n_made % 50 == 1:
            folder = self.folder / f"card {self.n_made}"
            (folder / "DCIM").mkdir(parents=True)
        else:
            folder = self.chance.choice(present)
        return self.chance.choice([folder, folder / "DCIM"]) / f"IMG_{self.n_made:06}{suffix}"

    def _any_path(self) -> Path | None:
        ready = [p for p, record in self.paths.items() if record.content and not record.is_cut and p not in self.busy]
        return self.chance.choice(ready) if ready else None


@dataclass
class Memory:
    """Resident memory of a process over time: seconds, total, and the anonymous part, in bytes."""

    course: list[tuple[float, int, int]] = field(default_factory=list)

    def sample(self, pid: int, seconds: float) -> None:
        """Add the kernel's present figures."""
        text = Path(f"/proc/{pid}/status").read_text()
        rss, anonymous = (int(re.search(rf"^{key}:\s*(\d+)", text, re.MULTILINE)[1]) for key in ("VmRSS", "RssAnon"))
        self.course.append((seconds, rss * 1024, anonymous * 1024))

    def _resting(self) -> np.ndarray:
        """Return [spans, 3]: the lowest decile of each column of `course` in N_BLOCKS spans after the warm-up."""
        end = self.course[-1][0]
        edges = np.linspace(WARM_UP * end, end, N_BLOCKS + 1)
        spans = [[row for row in self.course if a <= row[0] < b] for a, b in itertools.pairwise(edges)]
        return np.array([np.quantile(np.array(span), RESTING, axis=0) for span in spans if span]).reshape(-1, 3)

    def slope(self, column: int) -> tuple[float, float]:
        """Return the slope in MB per hour after the warm-up and twice its standard error, over N_BLOCKS spans.

        It is the slope of memory between photographs, which is the lowest decile of a span: while an
        image is scored, memory comes and goes.
        """
        points = self._resting()
        if len(points) < 4:
            return float("nan"), float("nan")
        hours, size = points[:, 0] / 3600, points[:, column] / 1e6
        line = np.polyfit(hours, size, 1)
        rest = size - np.polyval(line, hours)
        error = np.sqrt((rest**2).sum() / (len(hours) - 2) / ((hours - hours.mean()) ** 2).sum())
        return float(line[0]), float(2 * error)

    def thirds(self, column: int) -> tuple[float, float]:
        """Return bytes between photographs in the first and in the last third after the warm-up.

        They are medians of the spans' lowest deciles, as in `slope`.
        """
        points = self._resting()
        third = len(points) // 3
        if not third:
            return float("nan"), float("nan")
        return float(np.median(points[:third, column])), float(np.median(points[-third:, column]))

    def least_told(self) -> float:
        """Return the smallest steady growth in MB per hour that exceeds the limit between the thirds, for any noise."""
        first, _ = self.thirds(2)
        hours = 2 / 3 * (1 - WARM_UP) * self.course[-1][0] / 3600
        return (MOST_MEDIAN - 1) * first / 1e6 / hours

    def is_flat(self) -> bool:
        """Whether memory grew by no more than the three limits."""
        (slope, error), (first, last), peaks = self.slope(2), self.thirds(2), self.peaks()
        within = not slope - error > 0 or slope < MOST_SLOPE
        return within and not last > MOST_MEDIAN * first and peaks[1] <= MOST_PEAK * peaks[0]

    def peaks(self) -> tuple[int, int]:
        """Return the largest resident bytes in the two halves after the warm-up."""
        end = self.course[-1][0]
        middle = (1 + WARM_UP) / 2 * end
        first = [rss for seconds, rss, _anonymous in self.course if WARM_UP * end <= seconds < middle]
        return max(first, default=0), max(rss for seconds, rss, _anonymous in self.course if seconds >= middle)


class Watched:
    """The watch as a subprocess."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path):
        self.command, self.environment, self.log = command, environment, log
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the watch, or start it again."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stderr=log)

    def check(self) -> None:
        """Raise RuntimeError if the watch has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the watch ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")

    def stop(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait()

    def cpu_s(self) -> float:
        """Return the processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_table(path: Path) -> dict[str, dict]:
    """Return rows by file. Raise AssertionError if a file has two."""
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    by_file = {row["file"]: row for row in rows}
    assert len(by_file) == len(rows), f"{len(rows) - len(by_file)} files have two rows"
    return by_file


def is_same(row: dict, expected: dict) -> bool:
    """Return whether two rows agree, except for the last decimals."""
    for column in COMPARED:
        if row[column] != expected[column]:
            if column not in ("confidence", "similarity") or "" in (row[column], expected[column]):
                return False
            if abs(float(row[column]) - float(expected[column])) > TOLERANCE:
                return False
    return True


def compare(table: dict[str, dict], writer: Writer, expected: dict[str, dict], gone_s: dict[Path, float]) -> Counter:
    """Count the paths that are right, and the kinds of error of the others; `gone_s`: when a path lost its content."""
    verdict: Counter = Counter()
    for path, record in writer.paths.items():
        row = table.get(str(path))
        if record.content is not None:
            right = row is not None and is_same(row, expected[record.content])
            kind = "cut" if record.is_cut else "present"
            verdict[f"{kind}: right" if right else f"{kind}: LOST" if row is None else f"{kind}: WRONG"] += 1
        elif record.had:
            times = sorted(record.had.values())
            ends = [*times[1:], gone_s.get(path, times[-1])]
            stood = [end - begin >= LONG_S for begin, end in zip(times, ends, strict=True)]
            last = max((i for i, long in enumerate(stood) if long), default=-1)
            allowed = [content for content, begin in record.had.items() if last < 0 or begin >= times[last]]
            if row is None:
                verdict["vanished: LOST" if last >= 0 else "vanished soon: no row"] += 1
            else:
                right = any(is_same(row, expected[content]) for content in allowed)
                verdict["vanished: right" if right else "vanished: WRONG"] += 1
    extra = table.keys() - {str(path) for path in writer.paths}
    if extra:
        verdict["row of no photograph: WRONG"] = len(extra)
    return verdict


@dataclass
class Run:
    """The measurement, phase by phase."""

    watched: Watched
    writer: Writer
    out: Path
    memory: Memory = field(default_factory=Memory)
    gone_s: dict[Path, float] = field(default_factory=dict)
    n_checks: int = 0
    next_check: float = 0.0

    def work(self, duration_s: float, *, measure: bool, start_new: bool = True) -> None:
        """Write for a while, check the table now and then, and measure memory."""
        start = time.monotonic()
        next_sample = start
        while (now := time.monotonic()) - start < duration_s:
            self.writer.step(start_new=start_new)
            for path, record in self.writer.paths.items():
                if record.content is None and record.had:
                    self.gone_s.setdefault(path, now)
                else:
                    self.gone_s.pop(path, None)
            if measure and now >= next_sample:
                self.watched.check()
                self.memory.sample(self.watched.process.pid, now - start)
                next_sample = now + SAMPLE_S
            if now >= self.next_check and self.out.exists():
                read_table(self.out)
                self.n_checks += 1
                self.next_check = now + CHECK_S
            time.sleep(0.01)

    def finish(self) -> None:
        """Wait until no operation is under way any more."""
        while self.writer.step(start_new=False):
            self.work(0.05, measure=False, start_new=False)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="how long memory is measured (default: 20)")
    parser.add_argument("--kills", type=int, default=6, help="number of kills after that (default: 6)")
    parser.add_argument(
        "--rate", type=float, default=2.0, help="operations that the writer begins per second (default: 2)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the writer's operations (default: 1)")
    parser.add_argument("--model", default="bundled", help="as for linnaea identify")
    parser.add_argument("--vocabulary", default="inat", help="as for linnaea identify")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Return 0 if every photograph has exactly one correct row and the memory did not grow."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    source = str(HERE.parent / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])}
    given = ["--model", options.model, "--vocabulary", options.vocabulary, "--rank", "species", "--min-confidence", "0"]
    identify = [sys.executable, "-m", "linnaea", "identify"]
    with tempfile.TemporaryDirectory(prefix="linnaea-watch-") as name:
        work = Path(name)
        for folder in ("in/card 0/DCIM", "archive"):
            (work / folder).mkdir(parents=True)
        out = work / "x.csv"
        chance = random.Random(options.seed)
        writer = Writer(folder=work / "in", archive=work / "archive", chance=chance, rate_hz=options.rate)
        command = [*identify, str(work / "in"), "--out", str(out), "--watch", "--resume", *given]
        run = Run(Watched(command, environment, work / "log"), writer, out)
        codes = measure(run, options, chance)
        idle = idle_share(run.watched)
        codes.append(run.watched.stop(signal.SIGTERM))
        table = read_table(out)
        plain = [
            *identify,
            str(work / "archive"),
            "--out",
            str(work / "plain.csv"),
            "--names",
            "full",
            "--quiet",
            *given,
        ]
        subprocess.run(plain, env=environment, check=True)
        expected = {Path(file).name: row for file, row in read_table(work / "plain.csv").items()}
        verdict = compare(table, writer, expected, run.gone_s)
        left = sorted(path.name for path in work.iterdir() if path.name.startswith("."))
        said = (work / "log").read_text().splitlines()[-1]
        journal_mb = sum(path.stat().st_size for path in work.glob("x.csv.watch*")) / 1e6
    slope, error = run.memory.slope(2)
    peaks, (first, last) = run.memory.peaks(), run.memory.thirds(2)
    wrong = sum(n for kind, n in verdict.items() if "LOST" in kind or "WRONG" in kind)
    good = not wrong and codes == [-signal.SIGKILL] * options.kills + [0] and not left and run.memory.is_flat()
    course = np.array(run.memory.course)
    total_slope, total_error = run.memory.slope(1)
    lines = [
        "# Stress of a watched folder",
        "",
        f"- hardware: {describe_hardware()}",
        f"- made by: `{show_command('watch_stress', argv)}`",
        f"- config: {options.minutes:g} minutes, then {options.kills} kills; {options.rate:g} operations per second",
        (
            "- command measured: `python -m linnaea identify DIR --out x.csv --watch --resume "
            f"{' '.join(map(shown, given))}`"
        ),
        f"- flat: the slope is within two standard errors of 0 or below {MOST_SLOPE:g} MB per hour, the median between",
        f"  photographs grows by {MOST_MEDIAN - 1:.0%} at most from the first third to the last, and the peak of the",
        f"  second half is at most {MOST_PEAK - 1:.0%} above that of the first",
        "",
        "| measure | value |",
        "| --- | ---: |",
        (
            f"| slope of anonymous memory between photographs, after the first {WARM_UP:.0%} "
            f"| {slope:+.1f} ± {error:.1f} MB per hour |"
        ),
        (
            "| anonymous memory between photographs, median of the first third after that, of the last "
            f"| {first / 1e6:,.1f} MB, {last / 1e6:,.1f} MB |"
        ),
        f"| smallest steady growth that this would detect | {run.memory.least_told():,.0f} MB per hour |",
        (
            "| peak resident memory in the first half after that, in the second "
            f"| {peaks[0] / 1e6:,.0f} MB, {peaks[1] / 1e6:,.0f} MB |"
        ),
        f"| slope of resident memory, mapped pages included | {total_slope:+.1f} ± {total_error:.1f} MB per hour |",
        (
            "| resident memory, median, maximum "
            f"| {np.median(course[:, 1]) / 1e6:,.0f} MB, {course[:, 1].max() / 1e6:,.0f} MB |"
        ),
        f"| processor time while nothing changes, of one core | {idle:.1%} |",
        f"| contents written | {len(expected):,} |",
        f"| paths | {len(writer.paths):,} |",
        *(f"| … {kind} | {n:,} |" for kind, n in sorted(verdict.items())),
        f"| checks of the table during the run, each complete and without doubles | {run.n_checks:,} |",
        f"| exit codes of the watches | {' '.join(map(str, codes))} |",
        f"| files that kills left beside the table | {', '.join(left) or 'none'} |",
        f"| journal | {journal_mb:.1f} MB |",
        f"| its last line | {said.split(' → ')[0]} |",
        f"| verdict | {'kept' if good else 'NOT kept'} |",
        "",
        "What the writer began: " + ", ".join(f"{n:,} {kind}" for kind, n in sorted(writer.done.items())),
        "",
        "Memory over the run:",
        "",
        *course_rows(course),
    ]
    write_result(options.results, "watch_stress", lines)
    return 0 if good else 1


def measure(run: Run, options: argparse.Namespace, chance: random.Random) -> list[int]:
    """Run the long part, the kills and the end; return the exit codes of the watches that were killed."""
    print("writing before the watch begins", file=sys.stderr)
    run.work(20 / options.rate, measure=False)
    run.watched.start()
    while not run.out.exists():
        run.watched.check()
        time.sleep(0.1)
    print(f"watching for {options.minutes:g} minutes", file=sys.stderr)
    run.work(60 * options.minutes, measure=True)
    codes = []
    for i in range(options.kills):
        run.work(chance.uniform(3.0, 15.0), measure=False)
        print(f"kill {i + 1}", file=sys.stderr)
        run.watched.check()
        codes.append(run.watched.stop(signal.SIGKILL))
        run.work(chance.uniform(0.0, 2.0), measure=False)
        run.watched.start()
    run.finish()
    print(f"waiting {PATIENCE_S + LONG_S:.0f} s for cut photographs", file=sys.stderr)
    run.work(PATIENCE_S + LONG_S, measure=False, start_new=False)
    run.watched.check()
    return codes


def idle_share(watched: Watched, duration_s: float = 15.0) -> float:
    """Return the processor time over time while nothing changes."""
    before = watched.cpu_s()
    time.sleep(duration_s)
    return (watched.cpu_s() - before) / duration_s


def course_rows(course: np.ndarray, n_rows: int = 10) -> list[str]:
    """Return a table of the memory between photographs and of the maximum, in equal spans of the run."""
    rows = [
        "| until, s | anonymous, between, MB | resident, between, MB | resident, maximum, MB |",
        "| ---: | ---: | ---: | ---: |",
    ]
    end = course[-1, 0]
    for i in range(n_rows):
        inside = course[(course[:, 0] >= end * i / n_rows) & (course[:, 0] <= end * (i + 1) / n_rows)]
        if len(inside):
            _s, resident, anonymous = np.quantile(inside, RESTING, axis=0) / 1e6
            most = inside[:, 1].max() / 1e6
            rows.append(f"| {end * (i + 1) / n_rows:.0f} | {anonymous:,.0f} | {resident:,.0f} | {most:,.0f} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
