"""What makes two runs the same, and what may go on or be overwritten."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from linnaea import __version__
from linnaea.embed.journal import get_journal_dir, read_state
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.naming.namer import Namer
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.photo_files import printable_path
from linnaea.store import MANIFEST, get_manifest_path, hash_bytes

# Options that change nothing in the rows.
# `runtime` is what the user asked for; what it came to is a fact of its own.
NOT_IN_HASH = ("out", "resume", "overwrite", "quiet", "table", "report", "names", "runtime")
# Options that are files: their content counts, not their name.
FILES = ("among", "labels", "occurrences", "boxes")
# Of a batch in the journal of a run.
JOURNAL_FORMAT = 2


def make_run_identity(config: IdentifyConfig, model: Model, namer: Namer) -> dict:
    """What must be equal for two runs to give the same rows, and a hash of it."""
    options = {}
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        if option.name in FILES and value:
            value = hash_of_input(value) or str(value)
        if option.name not in NOT_IN_HASH:
            options[option.name] = (
                [printable_path(str(v)) for v in value] if option.name in ("paths", "within") else value
            )
    facts = {
        "options": options,
        "model": model.card.hash,
        "card": hash_bytes(json.dumps(dataclasses.asdict(model.card), sort_keys=True, default=str)),
        "runtime": getattr(model, "runtime", DEFAULT_RUNTIME),
        "names": namer.kind,
        "vocabulary": namer.hash,
        "version": __version__,
        "journal": JOURNAL_FORMAT,
    }
    return facts | {"hash": hash_bytes(json.dumps(facts, sort_keys=True, default=str))}


def hash_of_input(path: str | os.PathLike) -> str:
    """A hash of a file's content, or of a folder's manifest; "" where there is neither."""
    path = os.path.join(path, MANIFEST) if os.path.isdir(path) else path
    if not os.path.isfile(path):  # nor raised by names that are too long for a path
        return ""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        return hash_bytes(str(size), handle.read(1 << 24))


def difference(journal: Path, waiting: dict, identity: dict) -> str:
    """One line that names the options in which the broken run and this one differ."""
    same_version = all(waiting.get(key) == identity[key] for key in ("version", "journal"))
    old, new = waiting["options"], json.loads(json.dumps(identity["options"], default=str))
    changed = [f"--{name.strip('_').replace('_', '-')}" for name in new if old.get(name) != new[name]]
    if waiting.get("runtime") != identity["runtime"]:
        changed.append("--runtime")
    what = ", ".join(changed).replace("--paths", "the paths")
    what = what or ("the model or the vocabulary" if same_version else "the versions of Linnaea")
    return (
        f"{journal} belongs to a run with other options ({what} differ); repeat them, or replace "
        "--resume by --overwrite to start again"
    )


def check_free(config: IdentifyConfig) -> None:
    """Raises FileExistsError where `config.out`, or a broken run of it, would be lost."""
    out, folder = config.out, get_journal_dir(config.out)
    if out.is_dir() and any(out.iterdir()) and not (out / "datapackage.json").exists():
        raise FileExistsError(f"{out} holds something else than a Camtrap DP package; choose another --out")
    if config.resume or config.overwrite:
        return
    if read_state(folder) is not None:
        raise FileExistsError(f"{folder} holds a broken run; add --resume to go on or --overwrite to start again")
    if out.exists():
        raise FileExistsError(f"{out} is there already; choose another --out or add --overwrite")


def read_finished_manifest(out: Path) -> dict:
    """What the run that wrote `out` left beside it; empty where there is nothing."""
    try:
        return json.loads(get_manifest_path(out).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def get_finished_exit_code(config: IdentifyConfig, identity: dict) -> int:
    """The exit code of the run that wrote `config.out`. Raises FileExistsError where other options wrote it."""
    manifest = read_finished_manifest(config.out)
    if manifest.get("hash") != identity["hash"]:
        raise FileExistsError(
            f"{config.out} is there already, from other options; choose another --out, or --overwrite without --resume"
        )
    return 0 if manifest["counts"].get("identified", 0) + manifest["counts"].get("unidentified", 0) else 1
