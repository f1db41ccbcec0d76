"""Photographs to names.

`identify(paths)` yields predictions; `learn(folder, out)` learns the user's own names; `load_namer` makes what turns
vectors into rows. Inside: `commands`, `output` (tables, reports), `naming` (the decision),
`detection` (boxes).
"""

from importlib import import_module

_MODULES = {
    "IdentifyConfig": "linnaea.identify.commands.config",
    "NamerConfig": "linnaea.identify.naming.namer_config",
    "Prediction": "linnaea.records",
    "identify": "linnaea.identify.commands.identify",
    "learn": "linnaea.identify.commands.learn",
    "load_namer": "linnaea.identify.naming.namer",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    # Late, so that a stage that needs one module of this room does not import all of them.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
