"""Names and their tree: vocabularies, lineages, ranks, and the look-up of names.

`load_vocabulary` reads the default vocabulary or a file. `Vocabulary.resolve` finds the taxa that a name means.
"""

_EXPORTS = {
    "Resolution": "linnaea.taxonomy.resolver",
    "Tree": "linnaea.taxonomy.tree",
    "Vocabulary": "linnaea.taxonomy.vocabulary",
    "load_vocabulary": "linnaea.taxonomy.vocabulary_factory",
    "parse_name": "linnaea.taxonomy.name_parser",
    "taxon_text": "linnaea.taxonomy.name_text",
}
__all__ = ["Resolution", "Tree", "Vocabulary", "load_vocabulary", "parse_name", "taxon_text"]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
