"""The trainable encoders of the bundled model: an image projector on trunk features and a causal text transformer.

Weight names and shapes are those of `linnaea.model.graphs.text_transformer`, so that the export is a copy.

Shape suffixes: b images, n texts, t tokens, w width, d vector dimensions.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from linnaea.model.graphs.text_transformer import TextConfig


class ImageProjector(nn.Module):
    """A linear map of trunk features plus a two-layer correction, with unit vectors as output."""

    def __init__(self, n_features: int, dim: int, hidden: int, dropout: float):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.linear = nn.Linear(n_features, dim)
        self.up = nn.Linear(n_features, hidden)
        self.down = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, features_bw: torch.Tensor) -> torch.Tensor:
        """Return unit vectors [b, d] of features."""
        x = self.dropout((features_bw - self.mean) / self.std)
        return F.normalize(self.linear(x) + self.down(self.dropout(F.relu(self.up(x)))), dim=-1)


class TextTransformer(nn.Module):
    """A causal transformer, pooled at the last token of each text."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        w = config.width
        self.token = nn.Embedding(config.n_tokens, w)
        self.position = nn.Embedding(config.context, w)
        nn.init.normal_(self.token.weight, std=0.05)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList()
        for _ in range(config.n_layers):
            block = nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(w),
                    "qkv": nn.Linear(w, 3 * w),
                    "out": nn.Linear(w, w),
                    "norm2": nn.LayerNorm(w),
                    "up": nn.Linear(w, config.mlp_ratio * w),
                    "down": nn.Linear(config.mlp_ratio * w, w),
                }
            )
            self.blocks.append(block)
        self.final_norm = nn.LayerNorm(w)
        self.projection = nn.Linear(w, config.dim, bias=False)

    def forward(self, tokens_nt: torch.Tensor, length_n: torch.Tensor) -> torch.Tensor:
        """Return unit vectors [n, d] of padded token sequences and their lengths."""
        n, t = tokens_nt.shape
        x = self.token(tokens_nt) + self.position.weight[:t]
        for block in self.blocks:
            qkv = block["qkv"](block["norm1"](x)).view(n, t, 3, self.config.n_heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
            x = x + block["out"](mixed.transpose(1, 2).reshape(n, t, -1))
            hidden = block["up"](block["norm2"](x))
            x = x + block["down"](hidden * torch.sigmoid(1.702 * hidden))
        pooled = x[torch.arange(n), length_n - 1]
        return F.normalize(self.projection(self.final_norm(pooled)), dim=-1)

    def export_weights(self) -> dict:
        """Return the weights as arrays under the names of `linnaea.model.graphs.text_transformer.expected_weights`."""
        weights = {"token": self.token.weight, "position": self.position.weight, "projection": self.projection.weight.T}
        weights |= {"final_norm.weight": self.final_norm.weight, "final_norm.bias": self.final_norm.bias}
        for index, block in enumerate(self.blocks):
            for name, layer in block.items():
                is_matrix = isinstance(layer, nn.Linear)
                weights[f"block{index}.{name}.weight"] = layer.weight.T if is_matrix else layer.weight
                weights[f"block{index}.{name}.bias"] = layer.bias
        return {name: value.detach().cpu().numpy() for name, value in weights.items()}
