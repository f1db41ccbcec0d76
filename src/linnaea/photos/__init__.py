"""Photographs on disk: which files there are, and their pixels.

`find_images(paths)` lists the photographs in files and folders; `decode_image(path)` returns an upright RGB image or
`Unreadable` with the reason; `read_size(path)` reads the header alone.
"""

from importlib import import_module

_MODULES = {
    "FoundFile": "linnaea.photos.photo_files",
    "Unreadable": "linnaea.photos.decoding",
    "decode_image": "linnaea.photos.decoding",
    "find_images": "linnaea.photos.photo_files",
    "read_size": "linnaea.photos.decoding",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    # Late: Pillow and numpy are not needed by every command.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
