"""Small networks in the layouts of YOLO's exports, for tests of detectors."""

import numpy as np

# Two boxes in an input of 64 × 64: (left, top, right, bottom, confidence, class).
FOUND = [(8, 16, 40, 48, 0.9, 0), (50, 20, 60, 44, 0.6, 1)]


def write_network(path, output, *, names=None, size=(64, 64), kind="float32"):
    """A network that returns `output`, plus nothing times the mean of its input."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    element = TensorProto.FLOAT16 if kind == "float16" else TensorProto.FLOAT
    constant = numpy_helper.from_array(np.asarray(output, kind), "found")
    zero = numpy_helper.from_array(np.zeros((), kind), "zero")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["found", "nothing"], ["output"]),
    ]
    inputs = [helper.make_tensor_value_info("images", element, [1, 3, *size])]
    outputs = [helper.make_tensor_value_info("output", element, list(np.shape(output)))]
    model = helper.make_model(
        helper.make_graph(nodes, "detector", inputs, outputs, [constant, zero]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    if names:
        helper.set_model_props(model, {"names": str(names)})
    onnx.save(model, path)
    return path


def list_candidates(layout, n=2000, fraction=False):
    """The boxes of FOUND among candidates of no confidence, in a layout."""
    scale = 64 if fraction else 1
    rows = np.zeros((n, 8), np.float32)
    for i, (left, top, right, bottom, confidence, category) in enumerate(FOUND):
        centre = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]) / scale
        for copy in range(2):  # the second is suppressed
            rows[10 * i + copy, :4] = centre + copy / scale
            rows[10 * i + copy, 4] = 1.0
            rows[10 * i + copy, 5 + category] = confidence - 0.1 * copy
    if layout == "v5":
        return rows[None]
    if layout == "v8":
        return np.delete(rows, 4, axis=1).T[None]
    return np.array([FOUND + [(0, 0, 0, 0, 0, 0)] * 8], np.float32)
