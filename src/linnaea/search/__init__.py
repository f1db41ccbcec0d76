"""Nearest vectors, and the scores of a million taxa.

`ExactIndex` and `FaissIndex` find the nearest vectors, with the contract `Index`. `Scorer` turns image vectors into
`Scores`: the probabilities of taxa at every rank.
"""

import importlib

_MODULES = {
    "ExactIndex": "index",
    "FaissIndex": "faiss_index",
    "Index": "index",
    "Scorer": "scorer",
    "Scores": "scorer",
    "compute_reference": "reference",
    "load_faiss_index": "faiss_index",
    "merge_summaries": "scorer",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    # Imported on first use: a program that needs one module does not load the others.
    if name in _MODULES:
        return getattr(importlib.import_module(f"linnaea.search.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
