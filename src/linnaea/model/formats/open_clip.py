"""A checkpoint in open_clip's hub format as a model: `open_clip_config.json` beside the weights. Needs no torch.

A checkpoint of `linnaea train` has two more files, which open_clip ignores: `naming.json` holds the form of names in
training (`template`, `text_type`), and `familiar.txt` lists the species that occurred by name, in the format of
`linnaea.model.formats.model_folder`.

The ONNX graphs refer to the weights by their offsets in the file, so no copy is written to disk. Weights as `.bin` are
converted once, by torch, into the cache.

Shape suffixes: n texts, d vector dimensions.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.model.core.contract import ModelCard
from linnaea.model.core.safetensors import StoredTensor, as_array, hash_sha256, read_safetensors, write_safetensors
from linnaea.model.core.templates import IMAGENET_TEMPLATES
from linnaea.model.core.tokenizer import ClipTokenizer, PaddedTokenizer
from linnaea.model.formats.model_folder import read_familiar
from linnaea.model.formats.open_clip_config import (
    N_CLIP_TOKENS,
    OPEN_CLIP_CONFIG,
    SUPPORTED,
    CheckpointConfig,
    read_config,
)
from linnaea.model.graphs.vision_transformer import VisionConfig
from linnaea.model.runtimes.encoder_factory import ImageEncoderMixin
from linnaea.model.runtimes.image_encoders import TransformerSource, find_weights_dir
from linnaea.model.runtimes.text_encoder import TextEncoderMixin
from linnaea.model.runtimes.token_trie import encode_texts
from linnaea.store import atomic_path, default_cache_dir, hash_bytes
from linnaea.taxonomy.name_text import TEXT_TYPES

# The tokenizer of a checkpoint whose config names one of transformers.
TOKENIZER = "tokenizer.json"
# Texts that an encoder without a causal mask sees at once.
PADDED_BATCH = 64
# Part of every model hash: increase it when vectors are computed in another way.
FORMAT = 1
# Names of weight files in the order in which open_clip looks for them.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
)
# A taxon is one sentence, as in the tables that BioCLIP's authors publish (TreeOfLife-toolbox,
# processing/scripts/make_txt_embedding.py). 80 templates would cost 80 times as much for a million names.
NAME_TEMPLATES = ("an image of {}.",)
NAME_TEXT_TYPE = "taxonomic_common"
NAMING = "naming.json"
# Written by `linnaea evaluate zeroshot --write-calibration`, and put beside the weights by the user.
CALIBRATION = "calibration.json"
# Second image projectors: BioCLIP 2 trains one on general photographs, BioCAP one on captions.
SECOND_PROJECTORS = ("visual.continual_proj", "visual.caption_proj")
# Entries of a state dict that are not weights of the two encoders.
NO_WEIGHTS = {
    *SECOND_PROJECTORS,
    "visual.proj",
    "logit_scale",
    "attn_mask",
    "text.attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
}
# Linnaea's name of a weight -> open_clip's name within its part of the state dict.
VISION_NAMES = {
    "patch": "conv1.weight",
    "class": "class_embedding",
    "position": "positional_embedding",
    "first_norm.weight": "ln_pre.weight",
    "first_norm.bias": "ln_pre.bias",
    "final_norm.weight": "ln_post.weight",
    "final_norm.bias": "ln_post.bias",
}
TEXT_NAMES = {
    "token": "token_embedding.weight",
    "position": "positional_embedding",
    "final_norm.weight": "ln_final.weight",
    "final_norm.bias": "ln_final.bias",
    "projection": "text_projection",
}
BLOCK_NAMES = {
    "norm1.weight": "ln_1.weight",
    "norm1.bias": "ln_1.bias",
    "qkv.weight": "attn.in_proj_weight",
    "qkv.bias": "attn.in_proj_bias",
    "out.weight": "attn.out_proj.weight",
    "out.bias": "attn.out_proj.bias",
    "norm2.weight": "ln_2.weight",
    "norm2.bias": "ln_2.bias",
    "up.weight": "mlp.c_fc.weight",
    "up.bias": "mlp.c_fc.bias",
    "down.weight": "mlp.c_proj.weight",
    "down.bias": "mlp.c_proj.bias",
}


class OpenClipModel(ImageEncoderMixin, TextEncoderMixin):
    """A model on an open_clip checkpoint. Its encoders open on first use.

    `second` selects the second image projector of the checkpoint instead of the one for organisms.
    """

    def __init__(self, checkpoint_dir: Path, *, name: str = "", second: bool = False, n_threads: int = 0):
        checkpoint_dir = Path(checkpoint_dir)
        self.checkpoint_dir, self._n_threads = checkpoint_dir, n_threads
        config = read_config(checkpoint_dir / OPEN_CLIP_CONFIG)
        weights_path = find_weights(checkpoint_dir)
        weights_hash = hash_sha256(weights_path)
        stored = _strip_prefix(read_state(weights_path, weights_hash))
        self.config, self.text_config = config, config.text
        self._vision, self._text = _split_weights(weights_path, stored, config, second)
        _check_vocabulary(checkpoint_dir / OPEN_CLIP_CONFIG, config)
        described = repr(config) + _describe_rare_settings(config)
        model_hash = hash_bytes(str(FORMAT), weights_hash, described, "second" if second else "first")
        self.card = ModelCard(
            name=(name or checkpoint_dir.resolve().name) + ("#second" if second else ""),
            hash=model_hash,
            dim=config.vision.dim,
            logit_scale=math.exp(float(np.asarray(as_array(stored["logit_scale"])).reshape(-1)[0])),
            preprocess=config.preprocess,
            **read_naming(checkpoint_dir),
            calibration={} if second else read_calibration(checkpoint_dir, model_hash),
        )

    @cached_property
    def familiar(self) -> list[tuple[str, ...]]:
        """Lineages of the species that occurred by name in training; empty if the folder has no list."""
        return read_familiar(self.checkpoint_dir)

    @property
    def image_source(self) -> TransformerSource:
        """The weights of the image encoder."""
        return TransformerSource(weights=self._vision, config=self.config.vision, hash=self.card.hash)

    @cached_property
    def tokenizer(self) -> ClipTokenizer | PaddedTokenizer:
        """CLIP's own tokenizer, whatever lies beside the weights, or the one that the config names."""
        if not self.config.hf_tokenizer:
            return ClipTokenizer(self.text_config.context)
        path, context = self.checkpoint_dir / TOKENIZER, self.text_config.context
        return PaddedTokenizer(path, context, strip_sep_token=self.config.strip_sep_token)

    @cached_property
    def _text_session(self):
        from linnaea.model.graphs.text_transformer import build_text_graph

        return self._open_session(build_text_graph)

    @cached_property
    def _trie_session(self):
        from linnaea.model.graphs.trie_transformer import build_trie_graph

        return self._open_session(build_trie_graph)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts as given. A causal encoder computes common beginnings once."""
        if not self.text_config.causal:
            return self._encode_padded(list(texts))
        run = lambda feeds: self._trie_session.run(["vectors"], feeds)[0]
        return encode_texts(run, self.tokenizer, list(texts), self.card.dim)

    @cached_property
    def _padded_session(self):
        from linnaea.model.graphs.padded_transformer import build_padded_graph

        return self._open_session(build_padded_graph)

    def _encode_padded(self, texts: list[str]) -> np.ndarray:
        ids = self.tokenizer.ids(texts)
        parts = [np.zeros((0, self.card.dim), np.float32)]
        for start in range(0, len(ids), PADDED_BATCH):
            tokens_nt = np.array(ids[start : start + PADDED_BATCH], np.int64)
            parts.append(self._padded_session.run(["vectors"], {"tokens": tokens_nt})[0])
        return np.concatenate(parts)

    def _open_session(self, build):
        """A session on the graph that `build` makes of the text encoder's weights."""
        import onnxruntime

        graph = build(self._text, self.text_config, half=False, rows_out=True, fused=True)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._n_threads
        options.log_severity_level = 3
        folder = find_weights_dir(self._text)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _describe_rare_settings(config: CheckpointConfig) -> str:
    """The settings that the repr of the configs leaves out, where they differ from their defaults; mostly empty."""
    found = []
    for part in (config, config.vision, config.text):
        for setting in dataclasses.fields(part):
            value = getattr(part, setting.name)
            if not setting.repr and value != setting.default:
                found.append(f"{type(part).__name__}.{setting.name}={value!r}")
    return ";".join(found)


