"""The two towers of CLIP for training, with open_clip's weight names and without superfluous operations.

- Texts are packed: their tokens are concatenated, sorted by text length, so that matrix products see no padding and
  attention runs over groups of equal length. Equal texts are computed once.
- The last block of each tower is computed only for the pooled token (the class token, the end of text). Its keys and
  values need all tokens, its queries and everything after them do not.
- With activation checkpointing, images go through the tower in parts, so that the activations of a block exist for one
  part at a time.

Shape suffixes: b images or texts, n sequences, t tokens of a sequence, r rows (tokens of all sequences), w width, h
heads, e head width, d vector dimensions.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.model.graphs.vision_transformer import CHANNELS, VisionConfig

Groups = list[tuple[int, int]]
# Images per part with activation checkpointing: enough to fill a GPU.
PART = 512


class QuickGelu(nn.Module):
    """OpenAI's activation: x · sigmoid(1.702 x)."""

    def forward(self, x_rw: torch.Tensor) -> torch.Tensor:
        """Apply the activation to each number."""
        return x_rw * torch.sigmoid(1.702 * x_rw)


class Attention(nn.Module):
    """Self-attention within each sequence of packed rows, with the weight names of torch's MultiheadAttention."""

    def __init__(self, width: int, n_heads: int, *, causal: bool):
        super().__init__()
        self.n_heads, self.causal = n_heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)

    def forward(self, x_rw: torch.Tensor, groups: Groups, pooled_n: torch.Tensor | None = None) -> torch.Tensor:
        """Return rows [r, w], or [n, w] for the row `pooled_n` of each sequence (its last row if causal)."""
        w = x_rw.shape[-1]
        if pooled_n is None:
            qkv = F.linear(x_rw, self.in_proj_weight, self.in_proj_bias)
            mixed = [
                self._attend(*part.view(n, t, 3, self.n_heads, -1).unbind(2), causal=self.causal)
                for (n, t), part in zip(groups, _split(qkv, [n * t for n, t in groups]), strict=True)
            ]
        else:
            q = F.linear(x_rw[pooled_n], self.in_proj_weight[:w], self.in_proj_bias[:w])
            kv = F.linear(x_rw, self.in_proj_weight[w:], self.in_proj_bias[w:])
            queries, rest = _split(q, [n for n, _ in groups]), _split(kv, [n * t for n, t in groups])
            # the last row of a sequence may see all of it
            mixed = [
                self._attend(
                    own.view(n, 1, self.n_heads, -1), *part.view(n, t, 2, self.n_heads, -1).unbind(2), causal=False
                )
                for (n, t), own, part in zip(groups, queries, rest, strict=True)
            ]
        return self.out_proj(mixed[0] if len(mixed) == 1 else torch.cat(mixed))

    @staticmethod
    def _attend(q_nthe, k_nthe, v_nthe, *, causal: bool) -> torch.Tensor:
        """Attend within sequences of equal length and return rows [n · t, w]."""
        parts = (part.transpose(1, 2) for part in (q_nthe, k_nthe, v_nthe))
        return F.scaled_dot_product_attention(*parts, is_causal=causal).transpose(1, 2).flatten(2).flatten(0, 1)


def _split(rows: torch.Tensor, sizes: list[int]) -> Sequence[torch.Tensor]:
    """Split rows into groups in one operation, because the gradient of each slice would be as large as the whole."""
    return (rows,) if len(sizes) == 1 else rows.split(sizes)


