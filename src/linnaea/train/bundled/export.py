"""Export of the trained encoders to the model folder that `linnaea.model.formats.model_folder` reads.

Shape suffixes in names of tensors: b images, s pixels of a side, d vector dimensions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linnaea.model.core.contract import ModelCard, Preprocess
from linnaea.model.formats.model_folder import write_config, write_familiar
from linnaea.model.graphs.efficientnet import N_FEATURES, build_trunk_graph
from linnaea.model.graphs.text_transformer import OPSET, build_text_graph
from linnaea.store import atomic_path


class _ImageGraph:
    """The nodes and initializers of the image graph under construction. Matrices are stored as float16 with `half`."""

    def __init__(self, *, half: bool):
        self.nodes, self.initializers, self._half = [], [], half

    def tensor(self, name: str, value) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, output: str, **attributes) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def matrix(self, name: str, value: np.ndarray) -> str:
        stored = self.tensor(f"{name}.stored", value.astype(np.float16 if self._half else np.float32))
        return self.op("Cast", stored, output=name, to=1)

    def normalise(self, preprocess: Preprocess) -> None:
        """Add the nodes from `images` to `pixels`."""
        mean, std = (255 * np.array(x, np.float32) for x in (preprocess.mean, preprocess.std))
        shape = (1, 3, 1, 1)
        x = self.op("Transpose", "images", output="channels_first", perm=[0, 3, 1, 2])
        x = self.op("Cast", x, output="floats", to=1)
        x = self.op("Sub", x, self.tensor("pixel_mean", mean.reshape(shape)), output="centred")
        self.op("Div", x, self.tensor("pixel_std", std.reshape(shape)), output="pixels")

    def add_trunk(self, trunk_weights) -> None:
        """Add the nodes from `pixels` to `features`. Filters are stored as float16 with `half`."""
        from onnx import helper, numpy_helper

        trunk = build_trunk_graph(trunk_weights)
        self.nodes += list(trunk.node)
        for weight in trunk.initializer:
            value = numpy_helper.to_array(weight)
            if self._half and value.ndim == 4:
                self.initializers.append(numpy_helper.from_array(value.astype(np.float16), weight.name + ".half"))
                self.nodes.insert(0, helper.make_node("Cast", [weight.name + ".half"], [weight.name], to=1))
            else:
                self.initializers.append(weight)

    def project(self, folded: dict[str, np.ndarray]) -> None:
        """Add the nodes from `features` to `vectors`."""

        def layer(name: str, x: str) -> str:
            weight = self.matrix(f"{name}.weight", folded[f"{name}.weight"])
            bias = self.tensor(f"{name}.bias", folded[f"{name}.bias"])
            return self.op("Gemm", x, weight, bias, output=name)

        linear = layer("linear", "features")
        hidden = self.op("Relu", layer("up", "features"), output="hidden")
        total = self.op("Add", linear, layer("down", hidden), output="projected")
        self.op("LpNormalization", total, output="vectors", axis=-1, p=2)


def image_model(trunk_weights, projector, preprocess: Preprocess, *, half: bool = True, mirror: bool = True):
    """Build an ONNX model from uint8 `images` [b, s, s, 3] to unit `vectors` [b, d]: normalisation, trunk, projector.

    `mirror` averages the vectors of each image and its mirror image: twice the operations, a more stable result.
    """
    from onnx import TensorProto, helper

    folded, size = _fold_standardisation(projector), preprocess.size
    parts = _ImageGraph(half=half)
    parts.normalise(preprocess)
    parts.add_trunk(trunk_weights)
    parts.project(folded)
    graph = helper.make_graph(
        parts.nodes,
        "image_tower",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", size, size, 3])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", folded["linear.bias"].shape[0]])],
        parts.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return add_mirror(model) if mirror else model


def add_mirror(model):
    """Change an image model in place: its vectors become the unit means over each image and its mirror image."""
    from onnx import helper, numpy_helper

    graph = model.graph
    for node in graph.node:
        node.input[:] = ["both_sides" if name == "images" else name for name in node.input]
        node.output[:] = ["unit_vectors" if name == "vectors" else name for name in node.output]
    # steps of -1 along the width, from the last column to before the first
    for name, value in (("from", -1), ("to", np.iinfo(np.int64).min), ("along", 2), ("steps", -1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"mirror.{name}"))
    first = [
        helper.make_node("Slice", ["images", "mirror.from", "mirror.to", "mirror.along", "mirror.steps"], ["mirrored"]),
        helper.make_node("Concat", ["images", "mirrored"], ["both_sides"], axis=0),
    ]
    last = [
        helper.make_node("Split", ["unit_vectors"], ["plain_vectors", "mirrored_vectors"], axis=0),
        helper.make_node("Add", ["plain_vectors", "mirrored_vectors"], ["summed_vectors"]),
        helper.make_node("LpNormalization", ["summed_vectors"], ["vectors"], axis=-1, p=2),
    ]
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _fold_standardisation(projector) -> dict[str, np.ndarray]:
    """Return the projector's weights [in, out] with (x - mean) / std folded into its first layers."""
    state = {name: value.detach().cpu().numpy().astype(np.float64) for name, value in projector.state_dict().items()}
    mean, std = state["mean"], state["std"]
    assert mean.shape == (N_FEATURES,)
    out = {}
    for name in ("linear", "up"):
        weight = state[f"{name}.weight"] / std
        out[f"{name}.weight"] = weight.T.astype(np.float32)
        out[f"{name}.bias"] = (state[f"{name}.bias"] - weight @ mean).astype(np.float32)
    out["down.weight"] = state["down.weight"].T.astype(np.float32)
    out["down.bias"] = state["down.bias"].astype(np.float32)
    return out


def export_model(
    model_dir: Path, *, trunk_weights, model, tokenizer_path: Path, card: ModelCard, familiar: list[tuple[str, ...]]
) -> None:
    """Write a model folder; `familiar` are the lineages of the species in training. `config.json` is written last."""
    import onnx

    model_dir = Path(model_dir)
    graphs = {
        "image.onnx": image_model(trunk_weights, model.projector, card.preprocess),
        "text.onnx": build_text_graph(model.text.export_weights(), model.text.config),
    }
    for name, graph in graphs.items():
        with atomic_path(model_dir / name) as temporary:
            onnx.save(graph, str(temporary))
    if tokenizer_path.resolve() != (model_dir / "tokenizer.json").resolve():
        with atomic_path(model_dir / "tokenizer.json") as temporary:
            temporary.write_bytes(tokenizer_path.read_bytes())
    write_familiar(model_dir, familiar)
    write_config(model_dir, card, model.text.config)
