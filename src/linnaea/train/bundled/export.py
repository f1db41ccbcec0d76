"""Trained towers to the model folder that `linnaea.model.formats.model_folder` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linnaea.model.core.contract import ModelCard, Preprocess
from linnaea.model.formats.model_folder import write_config, write_familiar
from linnaea.model.graphs.efficientnet import N_FEATURES, build_trunk_graph
from linnaea.model.graphs.text_transformer import OPSET, build_text_graph


def image_model(trunk_weights, projector, preprocess: Preprocess, *, half: bool = True, mirror: bool = True):
    """An ONNX model from uint8 `images` [b, s, s, 3] to unit `vectors` [b, d]: normalisation, trunk, projector.

    `mirror` averages the vectors of each image and of its mirror image: twice the arithmetic, a steadier answer.
    """
    from onnx import TensorProto, helper, numpy_helper

    trunk = build_trunk_graph(trunk_weights)
    nodes, initializers = [], []

    def tensor(name: str, value) -> str:
        initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(kind: str, *inputs: str, output: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    mean, std = (255 * np.array(x, np.float32) for x in (preprocess.mean, preprocess.std))
    shape = (1, 3, 1, 1)
    x = op("Cast", op("Transpose", "images", output="channels_first", perm=[0, 3, 1, 2]), output="floats", to=1)
    x = op("Sub", x, tensor("pixel_mean", mean.reshape(shape)), output="centred")
    op("Div", x, tensor("pixel_std", std.reshape(shape)), output="pixels")
    nodes += list(trunk.node)
    for weight in trunk.initializer:
        value = numpy_helper.to_array(weight)
        if half and value.ndim == 4:
            initializers.append(numpy_helper.from_array(value.astype(np.float16), weight.name + ".half"))
            nodes.insert(0, helper.make_node("Cast", [weight.name + ".half"], [weight.name], to=1))
        else:
            initializers.append(weight)
    folded = _fold_standardisation(projector)
    kind = np.float16 if half else np.float32

    def matrix(name: str) -> str:
        return op("Cast", tensor(f"{name}.stored", folded[name].astype(kind)), output=name, to=1)

    linear = op(
        "Gemm", "features", matrix("linear.weight"), tensor("linear.bias", folded["linear.bias"]), output="linear"
    )
    up = op("Gemm", "features", matrix("up.weight"), tensor("up.bias", folded["up.bias"]), output="up")
    down_inputs = (op("Relu", up, output="hidden"), matrix("down.weight"), tensor("down.bias", folded["down.bias"]))
    total = op("Add", linear, op("Gemm", *down_inputs, output="down"), output="projected")
    op("LpNormalization", total, output="vectors", axis=-1, p=2)
    size = preprocess.size
    graph = helper.make_graph(
        nodes,
        "image_tower",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", size, size, 3])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", folded["linear.bias"].shape[0]])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return with_mirror(model) if mirror else model


def with_mirror(model):
    """The image model whose vectors are the unit means of those of each image and of its mirror image."""
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
    """The projector's weights [in, out] with (x - mean) / std folded into its first layers."""
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
    directory: Path, *, trunk_weights, model, tokenizer_path: Path, card: ModelCard, familiar: list[tuple[str, ...]]
) -> None:
    """Writes a model folder; `familiar` are the lineages of the species that training named. `config.json` comes last."""
    import onnx

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(image_model(trunk_weights, model.projector, card.preprocess), str(directory / "image.onnx"))
    onnx.save(build_text_graph(model.text.graph_weights(), model.text.config), str(directory / "text.onnx"))
    if tokenizer_path.resolve() != (directory / "tokenizer.json").resolve():
        (directory / "tokenizer.json").write_bytes(tokenizer_path.read_bytes())
    write_familiar(directory, familiar)
    write_config(directory, card, model.text.config)
