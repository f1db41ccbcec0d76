"""CLIP's two towers for training, under open_clip's names of weights, without the arithmetic that nothing reads.

- Texts are packed: their tokens lie one after the other, the texts sorted by length, so that every matrix product sees
  true tokens alone and attention runs over groups of equal length. Texts that are the same are computed once.
- The last block of either tower is computed for the one token that is pooled (the class token, the end of text): its
  keys and values need all tokens, its queries and all that follows do not.

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

from linnaea.model.text_graph import TextConfig
from linnaea.model.vision_graph import CHANNELS, VisionConfig

Groups = list[tuple[int, int]]


class QuickGelu(nn.Module):
    """x · sigmoid(1.702 x), OpenAI's activation."""

    def forward(self, x_rw: torch.Tensor) -> torch.Tensor:
        return x_rw * torch.sigmoid(1.702 * x_rw)


class Attention(nn.Module):
    """Self-attention within each sequence of packed rows; named as torch's MultiheadAttention names its weights."""

    def __init__(self, width: int, n_heads: int, *, causal: bool):
        super().__init__()
        self.n_heads, self.causal = n_heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)

    def forward(self, x_rw: torch.Tensor, groups: Groups, pooled_n: torch.Tensor | None = None) -> torch.Tensor:
        """Rows [r, w], or [n, w] for the row `pooled_n` of each sequence; if causal that must be its last."""
        w, heads = x_rw.shape[-1], self.n_heads
        if pooled_n is None:
            qkv = F.linear(x_rw, self.in_proj_weight, self.in_proj_bias).view(-1, 3, heads, w // heads)
            q, k, v = qkv.unbind(1)
        else:
            q = F.linear(x_rw[pooled_n], self.in_proj_weight[:w], self.in_proj_bias[:w]).view(-1, heads, w // heads)
            kv = F.linear(x_rw, self.in_proj_weight[w:], self.in_proj_bias[w:]).view(-1, 2, heads, w // heads)
            k, v = kv.unbind(1)
        mixed, row, first = [], 0, 0
        for n, t in groups:
            n_queries = t if pooled_n is None else 1
            here, there = slice(first, first + n * n_queries), slice(row, row + n * t)
            group = (part.unflatten(0, (n, -1)).transpose(1, 2) for part in (q[here], k[there], v[there]))
            out = F.scaled_dot_product_attention(*group, is_causal=self.causal and pooled_n is None)
            mixed.append(out.transpose(1, 2).reshape(-1, w))
            row, first = row + n * t, first + n * n_queries
        return self.out_proj(mixed[0] if len(mixed) == 1 else torch.cat(mixed))


class Block(nn.Module):
    """A pre-norm transformer block on packed rows."""

    def __init__(self, config: VisionConfig | TextConfig, *, causal: bool):
        super().__init__()
        w, hidden = config.width, int(config.width * config.mlp_ratio)
        self.ln_1, self.ln_2 = nn.LayerNorm(w), nn.LayerNorm(w)
        self.attn = Attention(w, config.n_heads, causal=causal)
        activation = nn.GELU() if config.activation == "gelu" else QuickGelu()
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(w, hidden), gelu=activation, c_proj=nn.Linear(hidden, w))
        )
        branch_std = w**-0.5 * (2 * config.n_layers) ** -0.5
        stds = {self.attn.out_proj: branch_std, self.mlp.c_fc: (2 * w) ** -0.5, self.mlp.c_proj: branch_std}
        for layer, std in stds.items():
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x_rw: torch.Tensor, groups: Groups, pooled_n: torch.Tensor | None = None) -> torch.Tensor:
        """All rows, or only those in `pooled_n`, one a sequence."""
        mixed = self.attn(self.ln_1(x_rw), groups, pooled_n)
        x_rw = (x_rw if pooled_n is None else x_rw[pooled_n]) + mixed
        return x_rw + self.mlp(self.ln_2(x_rw))


class Transformer(nn.Module):
    """Blocks, of which the last is computed for one row a sequence. With `checkpointing` activations are computed
    again."""

    def __init__(self, config: VisionConfig | TextConfig, *, causal: bool):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config, causal=causal) for _ in range(config.n_layers))
        self.checkpointing = False

    def forward(self, x_rw: torch.Tensor, groups: Groups, pooled_n: torch.Tensor) -> torch.Tensor:
        """The pooled rows [n, w]."""
        last = len(self.resblocks) - 1
        for index, block in enumerate(self.resblocks):
            arguments = (x_rw, groups, pooled_n if index == last else None)
            if self.checkpointing and torch.is_grad_enabled():
                x_rw = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x_rw = block(*arguments)
        return x_rw


