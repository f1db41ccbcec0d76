"""The photographs in a list of files and folders, each once, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linnaea.photos.decoding import NO_PERMISSION, PHOTO_SUFFIXES


@dataclass(frozen=True)
class FoundFile:
    """A path as the user would write it; `reason` says why a folder could not be read, else it is empty."""

    path: str
    reason: str = ""


@dataclass(frozen=True)
class FoundFiles:
    """The files, the number of paths that were given more than once, and the folders without photographs."""

    files: tuple[FoundFile, ...]
    n_duplicates: int = 0
    empty_folders: tuple[str, ...] = ()


def find_images(paths: Iterable[str | os.PathLike]) -> FoundFiles:
    """The given files and the photographs in the given folders, depth first, sorted by the bytes of their names.

    A file that is given is taken whatever its suffix; in folders only files with the suffix of a photograph count, and
    names that begin with a dot do not. Links to folders are followed only if they are given. A folder that cannot be
    listed becomes an entry with a reason. A path that is found twice is kept once, at its first place.
    """
    found: list[FoundFile] = []
    empty: list[str] = []
    for path in paths:
        text = os.fspath(path)
        if os.path.isdir(text):
            before = len(found)
            _walk(text, found)
            if len(found) == before:
                empty.append(text)
        else:
            found.append(FoundFile(text))
    unique: dict[str, FoundFile] = {}
    for file in found:
        unique.setdefault(os.path.normcase(os.path.abspath(file.path)), file)
    return FoundFiles(tuple(unique.values()), len(found) - len(unique), tuple(empty))


def _walk(folder: str, found: list[FoundFile]) -> None:
    stack = [folder]
    while stack:
        path = stack.pop()
        if path != folder and not os.path.isdir(path):
            found.append(FoundFile(path))
            continue
        try:
            with os.scandir(path) as entries:
                names = sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True)
        except PermissionError:
            found.append(FoundFile(path, f"a folder that cannot be listed: {NO_PERMISSION}"))
            continue
        except OSError as error:
            found.append(FoundFile(path, f"a folder that cannot be listed: {os.strerror(error.errno or 0).lower()}"))
            continue
        # The stack is popped from its end, so that entries come out sorted, and each folder at its place.
        stack.extend(entry.path for entry in names if is_wanted(entry))


def is_wanted(entry: os.DirEntry) -> bool:
    """Whether an entry of a folder is a folder to walk, or has the name of a photograph."""
    if entry.name.startswith("."):
        return False
    try:
        if entry.is_dir(follow_symlinks=False):
            return True
        return Path(entry.name).suffix.lower() in PHOTO_SUFFIXES and not entry.is_dir()
    except OSError:
        return False


def format_path(path: str) -> str:
    r"""The path as valid UTF-8, the same in every table: invalid bytes become `\xNN`."""
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return path.encode("utf-8", "backslashreplace").decode("utf-8")
