"""Calibrations of image towers and the 8-bit towers made with them: artifacts of the cache, one a model.

A calibration (`plans.npz`) says how each layer is quantised; its manifest says from how many photographs, and which layers stay
in floating point. A tower made with it lies beside it, in its runtime's own format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from linnaea.model.graphs.quantization import FORMAT, LayerPlan, ProbeGraph, build_dynamic_graph, observe, plan_layers
from linnaea.model.graphs.vision_transformer import build_vision_graph
from linnaea.model.runtimes.image_encoders import GetImages, OnnxTower, Transformer, weights_dir
from linnaea.store import default_cache_dir, hash_bytes, read_manifest, write_artifact

PLANS = "plans.npz"
LEAST_IMAGES = 8
FILES = {"onnxruntime-int8": "image.onnx", "openvino-w8a8": "image.xml"}
FIELDS = ("low", "high", "noise")


def tower_folder(source: Transformer, what: str) -> Path:
    """Where the cache keeps something made of a tower."""
    return default_cache_dir() / "towers" / f"{source.hash}-{what}-{FORMAT}"


def calibration_hash(source: Transformer) -> str:
    """The hash of a tower's kept calibration; "" where there is none."""
    return (read_manifest(tower_folder(source, "calibration")) or {}).get("plans_hash", "")


def load_plans(source: Transformer) -> dict[str, LayerPlan] | None:
    """The kept calibration of a tower, None where there is none."""
    folder = tower_folder(source, "calibration")
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


def calibrate(source: Transformer, images_bhwc: np.ndarray) -> dict[str, LayerPlan]:
    """The calibration of a tower from photographs, kept in the cache. Runs them in full precision."""
    probe = build_vision_graph(source.weights, source.config, make_graph=ProbeGraph)
    tower = OnnxTower(probe, weights_dir=weights_dir(source.weights))
    plans = plan_layers(source.weights, observe(tower.outputs, images_bhwc))
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
    with write_artifact(tower_folder(source, "calibration"), manifest, owned=True) as folder:
        np.savez(folder / PLANS, **arrays)
    return plans


def quantized_model(source: Transformer, runtime: str, images: GetImages | None) -> Path:
    """The file of the 8-bit tower, made if need be, its calibration too. ValueError where photographs for that are missing."""
    plans = None
    if not calibration_hash(source):
        sample = images() if images is not None else np.zeros((0,))
        if len(sample) < LEAST_IMAGES:
            raise ValueError(
                f"--runtime {runtime} must be calibrated once on {LEAST_IMAGES} photographs or more and {len(sample)} can be "
                "read here; begin with a larger folder, or leave --runtime out"
            )
        plans = calibrate(source, sample)
    plans_hash = calibration_hash(source)
    folder = tower_folder(source, f"{runtime}-{plans_hash}")
    if read_manifest(folder) is None:
        plans = plans or load_plans(source)
        manifest = {"kind": "image tower", "model_hash": source.hash, "runtime": runtime, "plans_hash": plans_hash}
        with write_artifact(folder, manifest, owned=True) as made:
            WRITERS[runtime](source, plans, made / FILES[runtime])
    return folder / FILES[runtime]


def _write_onnx(source: Transformer, plans: Mapping[str, LayerPlan], path: Path) -> None:
    with path.with_name(f"{path.name}.data").open("wb") as data:
        model = build_dynamic_graph(source.weights, source.config, plans, data)
    path.write_bytes(model.SerializeToString())


def _write_openvino(source: Transformer, plans: Mapping[str, LayerPlan], path: Path) -> None:
    from openvino import save_model

    from linnaea.model.runtimes.openvino_encoder import build_quantized

    save_model(build_quantized(source.weights, source.config, plans), path, compress_to_fp16=False)


WRITERS: dict[str, Callable] = {"onnxruntime-int8": _write_onnx, "openvino-w8a8": _write_openvino}
