"""What lies in folders that come and go, while others write into them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from linnaea.photos.photo_files import is_wanted, printable_path

Say = Callable[[str], None]
IsDone = Callable[[str, int, int], bool]


class Folders:
    """The photographs under folders, whatever comes and goes. What cannot be listed is said once, and waited for."""

    def __init__(self, roots: Sequence[str | os.PathLike], say: Say):
        # A folder that is given twice, or lies in another one, is looked at once.
        self._roots: dict[str, str] = {}
        for root in roots:
            self._roots.setdefault(os.path.abspath(root), os.fspath(root))
        self._say = say
        self._silent: set[str] = set()

    def look(self, is_done: IsDone) -> Iterator[tuple[str, int, int]]:
        """Path, size and time of last change (ns) of each photograph that is not done, those of a folder sorted."""
        for root in self._roots.values():
            stack = [root]
            while stack:
                folder = stack.pop()
                found, folders = self._list(folder, is_done, is_root=folder == root)
                yield from sorted(found)
                stack += sorted((path for path in folders if os.path.abspath(path) not in self._roots), reverse=True)

    def _list(self, folder: str, is_done: IsDone, *, is_root: bool):
        found: list[tuple[str, int, int]] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    # Programs write under such names, with a suffix of their own or with one of these marks, and rename.
                    if not is_wanted(entry) or entry.name.startswith("~"):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif (state := self._state_of(entry.path)) is not None and not is_done(entry.path, *state):
                        found.append((entry.path, *state))
        except OSError as error:
            if is_root or not isinstance(error, FileNotFoundError):
                self._say_once(folder, error)
            return found, folders
        if folder in self._silent:
            self._silent.discard(folder)
            self._say(f"{folder} is back")
        return found, folders

    def _state_of(self, path: str) -> tuple[int, int] | None:
        try:
            return state_of(path)
        except OSError as error:
            self._say_once(path, error)
            return None

    def _say_once(self, path: str, error: OSError) -> None:
        if path not in self._silent:
            self._silent.add(path)
            reason = os.strerror(error.errno or 0).lower()
            self._say(f"{printable_path(path)} cannot be looked at now ({reason}); the watch waits for it")


def state_of(path: str) -> tuple[int, int] | None:
    """Size in bytes and time of last change in ns; None where there is no file. Raises OSError where nobody can say."""
    try:
        # Not the folder entry's: Windows keeps that of a file being written as it was.
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
