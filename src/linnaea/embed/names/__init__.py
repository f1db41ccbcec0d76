"""Names to vectors: tables of a vocabulary's names, made once and found again.

`resolve_name_table` finds the table for a model and a vocabulary, `make_table` makes it, and `load_published` reads a
published one. `embed_texts` embeds single texts.
"""

import importlib

_MODULES = {
    "CandidateNameTable": "candidate_table",
    "CompactTable": "compact_table",
    "FullTable": "name_table",
    "GenusFirstTable": "genus_first_table",
    "NamesConfig": "precomputed_names",
    "PublishedTable": "published_table",
    "embed_leaves": "text_embedding",
    "embed_texts": "text_embedding",
    "load_compact_table": "compact_table",
    "load_name_table": "name_table",
    "load_published": "published_table",
    "make_table": "name_table",
    "resolve_name_table": "precomputed_names",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    # Imported on first use: a program that needs one module does not load the others.
    if name in _MODULES:
        return getattr(importlib.import_module(f"linnaea.embed.names.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
