"""`--sort-into DIR`: photographs in folders by name, and a list of what went where.

Nothing is overwritten and nothing is deleted. `DIR/sorted.csv` lists each photograph with its place in DIR; it grows
with each photograph, so that a stopped run continues where it stopped. A photograph that the list has is not sorted
again, even if somebody has moved it since.
"""

from __future__ import annotations

import csv
import errno
import filecmp
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from linnaea.photos.photo_files import format_path
from linnaea.records import Prediction
from linnaea.store import UNFINISHED

logger = logging.getLogger(__name__)

LIST_NAME = "sorted.csv"
LIST_COLUMNS = ("file", "sorted_as", "outcome", "rank", "name", "confidence", "event")
# The folder of photographs without a name, by outcome.
FOLDERS = {
    "unsure": "unidentified",
    "outside_list": "outside the list",
    "no_organism": "no organism",
    "no_detection": "no organism",
    "not_in_boxes": "not in the list of boxes",
    "human": "human",
    "vehicle": "vehicle",
    "unreadable": "unreadable",
}
# Names that Windows keeps for devices, and characters that it does not allow.
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(1, 10))}
UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
MOST_CHARACTERS = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class SortedPhotograph:
    """A photograph, the answer that decides its folder, and the event it belongs to."""

    path: str
    prediction: Prediction
    event: str = ""


def make_safe_name(text: str) -> str:
    """The text as the name of a file or folder that every system accepts; "_" if nothing is left."""
    name = UNSAFE.sub("_", text).strip().rstrip(". ")
    stem, dot, suffix = name.rpartition(".")
    if dot and stem and len(suffix) < MOST_CHARACTERS // 4:
        name = stem[: MOST_CHARACTERS - len(suffix) - 1].rstrip() + dot + suffix
    else:
        name = name[:MOST_CHARACTERS].rstrip(". ")
    if name.split(".")[0].rstrip().casefold() in RESERVED:
        name = "_" + name
    return name or "_"


def find_folder(prediction: Prediction) -> str:
    """The name of the folder for an answer."""
    if prediction.outcome == "named":
        return make_safe_name(prediction.name)
    return FOLDERS[prediction.outcome]


