"""The photographs in folders that come and go, while other programs write into them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence

from linnaea.photos.photo_files import LeftOut, explain_skip, format_path

logger = logging.getLogger(__name__)

IsDone = Callable[[str, int, int], bool]
FoundPhoto = tuple[str, int, int]


class WatchedFolders:
    """The photographs under folders. A folder or file that cannot be read is logged once, and waited for."""

    def __init__(self, roots: Sequence[str | os.PathLike]):
        # A folder that is given twice, or lies in another one, is looked at once.
        self._roots: dict[str, str] = {}
        for root in roots:
            self._roots.setdefault(os.path.abspath(root), os.fspath(root))
        self._missing: set[str] = set()
        self._skipped: list[LeftOut] = []
        self.left_out: tuple[LeftOut, ...] = ()  # what the last complete look did not take

    def look(self, is_done: IsDone) -> Iterator[FoundPhoto]:
        """Yield path, size and time of last change (ns) of each photograph that is not done, sorted in each folder."""
        self._skipped = []
        for root in self._roots.values():
            stack = [root]
            while stack:
                folder = stack.pop()
                found, folders = self._list(folder, is_done, is_root=folder == root)
                yield from sorted(found)
                stack += sorted((path for path in folders if os.path.abspath(path) not in self._roots), reverse=True)
        self.left_out = tuple(sorted(self._skipped, key=lambda one: os.fsencode(one.path)))

    def _list(self, folder: str, is_done: IsDone, *, is_root: bool) -> tuple[list[FoundPhoto], list[str]]:
        """The photographs of a folder that are not done, and its folders."""
        found: list[FoundPhoto] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    # Programs write under such a name, with a suffix of their own or this mark, and rename at the end.
                    if entry.name.startswith("~"):
                        continue
                    if reason := explain_skip(entry, videos=True):
                        self._skipped.append(LeftOut(entry.path, reason))
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif (state := self._read_state(entry.path)) is not None and not is_done(entry.path, *state):
                        found.append((entry.path, *state))
        except OSError as error:
            if is_root or not isinstance(error, FileNotFoundError):
                self._log_once(folder, error)
            return found, folders
        if folder in self._missing:
            self._missing.discard(folder)
            logger.info(f"{folder} is back")
        return found, folders

    def _read_state(self, path: str) -> tuple[int, int] | None:
        try:
            return read_file_state(path)
        except OSError as error:
            self._log_once(path, error)
            return None

    def _log_once(self, path: str, error: OSError) -> None:
        if path not in self._missing:
            self._missing.add(path)
            reason = os.strerror(error.errno or 0).lower()
            logger.warning(f"{format_path(path)} cannot be read now ({reason}); the watch waits for it")


def read_file_state(path: str) -> tuple[int, int] | None:
    """Size in bytes and time of last change in ns; None if there is no file. Raise OSError if it cannot be read."""
    try:
        # Not the folder entry's: Windows keeps the old state there while a file is written.
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
