"""Calibrations of image encoders and the 8-bit encoders made with them: cache artifacts, one per model.

A calibration (`plans.npz`) holds the quantization parameters of each layer. Its manifest records the number of
photographs and the layers that stay in floating point. The quantized encoder is beside it, in its runtime's format.

Shape suffixes: b images, h w pixels, c channels, i a layer's inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from linnaea.model.graphs.quantization import LayerPlan, ProbeGraph, build_dynamic_graph, observe, plan_layers
from linnaea.model.graphs.vision_transformer import build_vision_graph
from linnaea.model.runtimes.encoder_cache import encoder_dir
from linnaea.model.runtimes.image_encoders import GetImages, OnnxImageEncoder, TransformerSource, find_weights_dir
from linnaea.store import hash_bytes, read_manifest, write_artifact

PLANS = "plans.npz"
LEAST_IMAGES = 8
FILES = {"onnxruntime-int8": "image.onnx", "openvino-w8a8": "image.xml"}
FIELDS = ("low", "high", "noise")


def calibration_hash(source: TransformerSource) -> str:
    """The hash of the cached calibration of an encoder; "" if there is none."""
    return (read_manifest(encoder_dir(source, "calibration")) or {}).get("plans_hash", "")


def load_plans(source: TransformerSource) -> dict[str, LayerPlan] | None:
    """The cached calibration of an encoder; None if there is none."""
    folder = encoder_dir(source, "calibration")
    if read_manifest(folder) is None:
        return None
    with np.load(folder / PLANS) as arrays:
        layers = [name.removesuffix(".smooth") for name in arrays if name.endswith(".smooth")]
        return {
            layer: LayerPlan(
                smooth_i=arrays[f"{layer}.smooth"],
                **dict(zip(FIELDS, arrays[f"{layer}.range"].tolist(), strict=True)),
            )
            for layer in layers
        }


def calibrate(source: TransformerSource, images_bhwc: np.ndarray) -> dict[str, LayerPlan]:
    """Calibrate an encoder on photographs, in full precision, and cache the result."""
    probe = build_vision_graph(source.weights, source.config, make_graph=ProbeGraph)
    encoder = OnnxImageEncoder(probe, weights_dir=find_weights_dir(source.weights))
    plans = plan_layers(source.weights, observe(encoder.outputs, images_bhwc))
    arrays = {f"{layer}.smooth": plan.smooth_i for layer, plan in plans.items()}
    arrays |= {f"{layer}.range": np.array([getattr(plan, key) for key in FIELDS]) for layer, plan in plans.items()}
    manifest = {
        "kind": "tower calibration",
        "model_hash": source.hash,
        "n_images": len(images_bhwc),
        "images_hash": hash_bytes(np.ascontiguousarray(images_bhwc).tobytes()),
        "plans_hash": hash_bytes(*(part for name in sorted(arrays) for part in (name, arrays[name].tobytes()))),
        "floating_point": [layer for layer, plan in plans.items() if plan.keep],
    }
    with write_artifact(encoder_dir(source, "calibration"), manifest, owned=True) as folder:
        np.savez(folder / PLANS, **arrays)
    return plans


def quantized_model(source: TransformerSource, runtime: str, images: GetImages | None) -> Path:
    """The file of the 8-bit encoder. Builds it and its calibration if the cache lacks them.

    Raises ValueError if a calibration is needed and `images` returns too few photographs.
    """
    plans = None
    if not calibration_hash(source):
        sample = images() if images is not None else np.zeros((0,))
        if len(sample) < LEAST_IMAGES:
            raise ValueError(
                f"--runtime {runtime} needs one calibration on at least {LEAST_IMAGES} photographs, but only "
                f"{len(sample)} can be read here; start with a larger folder, or omit --runtime"
            )
        plans = calibrate(source, sample)
    plans_hash = calibration_hash(source)
    folder = encoder_dir(source, f"{runtime}-{plans_hash}")
    if read_manifest(folder) is None:
        plans = plans or load_plans(source)
        manifest = {"kind": "image tower", "model_hash": source.hash, "runtime": runtime, "plans_hash": plans_hash}
        with write_artifact(folder, manifest, owned=True) as made:
            WRITERS[runtime](source, plans, made / FILES[runtime])
    return folder / FILES[runtime]


def _write_onnx(source: TransformerSource, plans: Mapping[str, LayerPlan], path: Path) -> None:
    with path.with_name(f"{path.name}.data").open("wb") as data:
        model = build_dynamic_graph(source.weights, source.config, plans, data)
    path.write_bytes(model.SerializeToString())


def _write_openvino(source: TransformerSource, plans: Mapping[str, LayerPlan], path: Path) -> None:
    from openvino import save_model

    from linnaea.model.runtimes.openvino_encoder import build_quantized

    save_model(build_quantized(source.weights, source.config, plans), path, compress_to_fp16=False)


WRITERS: dict[str, Callable] = {"onnxruntime-int8": _write_onnx, "openvino-w8a8": _write_openvino}