class ResidualAttentionBlock(nn.Module):
    """A pre-norm transformer block on packed rows."""

    def __init__(self, config: VisionConfig | TextConfig, *, causal: bool):
        super().__init__()
        w, hidden = config.width, int(config.width * config.mlp_ratio)
        self.ln_1, self.ln_2 = nn.LayerNorm(w), nn.LayerNorm(w)
        self.attn = Attention(w, config.n_heads, causal=causal)
        activation = nn.GELU() if config.activation == "gelu" else QuickGelu()
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(w, hidden), gelu=activation, c_proj=nn.Linear(hidden, w)))
        branch_std = w**-0.5 * (2 * config.n_layers) ** -0.5
        stds = {self.attn.out_proj: branch_std, self.mlp.c_fc: (2 * w) ** -0.5, self.mlp.c_proj: branch_std}
        for layer, std in stds.items():
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x_rw: torch.Tensor, groups: Groups, pooled_n: torch.Tensor | None = None) -> torch.Tensor:
        """Return all rows, or only those in `pooled_n`, one per sequence."""
        mixed = self.attn(self.ln_1(x_rw), groups, pooled_n)
        x_rw = (x_rw if pooled_n is None else x_rw[pooled_n]) + mixed
        return x_rw + self.mlp(self.ln_2(x_rw))


class TransformerStack(nn.Module):
    """Blocks, the last of which is computed for one row per sequence. `checkpointing` recomputes activations."""

    def __init__(self, config: VisionConfig | TextConfig, *, causal: bool):
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(config, causal=causal) for _ in range(config.n_layers))
        self.checkpointing = False

    def forward(self, x_rw: torch.Tensor, groups: Groups, pooled_n: torch.Tensor) -> torch.Tensor:
        """Return the pooled rows [n, w]."""
        last = len(self.resblocks) - 1
        for index, block in enumerate(self.resblocks):
            arguments = (x_rw, groups, pooled_n if index == last else None)
            if self.checkpointing and torch.is_grad_enabled():
                x_rw = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x_rw = block(*arguments)
        return x_rw


