"""How good vectors and names are, measured on labelled photographs.

`benchmark(ZeroshotConfig(...))` measures naming; `simpleshot` and `mean_average_precision` measure vectors without
names; `share_with_interval` gives a share with its 95 % interval.
"""

from importlib import import_module

_MODULES = {
    "ZeroshotConfig": "linnaea.evaluate.zeroshot_config",
    "benchmark": "linnaea.evaluate.zeroshot",
    "expected_calibration_error": "linnaea.evaluate.metrics",
    "mean_average_precision": "linnaea.evaluate.neighbours",
    "share_with_interval": "linnaea.evaluate.metrics",
    "simpleshot": "linnaea.evaluate.neighbours",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    # Late, so that a stage that needs one module of this room does not import all of them.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
