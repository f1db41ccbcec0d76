"""What does a file with 8 bits per weight cost? Compare top-1 with the stored and with rounded image tower weights.

    python benchmarks/weight_precision.py --model src/linnaea/model/bundled

Top-1 is among each set's own names. Each output channel of a convolution or matrix has its own scale. Biases and
arithmetic do not change, so that only the file would shrink. `--whole` also names with the same model exported with
float32 weights, to show the loss by float16.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from bundled_model import ROOT, write_manifest
from linnaea.evaluate.label_evaluation import evaluate_labels
from linnaea.evaluate.truth import read_examples, to_examples
from linnaea.evaluate.zeroshot import embed_examples
from linnaea.model.loading import load_model
from linnaea.taxonomy.vocabulary_factory import load_vocabulary


def rounded_to_8_bits(weight: np.ndarray) -> np.ndarray:
    """Round a kernel [out, in, h, w] or matrix [in, out] to 127 steps on each side of zero per output channel."""
    axes = tuple(range(1, weight.ndim)) if weight.ndim == 4 else (0,)
    step = np.abs(weight.astype(np.float32)).max(axis=axes, keepdims=True) / 127
    return (np.round(weight / np.maximum(step, 1e-12)) * step).astype(weight.dtype)


def round_folder(source: Path, target: Path) -> int:
    """Copy a model folder with rounded image weights; return the bytes that these would take."""
    import onnx
    from onnx import numpy_helper

    shutil.copytree(source, target, dirs_exist_ok=True)
    model = onnx.load(str(target / "image.onnx"))
    n_bytes = 0
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim in (2, 4) and value.size > 1000:
            n_bytes += value.size
            tensor.CopyFrom(numpy_helper.from_array(rounded_to_8_bits(value), tensor.name))
        else:
            n_bytes += value.nbytes
    onnx.save(model, str(target / "image.onnx"))
    return n_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "src" / "linnaea" / "model" / "bundled")
    parser.add_argument("--whole", type=Path, help="the same model with weights in float32")
    parser.add_argument("--images", type=Path, default=ROOT.parent / "shared" / "data" / "images")
    options = parser.parse_args()
    (ROOT / "build").mkdir(exist_ok=True)
    manifest = ROOT / "build" / "photographs.csv"
    sets = write_manifest(options.images, manifest)
    with tempfile.TemporaryDirectory() as folder:
        n_bytes = round_folder(options.model, Path(folder) / "rounded")
        kinds = {"as stored": options.model, "8 bits": Path(folder) / "rounded"}
        if options.whole:
            kinds = {"float32": options.whole, **kinds}
        models = {kind: load_model(str(path)) for kind, path in kinds.items()}
        stored = (options.model / "image.onnx").stat().st_size
        print(f"image.onnx {stored / 1e6:.1f} MB; with 8 bits a weight about {n_bytes / 1e6:.1f} MB")
        print("| set | n | " + " | ".join(f"{kind} %" for kind in kinds) + " | minimum cosine to the first |")
        print("| --- | --- |" + " --- |" * (len(kinds) + 1))
        vocabulary = load_vocabulary("inat")
        for name in sets:
            examples, _ = to_examples(read_examples(manifest, ("split=val", f"set={name}")), vocabulary)
            vectors = [embed_examples(model, examples, options.images, 32)[0] for model in models.values()]
            cells = []
            for model, vectors_nd in zip(models.values(), vectors, strict=True):
                report, _ = evaluate_labels(model, examples, vectors_nd, "auto")
                cells.append(f"{100 * report['top1']['value']:.1f}")
            least = min(float((vectors[0] * other).sum(1).min()) for other in vectors[1:])
            print("| " + " | ".join([name, str(len(examples)), *cells, f"{least:.4f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()
