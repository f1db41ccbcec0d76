"""The boxes of a file by photograph, and the photographs that they belong to."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from linnaea.photos.photo_files import FoundFile
from linnaea.records import Box

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".asf", ".webm", ".mts", ".3gp")
VIDEO = "a video: its boxes belong to frames and are not used"
GONE = "the file does not exist"
NOT_GIVEN = "the file was not among the photographs"
# Common trailing parts of two paths that make them the same file: a folder and a name.
LEAST_PARTS = 2


@dataclass(frozen=True, kw_only=True)
class UnmatchedEntry:
    """A file that a list of boxes names and that gets no row, with the reason."""

    file: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BoxList:
    """Boxes by file as a detector wrote them; `relative` boxes are fractions of the image's width and height.

    `failures` holds the detector's reason for each file that it could not read, `sizes` the width and height for which
    the boxes of a file hold, `outside` the files of which every box was dropped because nothing of it is in the image.
    """

    path: Path
    boxes: dict[str, list[Box]]
    relative: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)
    videos: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()

    def find(self, path: str, roots: Sequence[str] = ()) -> list[Box] | None:
        """The boxes of a photograph, None if the list lacks it.

        It is looked up as given, relative to `roots` and to the folder of the list, and by the end of its path.
        """
        key = self.find_key(path, roots)
        return None if key is None else self.boxes[key]

    def find_key(self, path: str, roots: Sequence[str] = ()) -> str | None:
        """The entry of a photograph, None if the list lacks it."""
        absolute = os.path.abspath(path)
        parents = [os.path.abspath(root) for root in (*roots, self.path.parent)]
        candidates = [make_box_key(path), make_box_key(absolute)]
        candidates += [make_box_key(os.path.relpath(absolute, parent)) for parent in parents]
        for key in candidates:
            if key in self.boxes:
                return key
        for key in candidates:
            if (found := self._by_spelling.get(unicodedata.normalize("NFC", key))) is not None:
                return found
        return self._find_by_end(make_box_key(absolute), [make_box_key(parent) for parent in parents[:-1]])

    def _find_by_end(self, path: str, roots: Sequence[str]) -> str | None:
        """The entry whose path ends as `path` does: lists made on another computer hold that computer's paths.

        The common end holds at least a folder, and everything below the root that holds the photograph.
        """
        parts = path.strip("/").split("/")
        below = [
            len(parts) - root.strip("/").count("/") - 1 for root in roots if path.startswith(root.rstrip("/") + "/")
        ]
        least = max(LEAST_PARTS, min(below, default=LEAST_PARTS))
        for n in range(len(parts), least - 1, -1):
            end = "/".join(parts[-n:])
            if end in self.boxes:
                return end
            for start in self._starts:
                if start + end in self.boxes:
                    return start + end
        return None

    @cached_property
    def _by_spelling(self) -> dict[str, str]:
        """Entries by their composed form: file systems write letters with accents in one of two ways."""
        return {unicodedata.normalize("NFC", key): key for key in self.boxes if not key.isascii()}

    @cached_property
    def _starts(self) -> list[str]:
        """The folder that all entries have in common, and the folders above it, each with its slash."""
        folders = [key.split("/")[:-1] for key in self.boxes]
        first, last = min(folders, default=[]), max(folders, default=[])
        n_common = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        parts = first[:n_common]
        return ["/".join(parts[:n]) + "/" for n in range(len(parts), 0, -1)]

    def list_unmatched(self, files: Iterable[FoundFile], roots: Sequence[str] = ()) -> list[UnmatchedEntry]:
        """The entries that belong to none of the photographs, in the order of the list."""
        used = {self.find_key(file.path, roots) for file in files}
        places = (os.getcwd(), self.path.parent, *roots)
        unmatched = []
        for key in self.boxes:
            if key in used:
                continue
            exists = any(os.path.exists(os.path.join(place, key)) for place in places)
            reason = NOT_GIVEN if exists else GONE
            if key in self.videos or key.lower().endswith(VIDEO_SUFFIXES):
                reason = VIDEO
            unmatched.append(UnmatchedEntry(file=key, reason=reason))
        return unmatched


def make_box_key(path: str) -> str:
    """The path with slashes, without "." and "..", as a list of boxes is searched."""
    path = path.strip().replace("\\", "/")
    drive = re.match(r"[A-Za-z]:(?=/)", path)
    return os.path.normpath(path).replace("\\", "/") if not drive else drive[0] + os.path.normpath(path[2:])