class ImageTower(nn.Module):
    """A vision transformer read at its class token, with a second projector where the training replays."""

    def __init__(self, config: VisionConfig, *, second: bool = False):
        super().__init__()
        self.config = config
        w, std = config.width, config.width**-0.5
        self.class_embedding = nn.Parameter(std * torch.randn(w))
        self.positional_embedding = nn.Parameter(std * torch.randn(config.n_tokens, w))
        self.proj = nn.Parameter(std * torch.randn(w, config.dim))
        self.continual_proj = nn.Parameter(self.proj.detach().clone()) if second else None
        self.conv1 = nn.Conv2d(CHANNELS, w, config.patch, config.patch, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(w), nn.LayerNorm(w)
        self.transformer = Transformer(config, causal=False)
        # Not in the state dict: they belong to the config.
        self.register_buffer("mean", 255 * torch.tensor(config.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(config.std).view(-1, 1, 1), persistent=False)

    def forward(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """The class token's normed state [b, w] of uint8 images."""
        b, t = len(images_bhwc), self.config.n_tokens
        pixels = (images_bhwc.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches.dtype).expand(b, 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches.dtype))
        pooled_n = torch.arange(0, b * t, t, device=x.device)
        return self.ln_post(self.transformer(x.flatten(0, 1), [(b, t)], pooled_n))


@dataclass(frozen=True, kw_only=True)
class PackedTexts:
    """Distinct texts one after the other, the shorter first.

    `token_r` and `position_r` are int64 [r]; `groups` are (how many, of which length); `end_n` is each distinct text's
    last row, and `text_b` says which distinct text each text of the batch is.
    """

    token_r: torch.Tensor
    position_r: torch.Tensor
    groups: Groups
    end_n: torch.Tensor
    text_b: torch.Tensor

    def to(self, device) -> PackedTexts:
        """The same on another device."""
        names = ("token_r", "position_r", "end_n", "text_b")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in names}
        return PackedTexts(**moved, groups=self.groups)


def pack_texts(ids: Sequence[Sequence[int]]) -> PackedTexts:
    """Token ids of texts, each with its end-of-text token last, packed."""
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
    """Both towers and the logit scale; its state dict is open_clip's, with `visual.continual_proj` where there is
    one."""

    def __init__(self, vision: VisionConfig, text: TextConfig, *, second: bool = False):
        super().__init__()
        self.text_config = text
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(text.context, text.width))
        self.text_projection = nn.Parameter(text.width**-0.5 * torch.randn(text.width, text.dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.visual = ImageTower(vision, second=second)
        self.transformer = Transformer(text, causal=True)
        self.token_embedding = nn.Embedding(text.n_tokens, text.width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.ln_final = nn.LayerNorm(text.width)

    def set_checkpointing(self, on: bool) -> None:
        """Whether blocks keep their inputs alone and are computed again for the gradient."""
        self.visual.transformer.checkpointing = self.transformer.checkpointing = on

    def encode_images(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """Unit vectors [b, d] of uint8 images, preprocessed and not normalised."""
        return F.normalize(self.visual(images_bhwc) @ self.visual.proj, dim=-1)

    def encode_texts(self, texts: PackedTexts) -> torch.Tensor:
        """Unit vectors [b, d] of packed texts."""
        x = self.token_embedding(texts.token_r) + F.embedding(texts.position_r, self.positional_embedding)
        pooled = self.ln_final(self.transformer(x, texts.groups, texts.end_n))
        return F.normalize(pooled @ self.text_projection, dim=-1)[texts.text_b]

    def forward(
        self, images_bhwc: torch.Tensor, texts: PackedTexts, replay: tuple[torch.Tensor, PackedTexts] | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Vectors of images and texts, those of the replayed images and texts if there are any, and the scale."""
        if replay is None:
            return self.encode_images(images_bhwc), self.encode_texts(texts), self.logit_scale.exp()
        if self.visual.continual_proj is None:
            raise ValueError("replay needs a second image projector; make the model with second=True")
        b = len(images_bhwc)
        pooled = self.visual(torch.cat([images_bhwc, replay[0]]))
        image_bd = F.normalize(pooled[:b] @ self.visual.proj, dim=-1)
        replay_bd = F.normalize(pooled[b:] @ self.visual.continual_proj, dim=-1)
        return image_bd, self.encode_texts(texts), replay_bd, self.encode_texts(replay[1]), self.logit_scale.exp()