def find_weights(checkpoint_dir: Path) -> Path:
    """The weight file of a checkpoint. Raises FileNotFoundError if there is none."""
    for name in WEIGHTS:
        if (checkpoint_dir / name).is_file():
            return checkpoint_dir / name
    raise FileNotFoundError(
        f"{checkpoint_dir} has a {OPEN_CLIP_CONFIG} but no weights; put {WEIGHTS[0]} or {WEIGHTS[2]} beside it"
    )


def read_naming(checkpoint_dir: Path) -> dict:
    """The form of names and labels, as fields of a `ModelCard`.

    It comes from `naming.json`; without that file, names are written as for BioCLIP and labels as for CLIP. Raises
    ValueError for a damaged file.
    """
    path = checkpoint_dir / NAMING
    if not path.is_file():
        return {"text_type": NAME_TEXT_TYPE, "templates": NAME_TEMPLATES, "label_templates": IMAGENET_TEMPLATES}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        template, text_type = found["template"], found["text_type"]
        if template.count("{}") != 1 or text_type not in TEXT_TYPES:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        kinds = ", ".join(TEXT_TYPES)
        raise ValueError(
            f"{path} must have a template with one {{}} and a text_type of {kinds}; write them as in training, or move "
            "the file away"
        ) from None
    return {"text_type": text_type, "templates": (template,), "label_templates": (template,)}


