"""Errors of writing that name the file and the remedy: a full disk says neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REMEDY = "make room there, then go on with --resume"


@contextmanager
def writing(path: Path, what: str, remedy: str = REMEDY) -> Iterator[None]:
    """Turns an OSError of the block into one that names `path`, what it is and how the run goes on."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        said = f"{what} cannot be written ({reason}); {remedy}"
        raise OSError(error.errno or 0, said, str(path)) from None
