"""Builds the ONNX graphs of the image encoder and the text encoder, with numpy and onnx only.

Shape suffixes: b rows (images or texts), t tokens, s tokens that are attended to, h heads, e head width, w width.
"""

from __future__ import annotations

import numpy as np

from linnaea.model.core.safetensors import StoredTensor, Weights, as_array

OPSET = 17
IR_VERSION = 9
MICROSOFT = "com.microsoft"
ACTIVATIONS = ("gelu", "quick_gelu", "gelu_tanh")
NORM_EPS = 1e-5
ONNX_TYPES = {"float32": 1, "float16": 10, "bfloat16": 16}


class Graph:
    """An ONNX graph under construction. Methods that add nodes return the name of the output.

    `weights` maps names to arrays, which are written into the graph (as float16 with `half`), or to tensors on disk,
    which the graph refers to by file, offset and length. With `rows_out`, matrices are [out, in], as in torch. `fused`
    allows onnxruntime's own operators, which are faster there and unknown to some other runtimes.
    """

    def __init__(self, weights: Weights, *, half: bool = False, rows_out: bool = False, fused: bool = False):
        from onnx import helper, numpy_helper

        self._helper, self._from_array = helper, numpy_helper.from_array
        # Added to the variance in every norm.
        self.eps = NORM_EPS
        self.nodes: list = []
        self.initializers: list = []
        self.weights, self.half, self.rows_out, self.fused = weights, half, rows_out, fused
        self._count = 0
        self._made: dict[tuple, str] = {}

    def array(self, name: str) -> np.ndarray:
        """The values of a weight, float32."""
        return np.asarray(as_array(self.weights[name]), np.float32)

    def op(self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes) -> str:
        """Add a node of any kind; returns the name of its output."""
        self._count += 1
        output = output or f"{kind.lower()}{self._count}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def split(self, x: str, n: int, axis: int = -1) -> list[str]:
        """`n` equal parts of `x`."""
        self._count += 1
        outputs = [f"split{self._count}.{part}" for part in range(n)]
        self.nodes.append(self._helper.make_node("Split", [x], outputs, axis=axis))
        return outputs

    def constant(self, value, dtype=np.int64) -> str:
        """A constant. Equal constants are added once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._made:
            self._count += 1
            self._made[key] = self.initializer(f"c{self._count}", array)
        return self._made[key]

    def initializer(self, name: str, array: np.ndarray) -> str:
        """An array in the graph."""
        self.initializers.append(self._from_array(np.asarray(array, order="C"), name))
        return name

    def weight(self, name: str) -> str:
        """A weight as float32."""
        if name not in self._made:
            stored = self._add_stored(name)
            self._made[name] = stored if stored == name else self.op("Cast", stored, output=name, to=1)
        return self._made[name]

    def rows(self, name: str, indices: str) -> str:
        """Rows of a table as float32. Only these rows are converted to float32."""
        rows = self.op("Gather", self._add_stored(name), indices, axis=0)
        return rows if self._add_stored(name) == name else self.op("Cast", rows, to=1)

    def _add_stored(self, name: str) -> str:
        """The initializer of a weight in its stored type: `name` for float32, else another name."""
        value = self.weights[name]
        narrow = value.dtype != "float32" if isinstance(value, StoredTensor) else self.half
        stored = f"{name}.stored" if narrow else name
        if stored in self._made:
            return stored
        self._made[stored] = stored
        if isinstance(value, StoredTensor):
            self.initializers.append(_make_reference(stored, value))
        else:
            self.initializer(stored, np.asarray(value).astype(np.float16 if narrow else np.float32))
        return stored

    def matmul(self, x: str, name: str, *, rows_out: bool = False) -> str:
        """`x` [..., in] times the matrix `name`, [in, out] or, with `rows_out`, [out, in]."""
        if not rows_out:
            return self.op("MatMul", x, self.weight(name))
        if self.fused:
            return self.op("FusedMatMul", x, self.weight(name), domain=MICROSOFT, transB=1)
        return self.op("MatMul", x, self.op("Transpose", self.weight(name), perm=[1, 0]))

    def linear(self, x: str, name: str) -> str:
        """`x` [..., in] times the matrix `name`.weight, plus `name`.bias. All large products go through this method."""
        return self.op("Add", self.matmul(x, f"{name}.weight", rows_out=self.rows_out), self.weight(f"{name}.bias"))

    def norm(self, x: str, name: str) -> str:
        """Layer norm over the last axis."""
        return self.op(
            "LayerNormalization",
            x,
            self.weight(f"{name}.weight"),
            self.weight(f"{name}.bias"),
            axis=-1,
            epsilon=self.eps,
        )

    def activation(self, x: str, kind: str) -> str:
        """`gelu` x·Φ(x) with the error function, `gelu_tanh` with tanh, `quick_gelu` x·σ(1.702x) as in OpenAI's."""
        if kind == "gelu_tanh":
            return self._apply_tanh_gelu(x)
        if kind == "quick_gelu":
            return self.op("Mul", x, self.op("Sigmoid", self.op("Mul", x, self.constant(1.702, np.float32))))
        if kind != "gelu":
            raise ValueError(f"unknown activation {kind!r}; choose one of {', '.join(ACTIVATIONS)}")
        erf = self.op("Erf", self.op("Div", x, self.constant(2**0.5, np.float32)))
        doubled = self.op("Mul", x, self.op("Add", erf, self.constant(1.0, np.float32)))
        return self.op("Mul", doubled, self.constant(0.5, np.float32))

    def _apply_tanh_gelu(self, x: str) -> str:
        """x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), torch's GELU with approximate="tanh"."""
        one = self.constant(1.0, np.float32)
        cubic = self.op("Mul", self.op("Mul", x, x), self.constant(0.044715, np.float32))
        inner = self.op("Mul", x, self.op("Add", cubic, one))
        curve = self.op("Tanh", self.op("Mul", inner, self.constant((2 / np.pi) ** 0.5, np.float32)))
        return self.op("Mul", self.op("Mul", x, self.constant(0.5, np.float32)), self.op("Add", curve, one))

    def heads(self, x: str, n_heads: int, width: int) -> str:
        """[b, t, w] as [b, h, t, e]."""
        split = self.op("Reshape", x, self.constant([0, 0, n_heads, width // n_heads]))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def attend(self, q: str, keys: str, values: str, width: int, head_width: int, mask: str = "") -> str:
        """Attention of `q` [b, h, t, e] over `keys` and `values` [b, h, s, e], as [b, t, w].

        `mask` is added to the scores.
        """
        q = self.op("Mul", q, self.constant(head_width**-0.5, np.float32))
        scores = self.op("MatMul", q, self.op("Transpose", keys, perm=[0, 1, 3, 2]))
        if mask:
            scores = self.op("Add", scores, mask)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), values)
        return self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.constant([0, 0, width]))

    def self_attention(self, q: str, k: str, v: str, n_heads: int, width: int) -> str:
        """Attention of `q` [b, t, w] over `k` and `v` [b, s, w] without a mask, as [b, t, w]."""
        if self.fused:
            return self.op("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=n_heads)
        q, k, v = (self.heads(part, n_heads, width) for part in (q, k, v))
        return self.attend(q, k, v, width, width // n_heads)

    def feed_forward(self, x: str, block: str, activation: str) -> str:
        """The residual stream after the second half of a block: norm, up, activation, down."""
        hidden = self.activation(self.linear(self.norm(x, f"{block}.norm2"), f"{block}.up"), activation)
        return self.op("Add", x, self.linear(hidden, f"{block}.down"))

    def model(self, name: str, inputs: list, outputs: list):
        """The finished ONNX model."""
        graph = self._helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        opsets = [self._helper.make_opsetid("", OPSET)]
        if any(node.domain == MICROSOFT for node in self.nodes):
            opsets.append(self._helper.make_opsetid(MICROSOFT, 1))
        return self._helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _make_reference(name: str, tensor: StoredTensor):
    """An initializer whose values stay in their file. The runtime looks for the file in the folder of the graph."""
    from onnx import TensorProto

    proto = TensorProto(name=name, data_type=ONNX_TYPES[tensor.dtype], dims=tensor.shape)
    proto.data_location = TensorProto.EXTERNAL
    location = {"location": tensor.path.name, "offset": tensor.offset, "length": tensor.n_bytes}
    for key, value in location.items():
        entry = proto.external_data.add()
        entry.key, entry.value = key, str(value)
    return proto


def check_shapes(weights: Weights, expected: dict[str, tuple[int, ...]], encoder: str) -> None:
    """Raise ValueError that names the weights that are missing or do not have the shape of the config."""
    if missing := [name for name in expected if name not in weights]:
        raise ValueError(f"the {encoder} lacks weights that its config needs: {', '.join(missing[:5])}")
    wrong = {
        name: tuple(weights[name].shape) for name, shape in expected.items() if tuple(weights[name].shape) != shape
    }
    if wrong:
        shapes = ", ".join(f"{name} {shape} instead of {expected[name]}" for name, shape in list(wrong.items())[:5])
        raise ValueError(f"{encoder} weights do not have the shapes of the config: {shapes}")


def transformer_weights(n_layers: int, width: int, hidden: int, *, rows_out: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of an encoder's blocks."""

    def order(n_in: int, n_out: int) -> tuple[int, int]:
        return (n_out, n_in) if rows_out else (n_in, n_out)

    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(n_layers):
        block = f"block{layer}"
        shapes |= {f"{block}.{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
        shapes |= {f"{block}.qkv.weight": order(width, 3 * width), f"{block}.qkv.bias": (3 * width,)}
        shapes |= {f"{block}.out.weight": order(width, width), f"{block}.out.bias": (width,)}
        shapes |= {f"{block}.up.weight": order(width, hidden), f"{block}.up.bias": (hidden,)}
        shapes |= {f"{block}.down.weight": order(hidden, width), f"{block}.down.bias": (width,)}
    return shapes
