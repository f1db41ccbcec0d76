"""The photographs in a list of files and folders, each once, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linnaea.photos.decoding import MISSING, NO_PERMISSION, PHOTO_SUFFIXES
from linnaea.photos.video import NOT_REGULAR, VIDEO_SUFFIXES, can_read_videos

# Why an entry is not taken as a photograph.
TWICE = "given more than once; it has its rows once"
HIDDEN = "hidden: the name begins with a dot"
HIDDEN_FOLDER = "a hidden folder, which is not searched"
LINKED_FOLDER = "a link to a folder, which is not searched; give that folder itself"
EMPTY_FOLDER = "an empty folder"
VIDEO = "a video; `linnaea identify` reads it with the extra [video] (pip install 'linnaea[video]')"
NO_SUFFIX = "no suffix in its name; give the file itself if it is a photograph"
# Reasons that cost nothing: the photograph is read elsewhere, the file belongs to the system, or there is none.
HARMLESS = frozenset({TWICE, HIDDEN, EMPTY_FOLDER})


@dataclass(frozen=True)
class FoundFile:
    """A path as the user would write it; `reason` says why a folder could not be read, else it is empty."""

    path: str
    reason: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Something that was given or lay in a given folder and has no row, with the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class FoundFiles:
    """The photographs, and everything else that was found: together they are all that was given."""

    files: tuple[FoundFile, ...]
    left_out: tuple[LeftOut, ...] = ()


def find_images(paths: Iterable[str | os.PathLike], *, videos: bool = False) -> FoundFiles:
    """The given files and the photographs in the given folders, depth first, sorted by the bytes of their names.

    A file that is given is taken whatever its suffix; in folders only files with the suffix of a photograph count, and
    names that begin with a dot do not. Links to folders are followed only if they are given. A folder that cannot be
    listed becomes an entry with a reason. A path that is found twice is kept once, at its first place. Whatever is not
    taken is left out by name. With `videos`, and the extra `[video]`, videos count as photographs.
    """
    found: list[FoundFile] = []
    left_out: list[LeftOut] = []
    for path in paths:
        text = os.fspath(path)
        if os.path.isdir(text):
            _walk(text, found, left_out, videos=videos)
        else:
            found.append(FoundFile(text))
    unique: dict[str, FoundFile] = {}
    others: dict[str, LeftOut] = {}
    twice: list[LeftOut] = []
    for file in found:
        if unique.setdefault(_make_key(file.path), file) is not file:
            twice.append(LeftOut(file.path, TWICE))
    for other in left_out:  # a file that is given by itself is read, although its folder leaves it out
        key = _make_key(other.path)
        if key not in unique:
            others.setdefault(key, other)
    return FoundFiles(tuple(unique.values()), (*others.values(), *twice))


def _make_key(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))


def _walk(folder: str, found: list[FoundFile], left_out: list[LeftOut], *, videos: bool) -> None:
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
        if not names:
            left_out.append(LeftOut(path, EMPTY_FOLDER))
        reasons = [(entry.path, explain_skip(entry, videos=videos)) for entry in names]
        stack.extend(path for path, reason in reasons if not reason)
        left_out.extend(LeftOut(path, reason) for path, reason in reversed(reasons) if reason)


def explain_skip(entry: os.DirEntry, *, videos: bool = False) -> str:
    """Why an entry of a folder is not taken; "" for a folder to walk and for what has the name of a photograph.

    With `videos`, and the extra `[video]`, the name of a video counts as well.
    """
    try:
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name.startswith("."):
            return HIDDEN_FOLDER if is_folder else HIDDEN
        if is_folder:
            return ""
        if entry.is_dir():
            return LINKED_FOLDER
        suffix = Path(entry.name).suffix.lower()
        if suffix in PHOTO_SUFFIXES or (videos and suffix in VIDEO_SUFFIXES and can_read_videos()):
            return ""
        if not entry.is_file():
            return f"a link: {MISSING}" if entry.is_symlink() else NOT_REGULAR
    except OSError as error:
        return f"it cannot be looked at: {os.strerror(error.errno or 0).lower()}"
    if suffix in VIDEO_SUFFIXES:
        return VIDEO
    return f"{suffix} is not the suffix of a photograph" if suffix else NO_SUFFIX


def format_path(path: str) -> str:
    r"""The path as valid UTF-8, the same in every table: invalid bytes become `\xNN`."""
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return path.encode("utf-8", "backslashreplace").decode("utf-8")
