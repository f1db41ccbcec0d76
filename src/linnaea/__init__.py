"""Linnaea: open software for the living world, from photographs to names, populations and a simulated ecosystem.

The functions below are the Python face of the package. They load on first use, so `import linnaea` stays light::

    import linnaea

    for prediction in linnaea.identify_photos(["photos/"]):
        print(prediction.file, prediction.name, prediction.confidence)

`linnaea.identify`, `linnaea.embed` and the other rooms are packages, and a package and a function cannot share a name.
Therefore the functions here have longer names: `identify_photos` is `linnaea.identify.identify`, `embed_photos` is
`linnaea.embed.embed`, `learn_labels` is `linnaea.identify.learn`, `run_world` is `linnaea.twin.run` and `compare_runs`
is `linnaea.twin.compare`.
"""

__version__ = "0.1.0"

# Public name -> the module and the attribute behind it.
_EXPORTS = {
    "build_world": ("linnaea.twin", "build_world"),
    "compare_runs": ("linnaea.twin", "compare"),
    "embed_photos": ("linnaea.embed", "embed"),
    "identify_photos": ("linnaea.identify", "identify"),
    "learn_labels": ("linnaea.identify", "learn"),
    "load_model": ("linnaea.model.loading", "load_model"),
    "load_vocabulary": ("linnaea.taxonomy.vocabulary_factory", "load_vocabulary"),
    "run_world": ("linnaea.twin", "run"),
}
__all__ = [
    "build_world",
    "compare_runs",
    "embed_photos",
    "identify_photos",
    "learn_labels",
    "load_model",
    "load_vocabulary",
    "run_world",
]


def __getattr__(name: str) -> object:
    """Load a public function on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _EXPORTS[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
