"""Photographs and names to unit vectors.

`embed(paths)` returns the vectors of photographs, `embed_batches` streams them, `embed_images` writes them to disk.
Inside: `images` (photographs), `names` (the names of a vocabulary), `journal` (resumable runs), `model_options`.
"""

from importlib import import_module

_MODULES = {
    "EmbedConfig": "linnaea.embed.images.embed_command",
    "EmbeddedBatch": "linnaea.embed.images.image_vectors",
    "embed": "linnaea.embed.images.image_vectors",
    "embed_batches": "linnaea.embed.images.image_vectors",
    "embed_images": "linnaea.embed.images.embed_command",
    "embed_texts": "linnaea.embed.names.text_embedding",
    "load_name_table": "linnaea.embed.names.name_table",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    # Late, so that a command that needs one module of this room does not import all of them.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
