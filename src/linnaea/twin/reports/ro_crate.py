"""The provenance of a run's files as an RO-Crate: program, plan, scenario and files in one JSON-LD file."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from linnaea import __version__
from linnaea.store import write_json
from linnaea.twin.runs.results import Run
from linnaea.twin.runs.run_folder import PLAN
from linnaea.twin.scenarios.scenario_file import format_duration

CRATE = "ro-crate-metadata.json"
FORMATS = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".nc": "application/x-netcdf",
    ".md": "text/markdown",
    ".html": "text/html",
    ".json": "application/json",
    ".toml": "application/toml",
}
ABOUT = {
    "series": "numbers and biomass, births and deaths since the start, of every member",
    "summary": "mean and quantiles over the members",
    "health": "susceptible, ill, recovered and vaccinated animals",
    "deaths": "deaths by cause",
    "flows": "energy from the eaten to the eater",
    "foods": "biomass of foods",
    "traits": "heritable traits",
    "members": "seeds and failures",
    "unverified": "values without a source",
    "world": "series and maps, CF",
    "paths": "paths of animals, CF",
    "odd": "description of the model after the ODD protocol",
    "report": "report to read",
    "plan": "the requested run",
    "manifest": "list of the files",
}


def write_crate(run: Run, files: Iterable[Path]) -> Path:
    """Write the crate's metadata (RO-Crate 1.1) into the run's folder and return its path."""
    names = sorted({PLAN, *(path.name for path in files), *([run.plan.scenario] if run.plan.scenario else [])})
    parts = [{"@id": name} for name in names]
    inputs = [{"@id": name} for name in (PLAN, run.plan.scenario) if name]
    graph = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": run.title,
            "hasPart": parts,
            "mentions": {"@id": "#run"},
            "description": f"{run.data.about}. {len(run.members)} simulations of {format_duration(run.hours)}; "
            f"{len(run.data.unmeasured())} values of the world were never checked against a source.",
            "datePublished": time.strftime("%Y-%m-%d"),
        },
        {"@id": "#linnaea", "@type": "SoftwareApplication", "name": "linnaea", "softwareVersion": __version__},
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"linnaea twin run, seed {run.plan.seed}",
            "instrument": {"@id": "#linnaea"},
            "object": inputs,
            "result": [one for one in parts if one not in inputs],
        },
        *[
            {
                "@id": name,
                "@type": "File",
                "encodingFormat": FORMATS.get(Path(name).suffix, "application/octet-stream"),
                "name": ABOUT.get(Path(name).stem, name),
            }
            for name in names
        ],
    ]
    path = run.run_dir / CRATE
    write_json(path, {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph})
    return path
