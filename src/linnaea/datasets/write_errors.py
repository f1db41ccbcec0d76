"""Write errors that name the file and the remedy. The system's own message for a full disk names neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REMEDY = "free space there, then continue with --resume"


@contextmanager
def explain_write_errors(path: Path, what: str, remedy: str = REMEDY) -> Iterator[None]:
    """Replace an OSError in the block by one that names `path`, its content (`what`) and the remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{what} cannot be written ({reason}); {remedy}"
        raise OSError(error.errno or 0, message, str(path)) from None
