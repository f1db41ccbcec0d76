"""Checkpoints from the Hugging Face hub: downloaded once, checked by hash, then the same commit every time, offline.

huggingface_hub resolves the location, commit and hash of a file and reads HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE. The
transfer itself is done here, because it can continue a download of an earlier run. A checkpoint is a folder in the
cache with its manifest written last. A checkpoint in the hub's own cache (`HF_HOME`) is used from there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from linnaea.model.core.safetensors import hash_sha256
from linnaea.model.formats.open_clip import TOKENIZER, WEIGHTS
from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG, needs_tokenizer
from linnaea.store import MANIFEST, default_cache_dir, read_manifest, write_json
from linnaea.terminal import Progress

logger = logging.getLogger(__name__)

HUB = "hf-hub:"
REPOSITORY = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
# Number of digits of a commit hash.
GIT_SHA1 = 40
PART = ".part"
TRIES = 5
PAUSE_S = 1.0
TIMEOUT_S = 30.0

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A checkpoint on this machine: its folder, its repository and its commit."""

    checkpoint_dir: Path
    repository: str
    commit: str


def fetch_checkpoint(name: str, report: Report | None = None) -> Fetched:
    """The checkpoint `owner/name` or `owner/name@revision`, downloaded if it is not on this machine.

    Without a revision, it is the commit that was downloaded first; `@main` asks the hub for the newest. `report(file,
    done, total)` receives the number of bytes. Raises ValueError for a repository, revision or checkpoint that does not
    exist and for a file with the wrong hash, ConnectionError if files are missing and the hub cannot be reached.
    """
    match = REPOSITORY.fullmatch(name)
    if match is None:
        raise ValueError(f"{HUB}{name} must be {HUB}owner/name or {HUB}owner/name@revision")
    repository, revision = match["name"], match["revision"]
    pin = _repository_dir(repository) / "pin.json"
    wanted = revision or _read_pin(pin) or _cached_commit(repository, "main")
    here = _find(repository, wanted) if wanted and len(wanted) == GIT_SHA1 else None
    fetched = here or _fetch(repository, wanted or "main", report or DownloadProgress())
    if revision is None and _read_pin(pin) is None:
        with suppress(OSError):
            write_json(pin, {"commit": fetched.commit})
    return fetched


def _repository_dir(repository: str) -> Path:
    return default_cache_dir() / "hub" / repository.replace("/", "--")


def _read_pin(path: Path) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(path.read_text(encoding="utf-8"))["commit"])
    return None


# --- Checkpoints on this machine


def _find(repository: str, commit: str) -> Fetched | None:
    """The checkpoint at a commit, if all of it is in Linnaea's cache or in the hub's."""
    folder = _repository_dir(repository) / commit
    if manifest := read_manifest(folder):
        for file, expected in manifest["files"].items():
            _check(folder / file, expected, repository)
        return Fetched(checkpoint_dir=folder, repository=repository, commit=commit)
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, file, revision=commit) for file in (OPEN_CLIP_CONFIG, *WEIGHTS)]
    paths = [Path(path) for path in found if isinstance(path, str)]
    if len(paths) < 2 or paths[0].name != OPEN_CLIP_CONFIG:
        return None
    for path in paths[:2]:
        # in the hub's cache, files are links to contents named by their hash
        _check(path, path.resolve().name, repository)
    return Fetched(checkpoint_dir=paths[0].parent, repository=repository, commit=commit)


def _cached_commit(repository: str, revision: str) -> str | None:
    """The commit of a revision in the hub's own cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, OPEN_CLIP_CONFIG, revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def _check(path: Path, expected: str, repository: str) -> None:
    """Raise ValueError, and remove the file, if its content does not have the hash that the hub gives.

    The hash is SHA-256, or git's for small files. Any other text is not a hash, and nothing is checked.
    """
    content = path.resolve()
    if not content.is_file():
        raise ValueError(f"{path} is missing; remove its folder to download it again")
    if re.fullmatch(r"[0-9a-f]{64}", expected):
        found = hash_sha256(content)
    elif re.fullmatch(r"[0-9a-f]{40}", expected):
        data = content.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    else:
        return
    if found != expected:
        for damaged in (path, content, path.parent / MANIFEST):
            damaged.unlink(missing_ok=True)
        raise ValueError(
            f"{HUB}{repository}: {path.name} has the wrong hash ({found[:12]}, not {expected[:12]}) and was removed; "
            "run again to download it again"
        )


# --- Downloads


class _AbsentError(ValueError):
    """The repository has no such file."""


def _fetch(repository: str, revision: str, report: Report) -> Fetched:
    """Download the checkpoint at a revision, unless it is on this machine."""
    from huggingface_hub.utils import WeakFileLock

    try:
        commit = _read_metadata(repository, OPEN_CLIP_CONFIG, revision).commit_hash
    except ConnectionError:
        commit = _cached_commit(repository, revision)
        here = _find(repository, commit) if commit else None
        if here is None:
            raise
        return here
    if here := _find(repository, commit):
        return here
    folder = _repository_dir(repository) / commit
    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder / ".lock"):
        if here := _find(repository, commit):
            return here
        hashes = {OPEN_CLIP_CONFIG: _fetch_file(repository, OPEN_CLIP_CONFIG, commit, folder, report)}
        if needs_tokenizer(folder / OPEN_CLIP_CONFIG):
            with suppress(_AbsentError):
                hashes[TOKENIZER] = _fetch_file(repository, TOKENIZER, commit, folder, report)
        for file in WEIGHTS:
            with suppress(_AbsentError):
                hashes[file] = _fetch_file(repository, file, commit, folder, report)
                break
        else:
            raise ValueError(
                f"{HUB}{repository} has no weights in open_clip's format ({', '.join(WEIGHTS[:3])}); "
                "give another repository"
            )
        write_json(
            folder / MANIFEST, {"kind": "checkpoint", "repository": repository, "commit": commit, "files": hashes}
        )
    return Fetched(checkpoint_dir=folder, repository=repository, commit=commit)


def _read_metadata(repository: str, file: str, revision: str):
    """The hub's facts about a file: commit_hash, etag (its hash), size, location."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        return get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=TIMEOUT_S)
    except (OSError, ValueError, RuntimeError, errors.HTTPError, errors.EntryNotFoundError) as error:
        raise _explain(error, repository, file, revision) from None


