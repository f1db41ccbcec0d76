"""What makes two runs the same, and what may be resumed or overwritten."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

from linnaea import __version__
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.naming.namer import Namer
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.photo_files import format_path
from linnaea.store import MANIFEST, get_manifest_path, hash_bytes

# Options that change nothing in the rows. `runtime` is what the user asked for; the runtime that was selected is a
# field of its own.
NOT_IN_HASH = (
    *("out", "resume", "overwrite", "quiet", "table", "report", "names", "runtime", "unmatched"),
    *("events", "independent_events", "independent_after", "independent_of", "sort_into", "sort_by", "sort_with"),
)
# Options that are files: their content counts, not their name.
FILES = ("among", "labels", "occurrences", "boxes", "deployments", "detector")
# The format of a batch in the journal of a run.
JOURNAL_FORMAT = 5
# Bytes of an input file that are hashed, beside its size.
HASHED_BYTES = 1 << 24


def make_run_identity(config: IdentifyConfig, model: Model, namer: Namer) -> dict:
    """What must be equal for two runs to give the same rows, and a hash of it."""
    options = {}
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        if option.name in FILES and value:
            value = hash_input(value) or str(value)
        if option.name not in NOT_IN_HASH:
            options[option.name] = [format_path(str(v)) for v in value] if option.name in ("paths", "within") else value
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


def choose_names_mode(wanted: str, before: Mapping) -> str:
    """The table mode for `--names`. `before` is the identity of the run to resume, or empty."""
    # With another table, which may have been made since, the resumed run would be another run.
    if wanted == "auto" and before.get("names") in ("full", "staged"):
        return before["names"]
    return wanted


def hash_input(path: str | os.PathLike) -> str:
    """A hash of a file's content, or of a folder's manifest; "" if there is neither."""
    path = os.path.join(path, MANIFEST) if os.path.isdir(path) else path
    if not os.path.isfile(path):  # False, without an error, for a list of names that is too long for a path
        return ""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        return hash_bytes(str(size), handle.read(HASHED_BYTES))


def list_differences(interrupted: Mapping, identity: Mapping) -> str:
    """The options in which the interrupted run and this one differ, as text for an error message."""
    same_version = all(interrupted.get(key) == identity[key] for key in ("version", "journal"))
    old, new = interrupted["options"], json.loads(json.dumps(identity["options"], default=str))
    changed = [f"--{name.strip('_').replace('_', '-')}" for name in new if old.get(name) != new[name]]
    if interrupted.get("runtime") != identity["runtime"]:
        changed.append("--runtime")
    what = ", ".join(changed).replace("--paths", "the paths")
    return what or ("the model or the vocabulary" if same_version else "the versions of Linnaea")


def check_output_folder(out_path: Path) -> None:
    """Raise FileExistsError if `out_path` is a folder that holds something other than a Camtrap DP package."""
    if out_path.is_dir() and any(out_path.iterdir()) and not (out_path / "datapackage.json").exists():
        raise FileExistsError(f"{out_path} holds something else than a Camtrap DP package; choose another --out")


def read_finished_manifest(out_path: Path) -> dict:
    """The manifest of the run that wrote `out_path`; empty if there is none."""
    try:
        return json.loads(get_manifest_path(out_path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