class VisionTransformer(nn.Module):
    """A vision transformer pooled at its class token, with a second projector if `replay`."""

    def __init__(self, config: VisionConfig, *, replay: bool = False):
        super().__init__()
        self.config = config
        w, std = config.width, config.width**-0.5
        self.class_embedding = nn.Parameter(std * torch.randn(w))
        self.positional_embedding = nn.Parameter(std * torch.randn(config.n_tokens, w))
        self.proj = nn.Parameter(std * torch.randn(w, config.dim))
        self.continual_proj = nn.Parameter(self.proj.detach().clone()) if replay else None
        self.conv1 = nn.Conv2d(CHANNELS, w, config.patch, config.patch, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(w), nn.LayerNorm(w)
        self.transformer = TransformerStack(config, causal=False)
        # Not in the state dict, because they belong to the config.
        self.register_buffer("mean", 255 * torch.tensor(config.mean).view(-1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(config.std).view(-1, 1), persistent=False)

    def forward(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """Return the normalised class token [b, w] of uint8 images."""
        if not self.transformer.checkpointing or len(images_bhwc) <= PART:
            return self.ln_post(self.pool(images_bhwc))
        # of nearly equal size, so that compiled blocks see few shapes
        parts = images_bhwc.chunk(math.ceil(len(images_bhwc) / PART))
        return self.ln_post(torch.cat([self.pool(part) for part in parts]))

    def patch_pixels(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """Return the normalised pixels [b, t - 1, c · patch · patch] of each patch, in the order of the weights.

        Patches do not overlap, so that the convolution is one matrix product.
        """
        b, side, p = len(images_bhwc), self.config.size // self.config.patch, self.config.patch
        squares = images_bhwc.reshape(b, side, p, side, p, CHANNELS).permute(0, 1, 3, 5, 2, 4)
        pixels = squares.reshape(b, side * side, CHANNELS, p * p).to(self.mean.dtype)
        return ((pixels - self.mean) / self.std).flatten(2)

    def pool(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """Return the class token [b, w] of uint8 images, before the last norm."""
        b, t = len(images_bhwc), self.config.n_tokens
        patches = F.linear(self.patch_pixels(images_bhwc), self.conv1.weight.flatten(1))
        first = self.class_embedding.to(patches.dtype).expand(b, 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches.dtype))
        pooled_n = torch.arange(0, b * t, t, device=x.device)
        # autocast computes norms in float32; the residual stream stays in the precision of the products
        return self.transformer(x.to(patches.dtype).flatten(0, 1), [(b, t)], pooled_n)


@dataclass(frozen=True, kw_only=True)
class PackedTexts:
    """Distinct texts in one sequence of tokens, the shortest first.

    `token_r` and `position_r` are int64 [r]. `groups` are pairs (number of texts, their length). `end_n` is the last
    row of each distinct text, and `text_b` the number of the distinct text of each text in the batch.
    """

    token_r: torch.Tensor
    position_r: torch.Tensor
    groups: Groups
    end_n: torch.Tensor
    text_b: torch.Tensor

    def to(self, device) -> PackedTexts:
        """Return the packed texts on another device."""
        names = ("token_r", "position_r", "end_n", "text_b")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in names}
        return PackedTexts(**moved, groups=self.groups)


def pack_texts(ids: Sequence[Sequence[int]]) -> PackedTexts:
    """Pack the token ids of texts, each of which ends with the end-of-text token."""
    distinct = sorted({tuple(text) for text in ids}, key=lambda text: (len(text), text))
    number = {text: at for at, text in enumerate(distinct)}
    lengths = torch.tensor([len(text) for text in distinct])
    ends = lengths.cumsum(0)
    groups: Groups = []
    for length in lengths.tolist():
        if groups and groups[-1][1] == length:
            groups[-1] = (groups[-1][0] + 1, length)
        else:
            groups.append((1, length))
    return PackedTexts(
        token_r=torch.tensor([token for text in distinct for token in text]),
        position_r=torch.arange(int(ends[-1])) - torch.repeat_interleave(ends - lengths, lengths),
        groups=groups,
        end_n=ends - 1,
        text_b=torch.tensor([number[tuple(text)] for text in ids]),
    )


class ClipModel(nn.Module):
    """Both towers and the logit scale, with the state dict of open_clip and `visual.continual_proj` if `replay`."""

    def __init__(self, vision: VisionConfig, text: TextConfig, *, replay: bool = False):
        super().__init__()
        self.text_config = text
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(text.context, text.width))
        self.text_projection = nn.Parameter(text.width**-0.5 * torch.randn(text.width, text.dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.visual = VisionTransformer(vision, replay=replay)
        self.transformer = TransformerStack(text, causal=True)
        self.token_embedding = nn.Embedding(text.n_tokens, text.width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.ln_final = nn.LayerNorm(text.width)

    def set_checkpointing(self, on: bool) -> None:
        """Set whether blocks keep only their inputs and recompute the rest for the gradient."""
        self.visual.transformer.checkpointing = self.transformer.checkpointing = on

    def encode_images(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """Return unit vectors [b, d] of uint8 images that are preprocessed but not normalised."""
        return F.normalize(self.visual(images_bhwc) @ self.visual.proj, dim=-1)

    def encode_texts(self, texts: PackedTexts) -> torch.Tensor:
        """Return unit vectors [b, d] of packed texts."""
        x = self.token_embedding(texts.token_r) + F.embedding(texts.position_r, self.positional_embedding)
        pooled = self.ln_final(self.transformer(x, texts.groups, texts.end_n))
        return F.normalize(pooled @ self.text_projection, dim=-1)[texts.text_b]

    def forward(
        self, images_bhwc: torch.Tensor, texts: PackedTexts, replay: tuple[torch.Tensor, PackedTexts] | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return vectors of images and texts, those of replayed images and texts if given, and the scale."""
        if replay is None:
            return self.encode_images(images_bhwc), self.encode_texts(texts), self.logit_scale.exp()
        if self.visual.continual_proj is None:
            raise ValueError("replay needs a second image projector; make the model with replay=True")
        b = len(images_bhwc)
        pooled = self.visual(torch.cat([images_bhwc, replay[0]]))
        image_bd = F.normalize(pooled[:b] @ self.visual.proj, dim=-1)
        replay_bd = F.normalize(pooled[b:] @ self.visual.continual_proj, dim=-1)
        return image_bd, self.encode_texts(texts), replay_bd, self.encode_texts(replay[1]), self.logit_scale.exp()
