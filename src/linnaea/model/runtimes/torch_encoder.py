"""A transformer image encoder in torch: bfloat16 on a GPU, float32 on the CPU.

Shape suffixes: b images, h w pixels, c channels, d vector dimensions, t tokens, e head width.
"""

from __future__ import annotations

import numpy as np

from linnaea.model.core.safetensors import Weights, as_array
from linnaea.model.graphs.vision_transformer import CHANNELS, VisionConfig, fold_pixels

CHUNK = {"cuda": 256, "cpu": 8}


class TorchImageEncoder:
    """The encoder of `linnaea.model.graphs.vision_transformer`, run by torch."""

    def __init__(self, weights: Weights, config: VisionConfig, *, device: str = ""):
        import torch

        self._torch, self._config = torch, config
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        kind = torch.bfloat16 if self.device.startswith("cuda") else torch.float32

        def put(array: np.ndarray):
            return torch.from_numpy(np.array(array, np.float32)).to(self.device, kind)

        matrix, bias = fold_pixels(weights, config)
        position = np.array(as_array(weights["position"]), np.float64)
        self._patch = put(matrix.T)
        self._places = put(position[1:] + bias)
        self._class = put(position[:1] + as_array(weights["class"]))
        rest = [name for name in weights if name not in ("patch", "position", "class")]
        self._weights = {name: put(as_array(weights[name])) for name in rest}

    def _norm(self, x, name: str):
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self._torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, self._config.eps)

    def _linear(self, x, name: str):
        return self._torch.nn.functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _embed_patches(self, images):
        c = self._config
        side = c.size // c.patch
        patches = images.reshape(-1, side, c.patch, side, c.patch * CHANNELS).transpose(2, 3)
        patches = patches.reshape(-1, side * side, c.patch * c.patch * CHANNELS).to(self._patch.dtype)
        patches = patches @ self._patch.T + self._places
        first = self._class.expand(len(images), 1, c.width)
        tokens = self._torch.cat([first, patches], 1)
        return self._norm(tokens, "first_norm") if c.first_norm else tokens

    def _block(self, x, layer: int):
        functional, c, name = self._torch.nn.functional, self._config, f"block{layer}"
        q, k, v = self._linear(self._norm(x, f"{name}.norm1"), f"{name}.qkv").chunk(3, -1)
        if layer == c.n_layers - 1 and c.pool == "tok":  # only the class token's last state is read
            q, x = q[:, :1], x[:, :1]
        q, k, v = (part.unflatten(-1, (c.n_heads, -1)).transpose(1, 2) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self._linear(mixed, f"{name}.out")
        hidden = self._linear(self._norm(x, f"{name}.norm2"), f"{name}.up")
        if c.activation == "quick_gelu":
            hidden = hidden * (1.702 * hidden).sigmoid()
        else:
            hidden = functional.gelu(hidden, approximate="tanh" if c.activation == "gelu_tanh" else "none")
        return x + self._linear(hidden, f"{name}.down")

    def _pool(self, x):
        """The normed class token, or the mean of the patch tokens, normed before or after."""
        if self._config.pool == "tok":
            return self._norm(x[:, 0], "final_norm")
        if self._config.norm_after_pool:
            return self._norm(x[:, 1:].mean(1), "final_norm")
        return self._norm(x, "final_norm")[:, 1:].mean(1)

    def encode(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images."""
        features_bd = self.features(images_bhwc)
        return features_bd / np.maximum(np.linalg.norm(features_bd, axis=1, keepdims=True), 1e-12)

    def features(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Features float32 [b, d]: the output of the projection, before normalisation."""
        torch, parts = self._torch, []
        chunk = CHUNK["cuda" if self.device.startswith("cuda") else "cpu"]
        with torch.inference_mode():
            for start in range(0, max(1, len(images_bhwc)), chunk):
                x = self._embed_patches(torch.tensor(images_bhwc[start : start + chunk], device=self.device))
                for layer in range(self._config.n_layers):
                    x = self._block(x, layer)
                features = self._pool(x).float() @ self._weights["projection"].float()
                parts.append(features.cpu().numpy())
        return np.concatenate(parts)
