"""EfficientNet-Lite0's trunk in torch, for fine-tuning: the graph of `linnaea.model.graphs.efficientnet`.

Its batch norms, which are affine maps at inference, are folded into the convolutions: they then cost nothing, and what
is trained is exactly what is exported. Weights are returned under the names of the published state dict, with the
statistics of the batch norms unchanged.

Shape suffixes: b batch, c channels, h w pixels, d features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from linnaea.model.graphs.efficientnet import BATCH_NORM_EPS, STAGES


def _compute_gain(weights: Mapping[str, np.ndarray], norm: str) -> np.ndarray:
    variance = weights[f"{norm}.running_var"].astype(np.float64)
    return weights[f"{norm}.weight"].astype(np.float64) / np.sqrt(variance + BATCH_NORM_EPS)


class FoldedConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding for even sizes, and with its batch norm folded in."""

    def __init__(self, conv: str, norm: str, weights: Mapping[str, np.ndarray], stride: int, *, activate: bool):
        kernel = weights[f"{conv}.weight"]
        out_channels, per_group, side, _ = kernel.shape
        groups = out_channels if per_group == 1 and side > 1 else 1
        total = side - stride
        even = total % 2 == 0
        super().__init__(per_group * groups, out_channels, side, stride, total // 2 if even else 0, groups=groups)
        self.names, self.activate = (conv, norm), activate
        self.border = None if even else (total // 2, total - total // 2) * 2
        gain = _compute_gain(weights, norm)
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(kernel * gain[:, None, None, None]))
            self.bias.copy_(torch.from_numpy(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve images [b, c, h, w]."""
        # In bfloat16 on a CPU the gradient of a depthwise filter with a stride, or on tiny inputs, takes up to ten
        # times as long.
        if (
            torch.is_autocast_enabled("cpu")
            and x.device.type == "cpu"
            and self.groups > 1
            and (self.stride[0] > 1 or x.shape[2] <= 2)
        ):
            with torch.autocast("cpu", enabled=False):
                return self._convolve(x.float())
        return self._convolve(x)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        if self.border:
            x = F.pad(x, self.border)
        if not self.weight.requires_grad and self.bias.requires_grad:
            # With the bias inside the convolution, torch computes the gradient of the kernel even if it is not needed.
            x = F.conv2d(x, self.weight, None, self.stride, self.padding, 1, self.groups)
            x = x + self.bias.to(x.dtype)[:, None, None]
        else:
            x = super().forward(x)
        return F.relu6(x, inplace=True) if self.activate else x


class InvertedResidual(nn.Module):
    """An inverted residual: expand, filter each channel, project. The input is added if `keep`."""

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], stride: int, expand: bool, keep: bool):
        super().__init__()
        layers = [FoldedConv(f"{name}._expand_conv", f"{name}._bn0", weights, 1, activate=True)] if expand else []
        layers.append(FoldedConv(f"{name}._depthwise_conv", f"{name}._bn1", weights, stride, activate=True))
        layers.append(FoldedConv(f"{name}._project_conv", f"{name}._bn2", weights, 1, activate=False))
        self.layers, self.keep = nn.Sequential(*layers), keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the block."""
        return x + self.layers(x) if self.keep else self.layers(x)


class Trunk(nn.Module):
    """The trunk. `parts` are the stem, the sixteen blocks and the head, in this order: part 0 sees the pixels."""

    def __init__(self, weights: Mapping[str, np.ndarray]):
        super().__init__()
        parts: list[nn.Module] = [FoldedConv("_conv_stem", "_bn0", weights, 2, activate=True)]
        channels = 32
        for repeats, _kernel, stride, expansion, out in STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                name = f"_blocks.{len(parts) - 1}"
                parts.append(InvertedResidual(name, weights, step, expansion != 1, step == 1 and channels == out))
                channels = out
        parts.append(FoldedConv("_conv_head", "_bn1", weights, 1, activate=True))
        self.parts = nn.ModuleList(parts)

    def forward(self, pixels_bchw: torch.Tensor) -> torch.Tensor:
        """Return features [b, 1280] within 0..6 of pixels [b, 3, h, w]; h and w must be multiples of 32."""
        return self.late(self.early(pixels_bchw, 0), 0)

    def early(self, pixels_bchw: torch.Tensor, first: int) -> torch.Tensor:
        """Return the input of part `first`."""
        for part in self.parts[:first]:
            pixels_bchw = part(pixels_bchw)
        return pixels_bchw

    def late(self, x_bchw: torch.Tensor, first: int) -> torch.Tensor:
        """Return features from the input of part `first`."""
        for part in self.parts[first:]:
            x_bchw = part(x_bchw)
        return x_bchw.mean((2, 3), dtype=torch.float32)

    @torch.no_grad()
    def published_weights(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return `weights`, from which the trunk was made, with its present convolutions and biases."""
        out = dict(weights)
        for layer in self.modules():
            if isinstance(layer, FoldedConv):
                conv, norm = layer.names
                gain = _compute_gain(weights, norm)
                kernel, bias = (value.double().numpy() for value in (layer.weight, layer.bias))
                out[f"{conv}.weight"] = (kernel / gain[:, None, None, None]).astype(np.float32)
                out[f"{norm}.bias"] = (bias + weights[f"{norm}.running_mean"] * gain).astype(np.float32)
        return out
