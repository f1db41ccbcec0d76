"""The folder of a run: what it holds, which members are finished, and whether a new plan may use it.

It holds `plan.json` (the plan), the scenario's file, `members/0000` … (one artifact for each member that is finished or
failed), `checkpoints/0000` … (each member's last good state, from which it goes on) and `manifest.json`, written last.
`linnaea.twin.runs.results` reads it back; `linnaea.twin.reports.run_files` adds tables and maps.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from linnaea.store import atomic_path, read_manifest, write_json
from linnaea.twin.engine.workers import find_lock_holder
from linnaea.twin.runs.plan import RunPlan
from linnaea.twin.scenarios.scenario_file import format_duration

KIND, MEMBER_KIND = "twin-run", "twin-member"
PLAN = "plan.json"
OTHER_OUT = "choose another --out"


def get_member_dir(run_dir: Path, member: int) -> Path:
    """Return the folder of a finished member."""
    return run_dir / "members" / f"{member:04d}"


def get_checkpoint_dir(run_dir: Path, member: int) -> Path:
    """Return the folder of a member's checkpoint."""
    return run_dir / "checkpoints" / f"{member:04d}"


def get_lock_path(run_dir: Path, member: int) -> Path:
    """Return the lock that a process holds while it computes a member."""
    return run_dir / "checkpoints" / f"{member:04d}.lock"


def is_finished(run_dir: Path, plan: RunPlan, member: int) -> bool:
    """Return whether a member has reached the end of the plan, or failed."""
    manifest = read_manifest(get_member_dir(run_dir, member))
    return manifest is not None and manifest.get("hours", plan.hours) >= plan.hours


def find_unfinished(run_dir: Path, plan: RunPlan) -> list[int]:
    """Return the members that are still to be run."""
    return [member for member in range(plan.members) if not is_finished(run_dir, plan, member)]


def read_plan(run_dir: Path) -> RunPlan | None:
    """Read the plan of the run in a folder; None if there is none."""
    if not (run_dir / PLAN).is_file():
        return None
    stored = json.loads((run_dir / PLAN).read_text("utf-8"))
    return RunPlan(**{**stored, "settings": tuple((name, value) for name, value in stored["settings"])})


def prepare_run_dir(
    run_dir: Path, plan: RunPlan, scenario_path: Path | None, resume: bool, replace: bool = False
) -> None:
    """Prepare a folder for a plan.

    With `resume` an existing run goes on; with `replace` it is deleted. Without either, a finished run of the same plan
    is kept. Raise ValueError, and change nothing, if the folder holds anything else.
    """
    if run_dir.is_file():
        raise ValueError(f"{run_dir} is a file, not a folder; {OTHER_OUT}")
    kept = read_plan(run_dir)
    if kept is not None:
        _reuse(run_dir, kept, plan, resume, replace)
    elif run_dir.is_dir() and any(run_dir.iterdir()):
        raise ValueError(f"{run_dir} holds something else (no {PLAN}); {OTHER_OUT}")
    run_dir.mkdir(parents=True, exist_ok=True)
    if scenario_path is not None:
        with atomic_path(run_dir / plan.scenario) as temporary:
            temporary.write_bytes(scenario_path.read_bytes())
    write_json(run_dir / PLAN, asdict(plan))


def _reuse(run_dir: Path, kept: RunPlan, plan: RunPlan, resume: bool, replace: bool) -> None:
    """Make the folder of an existing run ready for a plan. Raise ValueError if that is not allowed."""
    for lock_path in sorted((run_dir / "checkpoints").glob("*.lock")):
        if process := find_lock_holder(lock_path):
            raise ValueError(f"{run_dir} is being computed by process {process}; wait for it, end it, or {OTHER_OUT}")
    if replace:
        for name in ("members", "checkpoints"):
            shutil.rmtree(run_dir / name, ignore_errors=True)
    elif resume:
        _check_same(kept, plan, run_dir)
        for member in range(plan.members):
            if (read_manifest(get_member_dir(run_dir, member)) or {}).get("failure"):
                shutil.rmtree(get_member_dir(run_dir, member))
    elif read_manifest(run_dir) is None:
        raise ValueError(
            f"{run_dir} holds an unfinished run; --resume goes on with it, --replace deletes it, or {OTHER_OUT}"
        )
    elif kept != plan:
        raise ValueError(
            f"{run_dir} holds a finished run ({Path(kept.world).stem}, seed {kept.seed}, {kept.members} members of "
            f"{format_duration(kept.hours)}); --resume adds members or years to it, --replace deletes it, or "
            f"{OTHER_OUT}"
        )
    (run_dir / "manifest.json").unlink(missing_ok=True)


# Field of the plan -> how a run with this value was begun.
_BEGUN = {
    "world": "of the world {}",
    "seed": "with --seed {}",
    "every_h": "with {} h between records",
    "followed": "with --follow {}",
    "area_share": "with --area {}",
    "settings": "with the settings {}",
    "scenario": "with the scenario {}",
}
_BEGUN_OTHERWISE = {
    "world_hash": "with other data of its world",
    "scenario_hash": "with another content of its scenario",
    "code_hash": "by another version of the rules",
}


def _check_same(kept: RunPlan, plan: RunPlan, run_dir: Path) -> None:
    """Raise ValueError unless the two plans differ in nothing but more members and years."""
    for key, wanted in asdict(plan).items():
        found = getattr(kept, key)
        if found == wanted or key in ("members", "hours"):
            continue
        if key in _BEGUN_OTHERWISE:
            raise ValueError(
                f"{run_dir} was begun {_BEGUN_OTHERWISE[key]}; --replace deletes it and begins again, or {OTHER_OUT}"
            )
        shown = [
            ", ".join(f"{n}={v:g}" for n, v in value) if key == "settings" else str(value) for value in (found, wanted)
        ]
        raise ValueError(
            f"{run_dir} was begun {_BEGUN[key].format(shown[0] or 'none')}, not {shown[1] or 'none'}; go on with the "
            f"same, or {OTHER_OUT}"
        )
    if plan.hours < kept.hours:
        raise ValueError(
            f"{run_dir} is planned for {format_duration(kept.hours)}, more than {format_duration(plan.hours)}; a run "
            f"can be prolonged, not shortened; {OTHER_OUT}"
        )
