"""Models: images and names in, unit vectors out.

`load_model` opens the bundled weights, a model folder or an open_clip checkpoint. Inside the room, each package imports
only those before it: `core` (the contract, preprocessing, tokenizers), `graphs` (ONNX graphs of the encoders),
`runtimes` (onnxruntime, OpenVINO, torch), `formats` (model folders, checkpoints, the Hugging Face hub).
"""

_EXPORTS = {
    "FolderModel": "linnaea.model.formats.model_folder",
    "Model": "linnaea.model.core.contract",
    "ModelCard": "linnaea.model.core.contract",
    "OpenClipModel": "linnaea.model.formats.open_clip",
    "PlaceholderModel": "linnaea.model.core.placeholder",
    "Preprocess": "linnaea.model.core.contract",
    "load_model": "linnaea.model.loading",
    "preprocess_image": "linnaea.model.core.preprocessing",
    "select_runtime": "linnaea.model.runtimes.runtime_check",
}
__all__ = [
    "FolderModel",
    "Model",
    "ModelCard",
    "OpenClipModel",
    "PlaceholderModel",
    "Preprocess",
    "load_model",
    "preprocess_image",
    "select_runtime",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
