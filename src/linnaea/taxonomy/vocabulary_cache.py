"""Artifact folders that are built on first use."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from linnaea.store import read_manifest, write_artifact

Built = TypeVar("Built")


def load_or_build(
    artifact_dir: Path,
    *,
    load: Callable[[Path], Built],
    build: Callable[[], Built],
    describe: Callable[[Built], dict],
    save: Callable[[Built, Path], None],
) -> Built:
    """The content of an artifact folder, which is built if it is missing; `describe` returns its manifest.

    Several processes may build at the same time: each writes its own copy, and all of them end with one of the equal
    copies. If the folder cannot be written, the result stays in memory, with a warning.
    """
    if (found := load_finished(artifact_dir, load)) is not None:
        return found
    built = build()
    try:
        with write_artifact(artifact_dir, describe(built), owned=True) as made_dir:
            save(built, made_dir)
    except OSError as error:
        if (found := load_finished(artifact_dir, load)) is not None:
            return found
        warnings.warn(f"cannot keep {artifact_dir} ({error}); set LINNAEA_CACHE to a writable folder", stacklevel=2)
        return built
    found = load_finished(artifact_dir, load)
    return built if found is None else found


def load_finished(artifact_dir: Path, load: Callable[[Path], Built]) -> Built | None:
    """The content of a finished artifact folder; None if there is none.

    Tries several times within 0.1 s, because another process may be replacing the folder by an equal copy.
    """
    for _ in range(5):
        try:
            if read_manifest(artifact_dir) is not None:
                return load(artifact_dir)
            if not artifact_dir.exists():
                return None
        except FileNotFoundError:
            pass
        except OSError:
            return None
        time.sleep(0.02)
    return None
