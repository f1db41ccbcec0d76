"""Log of a run's metrics, step by step: lines on the terminal, CSV files, and optionally TensorBoard event files.

A resumed run continues the same files. Rows of steps that will be repeated are dropped first, so that each step occurs
once.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from linnaea.datasets.write_errors import explain_write_errors
from linnaea.store import atomic_path
from linnaea.train.runtime.tensorboard import EventWriter

logger = logging.getLogger(__name__)

CURVE, VALIDATION, EVENTS = "curve.csv", "validation.csv", "tensorboard"
COLUMNS = ("step", "loss", "contrast", "replay", "distillation", "scale", "learning_rate", "gradient", "samples_per_s")
VALIDATION_COLUMNS = ("step", "name", "value")


def _parse_step(line: str) -> int:
    with suppress(ValueError):
        return int(line.split(",", 1)[0])
    return 0


def truncate_log(path: Path, columns: tuple[str, ...], done: int) -> None:
    """Rewrite a CSV file with its header and only the complete rows of the steps up to `done`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines[1:] if line.endswith("\n") and 0 < _parse_step(line) <= done]
    with explain_write_errors(path, "the run's figures"), atomic_path(path) as temporary:
        temporary.write_text(",".join(columns) + "\n" + "".join(kept), encoding="utf-8")


def read_curve(path: Path) -> list[dict[str, float]]:
    """Return the rows of a curve file, without the empty cells."""
    with Path(path).open(encoding="utf-8", newline="") as lines:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]


class MetricsLog:
    """Writes the metrics of a run in `log_dir`. `done` is the number of steps taken by earlier processes."""

    def __init__(self, log_dir: Path, *, done: int, steps: int, log_every: int, tensorboard: bool):
        self._curve, self._validation = log_dir / CURVE, log_dir / VALIDATION
        truncate_log(self._curve, COLUMNS, done)
        if self._validation.exists():
            truncate_log(self._validation, VALIDATION_COLUMNS, done)
        self._steps, self._log_every = steps, log_every
        self._since, self._samples = time.perf_counter(), 0
        self._rate = 0.0
        self._events = EventWriter(log_dir / EVENTS, done) if tensorboard else None

    def add(self, step: int, values: Mapping[str, float], n_samples: int) -> None:
        """Write the metrics of a step, counted from 1, that trained on `n_samples` pairs."""
        self._samples += n_samples
        passed = time.perf_counter() - self._since
        self._rate = self._samples / passed
        whole = {**values, "step": step, "samples_per_s": round(self._rate, 2)}
        # repr, so that the numbers are read back exactly
        self._append(self._curve, [repr(whole[name]) if name in whole else "" for name in COLUMNS])
        if self._events is not None:
            for name in COLUMNS[1:]:
                if name in whole:
                    self._events.add(f"training/{name}", whole[name], step)
        if step % self._log_every == 0 or step == self._steps:
            shown = [name for name in COLUMNS[2:5] if name in values and values[name] != values["loss"]]
            parts = "".join(f"  {name} {values[name]:.4f}" for name in shown)
            line = f"step {step}/{self._steps}  loss {values['loss']:.4f}{parts}  scale {values['scale']:.1f}"
            logger.info("%s  %.0f pairs/s", line, self._rate)
            self._since, self._samples = time.perf_counter(), 0

    def add_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Write the metrics of a validation after a step."""
        if not self._validation.exists():
            truncate_log(self._validation, VALIDATION_COLUMNS, 0)
        for name, value in values.items():
            self._append(self._validation, [repr(step), f'"{name}"', repr(float(value))])
            if self._events is not None:
                self._events.add(f"validation/{name}", float(value), step)
        found = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        logger.info("step %d/%d  %s", step, self._steps, found)

    @staticmethod
    def _append(path: Path, cells: list[str]) -> None:
        with explain_write_errors(path, "the run's figures"), path.open("a", encoding="utf-8") as handle:
            handle.write(",".join(cells) + "\n")

    def close(self) -> None:
        """Flush and close the files."""
        if self._events is not None:
            self._events.close()
