"""The figures of a run, step by step: lines on the terminal, a CSV file, and TensorBoard's event files if asked for.

A run that is resumed goes on in the same files: rows of steps that will be taken again are dropped first, so that no
step is there twice.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from linnaea.datasets.write_errors import writing
from linnaea.store import atomic_path
from linnaea.train.runtime.tensorboard import EventWriter

CURVE, VALIDATION, EVENTS = "curve.csv", "validation.csv", "tensorboard"
COLUMNS = ("step", "loss", "contrast", "replay", "distillation", "scale", "learning_rate", "gradient", "samples_per_s")
VALIDATION_COLUMNS = ("step", "name", "value")


def _steps_of(line: str) -> int:
    with suppress(ValueError):
        return int(line.split(",", 1)[0])
    return 0


def go_on(path: Path, columns: tuple[str, ...], done: int) -> None:
    """Leaves a CSV file with its header and the whole rows of steps up to `done`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines[1:] if line.endswith("\n") and 0 < _steps_of(line) <= done]
    with writing(path, "the run's figures"), atomic_path(path) as temporary:
        temporary.write_text(",".join(columns) + "\n" + "".join(kept), encoding="utf-8")


def read_curve(path: Path) -> list[dict[str, float]]:
    """The rows of a curve; what was not measured is left out."""
    with Path(path).open(encoding="utf-8", newline="") as lines:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]


class MetricsLog:
    """Where a run's figures go. `done` are the steps that were taken before."""

    def __init__(
        self,
        directory: Path,
        *,
        done: int,
        steps: int,
        log_every: int,
        tensorboard: bool,
        report: Callable[[str], None],
    ):
        self._curve, self._validation = directory / CURVE, directory / VALIDATION
        go_on(self._curve, COLUMNS, done)
        if self._validation.exists():
            go_on(self._validation, VALIDATION_COLUMNS, done)
        self._steps, self._log_every, self._report = steps, log_every, report
        self._since, self._samples = time.perf_counter(), 0
        self._rate = 0.0
        self._events = EventWriter(directory / EVENTS, done, report) if tensorboard else None

    def add(self, step: int, values: Mapping[str, float], n_samples: int) -> None:
        """The figures of a step, counted from 1, and how many pairs it had."""
        self._samples += n_samples
        passed = time.perf_counter() - self._since
        self._rate = self._samples / passed
        whole = {**values, "step": step, "samples_per_s": round(self._rate, 2)}
        # repr, so that the numbers come back to the last bit
        self._append(self._curve, [repr(whole[name]) if name in whole else "" for name in COLUMNS])
        if self._events is not None:
            for name in COLUMNS[1:]:
                if name in whole:
                    self._events.add(f"training/{name}", whole[name], step)
        if step % self._log_every == 0 or step == self._steps:
            shown = [name for name in COLUMNS[2:5] if name in values and values[name] != values["loss"]]
            parts = "".join(f"  {name} {values[name]:.4f}" for name in shown)
            line = f"step {step}/{self._steps}  loss {values['loss']:.4f}{parts}  scale {values['scale']:.1f}"
            self._report(f"{line}  {self._rate:.0f} pairs/s")
            self._since, self._samples = time.perf_counter(), 0

    def add_validation(self, step: int, values: Mapping[str, float]) -> None:
        """What a validation after a step has found."""
        if not self._validation.exists():
            go_on(self._validation, VALIDATION_COLUMNS, 0)
        for name, value in values.items():
            self._append(self._validation, [repr(step), f'"{name}"', repr(float(value))])
            if self._events is not None:
                self._events.add(f"validation/{name}", float(value), step)
        self._report(
            f"step {step}/{self._steps}  " + "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        )

    @staticmethod
    def _append(path: Path, cells: list[str]) -> None:
        with writing(path, "the run's figures"), path.open("a", encoding="utf-8") as handle:
            handle.write(",".join(cells) + "\n")

    def close(self) -> None:
        """Writes out what is waiting."""
        if self._events is not None:
            self._events.close()
