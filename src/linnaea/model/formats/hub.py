"""Checkpoints from the Hugging Face hub: fetched once, checked by hash, and then the same commit every time, offline.

huggingface_hub says where a file lies, under which commit and with which hash, and heeds HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE. The bytes are fetched here, because its own transfers begin anew in every run and these go on where the last one
stopped. A checkpoint is a folder in the cache whose manifest is written last; one that lies in the hub's own cache (`HF_HOME`),
where other programs have put it, is used there.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from linnaea.model.core.safetensors import sha256_of
from linnaea.model.formats.open_clip import WEIGHTS
from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG
from linnaea.store import MANIFEST, default_cache_dir, read_manifest, write_json

HUB = "hf-hub:"
REPOSITORY = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
# Digits of a commit.
GIT_SHA1 = 40
PART = ".part"
TRIES = 5
PAUSE_S = 1.0
TIMEOUT_S = 30.0

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A checkpoint on this machine: its folder, its repository and the commit it stands at."""

    directory: Path
    repository: str
    commit: str


def fetch_checkpoint(name: str, report: Report | None = None) -> Fetched:
    """The checkpoint `owner/name` or `owner/name@revision`, fetched where it is not here yet.

    Without a revision it is the commit that was here first; `@main` asks the hub anew. `report(file, done, total)` hears of
    the bytes that came. Raises ValueError for a repository, revision or checkpoint that does not exist and for a file
    that is not what the hub says, ConnectionError where the hub cannot be reached and the files are not here.
    """
    match = REPOSITORY.fullmatch(name)
    if match is None:
        raise ValueError(f"{HUB}{name} is no repository; give {HUB}owner/name or {HUB}owner/name@revision")
    repository, revision = match["name"], match["revision"]
    pin = _folder(repository) / "pin.json"
    wanted = revision or _read_pin(pin) or _cached_commit(repository, "main")
    here = _find(repository, wanted) if wanted and len(wanted) == GIT_SHA1 else None
    fetched = here or _fetch(repository, wanted or "main", report or _print_progress)
    if revision is None and _read_pin(pin) is None:
        with suppress(OSError):
            write_json(pin, {"commit": fetched.commit})
    return fetched


def _folder(repository: str) -> Path:
    return default_cache_dir() / "hub" / repository.replace("/", "--")


def _read_pin(path: Path) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(path.read_text(encoding="utf-8"))["commit"])
    return None


# --- What is here


def _find(repository: str, commit: str) -> Fetched | None:
    """The checkpoint at a commit if it is here whole: in our cache or in the hub's."""
    folder = _folder(repository) / commit
    if manifest := read_manifest(folder):
        for file, expected in manifest["files"].items():
            _check(folder / file, expected, repository)
        return Fetched(directory=folder, repository=repository, commit=commit)
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, file, revision=commit) for file in (OPEN_CLIP_CONFIG, *WEIGHTS)]
    paths = [Path(path) for path in found if isinstance(path, str)]
    if len(paths) < 2 or paths[0].name != OPEN_CLIP_CONFIG:
        return None
    for path in paths[:2]:
        # there the name of the content is its hash, where the file system has links
        _check(path, path.resolve().name, repository)
    return Fetched(directory=paths[0].parent, repository=repository, commit=commit)