def read_calibration(checkpoint_dir: Path, model_hash: str) -> dict:
    """The calibration beside a checkpoint's weights; empty if there is none.

    Raises ValueError for a calibration of other weights.
    """
    path = checkpoint_dir / CALIBRATION
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"traits", "ranks", "model_hash"} <= found.keys():
        raise ValueError(
            f"{path} is not a calibration of a checkpoint; move it away, and write one with "
            "`linnaea evaluate zeroshot --write-calibration`"
        )
    if found["model_hash"] != model_hash:
        raise ValueError(
            f"{path} was fitted to other weights ({found.get('fitted_on', '?')}, {found['model_hash']}; these are "
            f"{model_hash}); move it away and fit it again"
        )
    return found


def read_state(path: Path, content_hash: str) -> dict[str, StoredTensor]:
    """The tensors of a weight file by name. A `.bin` file is converted once, by torch, into the cache."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    converted = default_cache_dir() / "weights" / f"{content_hash[:16]}.safetensors"
    if not converted.is_file():
        _convert(path, converted)
    return read_safetensors(converted)


def _convert(path: Path, converted_path: Path) -> None:
    """Write the tensors of a torch file as safetensors. Torch may load nothing but tensors from it."""
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} needs torch: pip install 'linnaea[torch]', or get the checkpoint's {WEIGHTS[0]}"
        ) from None
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files of torch before 1.6 cannot be memory-mapped
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError, AttributeError, KeyError) as error:
        # do not show torch's message: it recommends an option that lets the file run code
        raise ValueError(
            f"{path} is damaged or contains code ({type(error).__name__}), and only plain weights are loaded; get it "
            f"again, or get the checkpoint's {WEIGHTS[0]}"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    tensors = {name: value.detach().contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)}
    half = frozenset(name for name, value in tensors.items() if value.dtype == torch.bfloat16)
    arrays = {name: (value.view(torch.uint16) if name in half else value).numpy() for name, value in tensors.items()}
    with atomic_path(converted_path) as temporary:
        write_safetensors(temporary, arrays, half)


def _strip_prefix(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors by name, without the prefix `module.` that distributed training adds."""
    prefixed = all(name.startswith("module.") for name in stored)
    return {name.removeprefix("module.") if prefixed else name: value for name, value in stored.items()}


def _split_weights(
    path: Path, stored: Mapping[str, StoredTensor], config: CheckpointConfig, second: bool
) -> tuple[dict[str, StoredTensor], dict[str, StoredTensor]]:
    """The weights of the image encoder and of the text encoder under Linnaea's names."""
    if "logit_bias" in stored:
        raise ValueError(f"{path} has the weight logit_bias, so this is SigLIP, which is not supported; {SUPPORTED}")
    projection = _find_projector(path, stored, second)
    text_prefix = "text." if "text.token_embedding.weight" in stored else ""
    names = {
        "vision": _list_vision_names(config.vision) | {"projection": projection},
        "text": {name: f"{text_prefix}{theirs}" for name, theirs in TEXT_NAMES.items()},
    }
    layers = {"vision": ("visual.", config.vision.n_layers), "text": (text_prefix, config.text.n_layers)}
    for encoder, (prefix, n_layers) in layers.items():
        for layer in range(n_layers):
            block = f"{prefix}transformer.resblocks.{layer}"
            names[encoder] |= {f"block{layer}.{name}": f"{block}.{theirs}" for name, theirs in BLOCK_NAMES.items()}
    used = {theirs for own in names.values() for theirs in own.values()}
    if missing := sorted((used | {"logit_scale"}) - stored.keys()):
        raise ValueError(f"{path} lacks {len(missing)} weights that {OPEN_CLIP_CONFIG} needs, for example {missing[0]}")
    if unknown := sorted(stored.keys() - used - NO_WEIGHTS):
        raise ValueError(
            f"{path} has {len(unknown)} weights that {OPEN_CLIP_CONFIG} does not describe, for example {unknown[0]}; "
            "vectors without them would be wrong"
        )
    vision, text = ({name: stored[theirs] for name, theirs in names[encoder].items()} for encoder in ("vision", "text"))
    return vision, text


def _list_vision_names(config: VisionConfig) -> dict[str, str]:
    """Linnaea's names and open_clip's names of the weights of an image encoder outside its blocks."""
    return {
        name: f"visual.{theirs}"
        for name, theirs in VISION_NAMES.items()
        if config.first_norm or not name.startswith("first_norm")
    }


def _find_projector(path: Path, stored: Mapping[str, StoredTensor], second: bool) -> str:
    """The name of the first or second image projector."""
    if not second:
        return "visual.proj"
    found = [name for name in SECOND_PROJECTORS if name in stored]
    if not found:
        raise ValueError(f"{path} has only one image projector; omit #second")
    return found[0]


def _check_vocabulary(path: Path, config: CheckpointConfig) -> None:
    if not config.hf_tokenizer and config.text.n_tokens != N_CLIP_TOKENS:
        raise ValueError(
            f"{path}: model_cfg.text_cfg.vocab_size = {config.text.n_tokens} is not supported; CLIP's vocabulary has "
            f"{N_CLIP_TOKENS} tokens"
        )
