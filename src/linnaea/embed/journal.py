"""The journal of a long run: finished batches on disk as they come, so that a killed run can be resumed.

`OUT.part/` holds `state.json` (the run's options and inputs, written first) and `batches.jsonl`, one line for each
batch: a CRC-32 and a JSON value. A kill leaves at worst a torn last line, which the next run cuts off.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from linnaea.store import atomic_path

STATE = "state.json"
BATCHES = "batches.jsonl"


def get_journal_dir(out_path: Path) -> Path:
    """The journal's folder, beside the output."""
    return out_path.with_name(out_path.name + ".part")


class Journal:
    """An append-only list of batches.

    `state` describes the run; `n_batches` counts the batches that are safe on disk.
    """

    def __init__(self, journal_dir: Path, state: dict, n_batches: int, n_bytes: int):
        self.dir, self.state, self.n_batches = journal_dir, state, n_batches
        self._path = journal_dir / BATCHES
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666)
        os.ftruncate(self._file, n_bytes)
        os.lseek(self._file, n_bytes, os.SEEK_SET)

    @classmethod
    def create(cls, journal_dir: Path, state: Mapping) -> Journal:
        """An empty journal. What the folder held before is deleted."""
        _remove(journal_dir)
        journal_dir.mkdir(parents=True)
        # Escaped, since file names may hold characters that UTF-8 cannot encode.
        text = json.dumps(state, ensure_ascii=True, default=str)
        with atomic_path(journal_dir / STATE) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return cls(journal_dir, json.loads(text), 0, 0)

    @classmethod
    def reopen(cls, journal_dir: Path) -> Journal:
        """The journal of an interrupted run, without its torn last line."""
        n_batches = n_bytes = 0
        for _value, end in _read_lines(journal_dir / BATCHES):
            n_batches, n_bytes = n_batches + 1, end
        return cls(journal_dir, read_state(journal_dir) or {}, n_batches, n_bytes)

    def append(self, value: object) -> None:
        """Append a batch. A kill in the middle leaves a line that `reopen` does not count."""
        body = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
        data = memoryview(b"%08x " % zlib.crc32(body) + body + b"\n")
        while data:
            data = data[os.write(self._file, data) :]
        self.n_batches += 1

    def read(self) -> Iterator:
        """Yield the batches in order; one is in memory at a time."""
        for value, _n_bytes in _read_lines(self._path):
            yield value

    def close(self) -> None:
        """Close the file; the journal stays on disk."""
        os.close(self._file)

    def remove(self) -> None:
        """Close and delete the journal."""
        self.close()
        _remove(self.dir)


class RunOutput:
    """The output path of a run, and the decision whether to start, to resume or to refuse.

    `interrupted` is the state of the run that will be resumed, None for a new run.
    """

    def __init__(self, out_path: Path, *, resume: bool, overwrite: bool):
        self.path, self.journal_dir = out_path, get_journal_dir(out_path)
        self._resume, self._overwrite = resume, overwrite
        self._waiting = read_state(self.journal_dir)
        self.interrupted = self._waiting if resume else None

    def check_free(self) -> None:
        """Raise FileExistsError if the new run would replace an output or an interrupted run without `overwrite`."""
        if self.interrupted is not None or self._overwrite:
            return
        if self._waiting is not None:
            raise FileExistsError(
                f"{self.journal_dir} holds an interrupted run; add --resume to continue it or --overwrite to "
                "start again"
            )
        if self.path.exists() and self._resume:
            raise FileExistsError(
                f"{self.path} exists already and was written with other options; choose another --out, or use "
                "--overwrite without --resume"
            )
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists already; choose another --out or add --overwrite")

    def is_finished(self, run_hash: str, finished_hash: str | None) -> bool:
        """Whether the run to resume is complete: `finished_hash` is that of the run that wrote the output."""
        is_written = self._resume and self.interrupted is None and self.path.exists()
        return is_written and run_hash == finished_hash

    def check_same(self, state: Mapping, differences: str = "") -> None:
        """Raise ValueError if the run to resume has another hash than `state`. `differences` names the options."""
        if self.interrupted is not None:
            check_same_run(self.journal_dir, self.interrupted, state, differences)

    def read_files(self) -> list[tuple[str, str]]:
        """The files of the run to resume, each with the reason why it gives no image; empty for a new run."""
        return [(path, reason) for path, reason in (self.interrupted or {}).get("files", ())]

    def read_left_out(self) -> list[tuple[str, str]]:
        """What the run to resume left out, each path with its reason; empty for a new run."""
        return [(path, reason) for path, reason in (self.interrupted or {}).get("left_out", ())]

    def open(
        self, state: Mapping, files: Sequence[tuple[str, str]], left_out: Sequence[tuple[str, str]] = ()
    ) -> Journal:
        """The journal to append to: that of the interrupted run, or a new one for `state`, `files` and `left_out`."""
        self.check_same(state)
        if self.interrupted is not None:
            return Journal.reopen(self.journal_dir)
        return Journal.create(self.journal_dir, {**state, "files": list(files), "left_out": list(left_out)})


def check_same_run(journal_path: Path, interrupted: Mapping, state: Mapping, differences: str = "") -> None:
    """Raise ValueError if the interrupted run whose journal is at `journal_path` had other options than this one."""
    if interrupted["hash"] != state["hash"]:
        what = f" ({differences} differ)" if differences else ""
        raise ValueError(
            f"{journal_path} belongs to a run with other options{what}; repeat them, or replace --resume by "
            "--overwrite to start again"
        )


def _remove(journal_dir: Path) -> None:
    """Delete a journal, its state first: a kill in the middle then leaves nothing that looks like a run."""
    (journal_dir / STATE).unlink(missing_ok=True)
    shutil.rmtree(journal_dir, ignore_errors=True)


def read_state(journal_dir: Path) -> dict | None:
    """The state of the interrupted run, or None if there is none."""
    try:
        return json.loads((journal_dir / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _read_lines(path: Path) -> Iterator[tuple[object, int]]:
    """Each complete line's value and the number of bytes up to its end; stops at the first torn line."""
    n_bytes = 0
    if not path.exists():
        return
    with path.open("rb") as handle:
        for line in handle:
            body = line[9:-1]
            if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(body):
                return
            n_bytes += len(line)
            yield json.loads(body), n_bytes