def _fetch_file(repository: str, file: str, commit: str, checkpoint_dir: Path, report: Report) -> str:
    """Download a file, continuing an earlier download; returns its hash. Raises _AbsentError if it does not exist."""
    from huggingface_hub import errors

    path, part_path = checkpoint_dir / file, checkpoint_dir / f"{file}{PART}"
    found = _read_metadata(repository, file, commit)
    if not path.exists():
        tries = 0
        while (before := part_path.stat().st_size if part_path.exists() else 0) != found.size:
            try:
                _transfer(found.location, part_path, found.size, partial(report, file))
            except (OSError, RuntimeError, errors.HTTPError) as error:
                tries = 0 if part_path.exists() and part_path.stat().st_size > before else tries + 1
                if tries >= TRIES:
                    raise _explain(error, repository, file, commit) from None
                time.sleep(PAUSE_S * 2**tries)
                # the location may expire after an hour
                found = _read_metadata(repository, file, commit)
        part_path.replace(path)
    _check(path, found.etag, repository)
    return found.etag


def _transfer(url: str, part_path: Path, size: int, report: Callable[[int, int], None]) -> None:
    """Append the missing bytes to a partial file until it has `size`. Raises OSError if the transfer fails."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers

    # send the token only to the hub, not to the store that it redirects to
    at_hub = urlsplit(url).netloc == urlsplit(constants.ENDPOINT).netloc
    headers = build_hf_headers() if at_hub else {}
    with part_path.open("ab") as out:
        done = out.tell()
        if done > size:
            done = out.truncate(0)
        headers |= {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
            response.raise_for_status()
            if done and response.status_code != 206:
                done = out.truncate(0)
            for chunk in response.iter_raw():
                out.write(chunk)
                done += len(chunk)
                report(done, size)
    if done != size:
        raise OSError(f"received {done:,} of {size:,} bytes")


class DownloadProgress:
    """A report that shows the progress of each file in megabytes, unless notices are turned off."""

    def __init__(self) -> None:
        self._file = ""
        self._progress: Progress | None = None

    def __call__(self, file: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of a file are here."""
        if file != self._file:
            logger.info(f"downloading {file} ({total / 1e6:,.0f} MB)")
            quiet = not logger.isEnabledFor(logging.INFO)
            self._file, self._progress = file, Progress(round(total / 1e6), "MB", quiet=quiet)
        self._progress.advance(int(done / 1e6) - self._progress.done)
        if done >= total:
            self._progress.close()


def _explain(error: Exception, repository: str, file: str, revision: str) -> Exception:
    """The error as one line that names the repository or file and the remedy."""
    from huggingface_hub import errors

    where = f"{HUB}{repository}"
    if isinstance(error, errors.GatedRepoError):
        return ValueError(f"{where} needs its terms accepted: accept them on its page and set HF_TOKEN")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ValueError(f"{where} does not exist or is private: check the name, or set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"{where} has no revision {revision!r}; omit it, or give a branch, tag or commit")
    if isinstance(error, errors.EntryNotFoundError):
        if file == OPEN_CLIP_CONFIG:
            return ValueError(f"{where} is not an open_clip checkpoint (it has no {file}); give another repository")
        return _AbsentError(f"{where} has no {file}")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ConnectionError(
            f"{where} is not on this machine and HF_HUB_OFFLINE is set; unset it, or give a folder with --model DIR"
        )
    reason = (str(error).strip() or type(error).__name__).split("\n")[0]
    return ConnectionError(
        f"{where}: {file} could not be downloaded ({reason}); run again to continue, what was received is kept"
    )