class PhotographSorter:
    """Sorts photographs into the folders of `out_dir` by copies or links; use it as a context."""

    def __init__(self, out_dir: Path, how: str = "copy"):
        self.out_dir, self._how = out_dir, how
        self.n_sorted = self.n_known = self.n_elsewhere = self.n_failed = 0
        # Photograph -> its places in DIR; and the places, as Windows compares them.
        self._places: dict[str, set[str]] = {}
        self._taken: set[str] = set()

    def __enter__(self) -> Self:
        if self.out_dir.exists() and not self.out_dir.is_dir():
            raise ValueError(f"--sort-into {self.out_dir} is a file; give a folder")
        self.out_dir.mkdir(parents=True, exist_ok=True)
        list_path = self.out_dir / LIST_NAME
        is_new = self._read_list(list_path)
        self._list = open(list_path, "a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.writer(self._list, lineterminator="\n")
        if is_new:
            self._writer.writerow(LIST_COLUMNS)
        return self

    def __exit__(self, *error) -> None:
        self._list.close()

    def _read_list(self, list_path: Path) -> bool:
        """Remember what an earlier run sorted; return whether there is no list yet."""
        if not list_path.exists() or not list_path.stat().st_size:
            return True
        with open(list_path, newline="", encoding="utf-8", errors="surrogateescape") as handle:
            rows = csv.reader(handle)
            if next(rows, None) != list(LIST_COLUMNS):
                raise ValueError(f"{list_path} was not written by --sort-into; choose another folder")
            for row in rows:
                if len(row) == len(LIST_COLUMNS):
                    self._remember(row[0], row[1])
        with open(list_path, "rb+") as handle:
            handle.seek(-1, os.SEEK_END)
            # A run that was killed may have left half a row.
            if handle.read(1) != b"\n":
                handle.write(b"\n")
        return False

    def _remember(self, file: str, place: str) -> None:
        self._places.setdefault(file, set()).add(place)
        self._taken.add(place.casefold())

    def sort(self, photograph: SortedPhotograph) -> None:
        """Copy or link one photograph into its folder, unless the list has it there already."""
        file, folder = os.path.abspath(photograph.path), find_folder(photograph.prediction)
        places = self._places.get(file, set())
        if any(place.rpartition("/")[0] == folder for place in places):
            self.n_known += 1
            return
        if not os.path.isfile(file) or not os.access(file, os.R_OK):
            self.n_failed += 1
            return
        place = self._put(file, folder)
        self.n_elsewhere += bool(places)
        self.n_sorted += 1
        self._remember(file, place)
        one = photograph.prediction
        confidence = "" if one.confidence is None else one.confidence
        self._writer.writerow([file, place, one.outcome, one.rank, one.name, confidence, photograph.event])
        self._list.flush()

    def _put(self, file: str, folder: str) -> str:
        """Put the photograph into the folder under a free name; return its place in DIR with / between names."""
        (self.out_dir / folder).mkdir(exist_ok=True)
        name = make_safe_name(os.path.basename(file))
        stem, dot, suffix = name.rpartition(".")
        stem, suffix = (stem, dot + suffix) if dot else (name, "")
        number = 1
        while True:
            place = f"{folder}/{stem}{suffix}" if number == 1 else f"{folder}/{stem} ({number}){suffix}"
            number += 1
            if place.casefold() in self._taken:
                continue
            try:
                self._place_at(file, self.out_dir / place)
            except FileExistsError:
                # What a killed run put there before it could write the list is this photograph.
                if not _is_same(file, self.out_dir / place):
                    continue
            return place

    def _place_at(self, file: str, target_path: Path) -> None:
        """Copy or link a file. Raise FileExistsError if there is something of the target's name."""
        if os.path.lexists(target_path):
            raise FileExistsError(target_path)
        if self._how == "symlink":
            os.symlink(file, target_path)
        elif self._how == "hardlink":
            _link(file, target_path)
        else:
            temporary = target_path.with_name(f".{secrets.token_hex(4)}{UNFINISHED}")
            try:
                shutil.copy2(file, temporary)
                _rename(temporary, target_path)
            finally:
                temporary.unlink(missing_ok=True)


def _link(file: str, target_path: Path) -> None:
    try:
        os.link(file, target_path)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise ValueError(
                f"--sort-with hardlink: {format_path(file)} cannot have a hard link in {target_path.parent} "
                f"({error.strerror.lower()}); use --sort-with copy or symlink"
            ) from None
        raise


def _rename(source_path: Path, target_path: Path) -> None:
    """Move a file without replacing another."""
    try:
        os.link(source_path, target_path)
    except FileExistsError:
        raise
    except OSError:
        # A disk without hard links, such as a memory card.
        if target_path.exists():
            raise FileExistsError(target_path) from None
        source_path.rename(target_path)


def _is_same(file: str, target_path: Path) -> bool:
    try:
        return os.path.samefile(file, target_path) or filecmp.cmp(file, target_path, shallow=False)
    except OSError:
        return False


def sort_photographs(out_dir: Path, photographs: Iterable[SortedPhotograph], how: str) -> PhotographSorter:
    """Sort the photographs into folders of `out_dir` and log what was done."""
    with PhotographSorter(out_dir, how) as sorter:
        for photograph in photographs:
            sorter.sort(photograph)
    words = {"copy": "copied", "hardlink": "linked", "symlink": "linked"}
    known = f"; {sorter.n_known:,} were sorted before" if sorter.n_known else ""
    logger.info(f"{sorter.n_sorted:,} photographs {words[how]} into {out_dir}{known} (list: {out_dir / LIST_NAME})")
    if sorter.n_failed:
        logger.warning(
            f"{sorter.n_failed:,} photographs are not there any more or cannot be read; they were not sorted"
        )
    if sorter.n_elsewhere:
        logger.warning(
            f"{sorter.n_elsewhere:,} photographs were sorted into another folder by an earlier run; the earlier copies "
            f"in {out_dir} were left"
        )
    return sorter
