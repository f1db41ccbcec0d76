"""A simulated world of single animals: build it, run it, ask it what-if questions, compare the answers.

    from linnaea import twin

    base = twin.run("tutorial", years=2, ensemble=8, out_dir="build/base")
    whatif = twin.run("tutorial", years=2, ensemble=8, out_dir="build/whatif", scenario_path="drought.toml")
    for name, difference in twin.compare(base, whatif).items():
        print(name, difference.difference, difference.low, difference.high)

Inside, from the top: `commands`, `reports`, `runs`, `scenarios`, then `assembly` (from a world file to a world),
`inference` (calibration and data assimilation) and `reference_models`, then `rules`, `meanfield` and `field` (simulated
sensors), then `data`, and at the bottom `engine`. The public names below load on first use.
"""

_EXPORTS = {
    "Difference": "runs.paired_differences",
    "Rule": "engine.world",
    "Run": "runs.results",
    "World": "engine.world",
    "advance": "engine.step",
    "build_world": "assembly.world_builder",
    "compare": "modelling",
    "list_bundled_worlds": "data.world_file",
    "load_run": "runs.results",
    "load_world": "data.world_file",
    "read_scenario": "scenarios.scenario_file",
    "run": "modelling",
    "step": "engine.step",
}
__all__ = [
    "Difference",
    "Rule",
    "Run",
    "World",
    "advance",
    "build_world",
    "compare",
    "list_bundled_worlds",
    "load_run",
    "load_world",
    "read_scenario",
    "run",
    "step",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"linnaea.twin.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