def _cached_commit(repository: str, revision: str) -> str | None:
    """The commit that a revision had when another program put it into the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, OPEN_CLIP_CONFIG, revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def _check(path: Path, expected: str, repository: str) -> None:
    """Raises ValueError, and removes the file, where its bytes have not the hash that the hub gives: SHA-256, or git's own for
    small files. Anything else is no hash and is not checked."""
    content = path.resolve()
    if not content.is_file():
        raise ValueError(f"{path} is gone; remove its folder, and it is fetched anew")
    if re.fullmatch(r"[0-9a-f]{64}", expected):
        found = sha256_of(content)
    elif re.fullmatch(r"[0-9a-f]{40}", expected):
        data = content.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    else:
        return
    if found != expected:
        for damaged in (path, content, path.parent / MANIFEST):
            damaged.unlink(missing_ok=True)
        raise ValueError(
            f"{HUB}{repository}: {path.name} is not what the hub says it is (hash {found[:12]}, not {expected[:12]}); it was "
            "removed, run again to fetch it anew"
        )


# --- What is fetched


class _Absent(ValueError):
    """The repository has no such file."""


def _fetch(repository: str, revision: str, report: Report) -> Fetched:
    """The checkpoint as the hub has it under a revision."""
    from huggingface_hub.utils import WeakFileLock

    try:
        commit = _metadata(repository, OPEN_CLIP_CONFIG, revision).commit_hash
    except ConnectionError:
        commit = _cached_commit(repository, revision)
        here = _find(repository, commit) if commit else None
        if here is None:
            raise
        return here
    if here := _find(repository, commit):
        return here
    folder = _folder(repository) / commit
    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder / ".lock"):
        if here := _find(repository, commit):
            return here
        hashes = {OPEN_CLIP_CONFIG: _fetch_file(repository, OPEN_CLIP_CONFIG, commit, folder, report)}
        for file in WEIGHTS:
            with suppress(_Absent):
                hashes[file] = _fetch_file(repository, file, commit, folder, report)
                break
        else:
            raise ValueError(
                f"{HUB}{repository} has no weights in open_clip's format ({', '.join(WEIGHTS[:3])}); give another repository"
            )
        write_json(
            folder / MANIFEST, {"kind": "checkpoint", "repository": repository, "commit": commit, "files": hashes}
        )
    return Fetched(directory=folder, repository=repository, commit=commit)


def _metadata(repository: str, file: str, revision: str):
    """What the hub says of a file: commit_hash, etag (its hash), size, location."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        return get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=TIMEOUT_S)
    except (OSError, ValueError, RuntimeError, errors.HTTPError, errors.EntryNotFoundError) as error:
        raise _explain(error, repository, file, revision) from None


def _fetch_file(repository: str, file: str, commit: str, folder: Path, report: Report) -> str:
    """Fetches a file into the folder, going on with what an earlier run left; its hash by the hub's word. Raises _Absent."""
    from huggingface_hub import errors

    path, part = folder / file, folder / f"{file}{PART}"
    found = _metadata(repository, file, commit)
    if not path.exists():
        tries = 0
        while (before := part.stat().st_size if part.exists() else 0) != found.size:
            try:
                _transfer(found.location, part, found.size, partial(report, file))
            except (OSError, RuntimeError, errors.HTTPError) as error:
                tries = 0 if part.exists() and part.stat().st_size > before else tries + 1
                if tries >= TRIES:
                    raise _explain(error, repository, file, commit) from None
                time.sleep(PAUSE_S * 2**tries)
                # what it was redirected to may have been good for an hour only
                found = _metadata(repository, file, commit)
        part.replace(path)
    _check(path, found.etag, repository)
    return found.etag


def _transfer(url: str, part: Path, size: int, report: Callable[[int, int], None]) -> None:
    """Appends to `part` what it lacks of `size` bytes. Raises OSError where it cannot."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers

    # the token is for the hub alone, not for the store that it redirects to
    at_hub = urlsplit(url).netloc == urlsplit(constants.ENDPOINT).netloc
    headers = build_hf_headers() if at_hub else {}
    with part.open("ab") as out:
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
        raise OSError(f"{done:,} of {size:,} bytes came")


def _print_progress(file: str, done: int, total: int) -> None:
    """One line on stderr that grows old in place, for people only."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r{file}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", end=end, file=sys.stderr, flush=True)


def _explain(error: Exception, repository: str, file: str, revision: str) -> Exception:
    """The error in one line that names what was asked for and the remedy."""
    from huggingface_hub import errors

    where = f"{HUB}{repository}"
    if isinstance(error, errors.GatedRepoError):
        return ValueError(f"{where} is given to those who accepted its terms; accept them on its page and set HF_TOKEN")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ValueError(f"{where} is no repository of the hub, or a private one: check the name, or set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"{where} has no revision {revision!r}; leave it out, or give a branch, tag or commit")
    if isinstance(error, errors.EntryNotFoundError):
        if file == OPEN_CLIP_CONFIG:
            return ValueError(f"{where} is no open_clip checkpoint (it has no {file}); give another repository")
        return _Absent(f"{where} has no {file}")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ConnectionError(
            f"{where} is not here and HF_HUB_OFFLINE is set; unset it once, or give a folder with --model DIR"
        )
    reason = (str(error).strip() or type(error).__name__).split("\n")[0]
    return ConnectionError(
        f"{where}: {file} could not be fetched ({reason}); run again once the hub can be reached, what has come is kept"
    )
