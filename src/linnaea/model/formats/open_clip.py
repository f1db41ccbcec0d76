"""A checkpoint in open_clip's hub format as a model: `open_clip_config.json` beside the weights, no torch in the way.

What `linnaea train` writes has two files more, which open_clip does not look at: `naming.json` says how names were written in
training (`template`, `text_type`), and `familiar.txt` lists the species that were named, as `linnaea.model.formats.model_folder` has it.

The graphs are built from the weights' places in their file, so nothing is written and nothing is there twice on disk. Weights as
`.bin` are converted once, by torch, into the cache. Shape suffixes: n texts, d vector dimensions.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.model.core.contract import ModelCard
from linnaea.model.core.safetensors import StoredTensor, as_array, read_safetensors, sha256_of, write_safetensors
from linnaea.model.core.templates import IMAGENET_TEMPLATES
from linnaea.model.core.tokenizer import ClipTokenizer
from linnaea.model.formats.model_folder import read_familiar
from linnaea.model.formats.open_clip_config import N_CLIP_TOKENS, OPEN_CLIP_CONFIG, CheckpointConfig, read_config
from linnaea.model.runtimes.encoder_factory import ImageEncoderMixin
from linnaea.model.runtimes.image_encoders import TransformerSource, find_weights_dir
from linnaea.model.runtimes.text_encoder import TextEncoderMixin
from linnaea.model.runtimes.token_trie import encode_texts
from linnaea.store import atomic_path, default_cache_dir, hash_bytes
from linnaea.taxonomy.name_text import TEXT_TYPES

# Part of every model hash: another way to compute the vectors is another model.
FORMAT = 1
# Names of weights, the preferred first, as open_clip looks for them.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
)
# A taxon is one sentence, as in the tables that BioCLIP's authors publish (TreeOfLife-toolbox,
# processing/scripts/make_txt_embedding.py): 80 for each of a million would be 80 times the work.
NAME_TEMPLATES = ("an image of {}.",)
NAME_TEXT_TYPE = "taxonomic_common"
NAMING = "naming.json"
# What `linnaea evaluate zeroshot --write-calibration` made, where somebody has put it beside the weights.
CALIBRATION = "calibration.json"
# Second image projectors: for general photographs in BioCLIP 2's training, for captions in BioCAP's.
SECOND_PROJECTORS = ("visual.continual_proj", "visual.caption_proj")
# Of a state dict, what is no weight of a tower.
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
# Our names of a tower's weights, and open_clip's in its part of the state dict.
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
    """The contract on an open_clip checkpoint. Its towers open when first used.

    `second` takes the checkpoint's second image projector instead of the one for organisms.
    """

    def __init__(self, directory: Path, *, name: str = "", second: bool = False, n_threads: int = 0):
        directory = Path(directory)
        self.directory, self._n_threads = directory, n_threads
        config = read_config(directory / OPEN_CLIP_CONFIG)
        weights_path = find_weights(directory)
        weights_hash = sha256_of(weights_path)
        stored = _without_prefix(read_state(weights_path, weights_hash))
        self.config, self.text_config = config, config.text
        self._vision, self._text = _towers(weights_path, stored, config, second)
        _check_vocabulary(directory / OPEN_CLIP_CONFIG, config)
        model_hash = hash_bytes(str(FORMAT), weights_hash, repr(config), "second" if second else "first")
        self.card = ModelCard(
            name=(name or directory.resolve().name) + ("#second" if second else ""),
            hash=model_hash,
            dim=config.vision.dim,
            logit_scale=math.exp(float(np.asarray(as_array(stored["logit_scale"])).reshape(-1)[0])),
            preprocess=config.preprocess,
            **read_naming(directory),
            calibration={} if second else read_calibration(directory, model_hash),
        )

    @cached_property
    def familiar(self) -> list[tuple[str, ...]]:
        """Lineages of the species that training named, where the folder lists them; else nothing is known of that, and it is
        empty."""
        return read_familiar(self.directory)

    @property
    def image_source(self) -> TransformerSource:
        return TransformerSource(weights=self._vision, config=self.config.vision, hash=self.card.hash)

    @cached_property
    def tokenizer(self) -> ClipTokenizer:
        """CLIP's own, whatever lies beside the weights: open_clip reads no other for such a config."""
        return ClipTokenizer(self.text_config.context)

    @cached_property
    def _text_session(self):
        from linnaea.model.graphs.text_transformer import build_text_graph

        return self._session(build_text_graph)

    @cached_property
    def _trie_session(self):
        from linnaea.model.graphs.trie_transformer import build_trie_graph

        return self._session(build_trie_graph)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts as given; what texts share at their beginnings is computed once."""
        run = lambda feeds: self._trie_session.run(["vectors"], feeds)[0]
        return encode_texts(run, self.tokenizer, list(texts), self.card.dim)

    def _session(self, build):
        """A session on the graph that `build` makes of the text tower's weights."""
        import onnxruntime

        graph = build(self._text, self.text_config, half=False, rows_out=True, fused=True)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._n_threads
        options.log_severity_level = 3
        folder = find_weights_dir(self._text)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def find_weights(directory: Path) -> Path:
    """The file with a checkpoint's weights. Raises FileNotFoundError where there is none."""
    for name in WEIGHTS:
        if (directory / name).is_file():
            return directory / name
    raise FileNotFoundError(
        f"{directory} has a {OPEN_CLIP_CONFIG} and no weights; put {WEIGHTS[0]} or {WEIGHTS[2]} beside it"
    )


def read_naming(directory: Path) -> dict:
    """How names and labels are written, as fields of a `ModelCard`: as in training where `naming.json` says it, else as BioCLIP's
    names and CLIP's labels are. Raises ValueError for a damaged file."""
    path = directory / NAMING
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
            f"{path} has no template with one {{}} and no text_type of {kinds}; write them as the model was trained, or move the file away"
        ) from None
    return {"text_type": text_type, "templates": (template,), "label_templates": (template,)}


def read_calibration(directory: Path, model_hash: str) -> dict:
    """The calibration beside a checkpoint's weights, empty where there is none. Raises ValueError for one of other weights."""
    path = directory / CALIBRATION
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"traits", "ranks", "model_hash"} <= found.keys():
        raise ValueError(
            f"{path} is no calibration for a checkpoint; move it away, and write one with `linnaea evaluate zeroshot --write-calibration`"
        )
    if found["model_hash"] != model_hash:
        raise ValueError(
            f"{path} was fitted to other weights ({found.get('fitted_on', '?')}, {found['model_hash']}; here {model_hash}); move it away, "
            "and fit it again"
        )
    return found


def read_state(path: Path, content_hash: str) -> dict[str, StoredTensor]:
    """The tensors of a file of weights by their names; those of a `.bin` through a copy in the cache, made once by torch."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    converted = default_cache_dir() / "weights" / f"{content_hash[:16]}.safetensors"
    if not converted.is_file():
        _convert(path, converted)
    return read_safetensors(converted)


def _convert(path: Path, converted: Path) -> None:
    """Writes the tensors that torch finds in a file, and lets it load nothing else."""
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} can only be read with torch: pip install 'linnaea[torch]', or get the checkpoint's {WEIGHTS[0]}"
        ) from None
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files of torch before 1.6 cannot be mapped
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError, AttributeError, KeyError) as error:
        # torch's own words recommend a switch that lets a file run programs
        raise ValueError(
            f"{path} holds no plain weights ({type(error).__name__}: it is damaged, or has programs in it); nothing else is loaded: "
            f"get it again, or the checkpoint's {WEIGHTS[0]}"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    tensors = {name: value.detach().contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)}
    half = frozenset(name for name, value in tensors.items() if value.dtype == torch.bfloat16)
    arrays = {name: (value.view(torch.uint16) if name in half else value).numpy() for name, value in tensors.items()}
    with atomic_path(converted) as temporary:
        write_safetensors(temporary, arrays, half)


def _without_prefix(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors without the `module.` that training on several machines puts before each name."""
    prefixed = all(name.startswith("module.") for name in stored)
    return {name.removeprefix("module.") if prefixed else name: value for name, value in stored.items()}


def _towers(
    path: Path, stored: Mapping[str, StoredTensor], config: CheckpointConfig, second: bool
) -> tuple[dict[str, StoredTensor], dict[str, StoredTensor]]:
    """The weights of the image tower and of the text tower under our names."""
    if "logit_bias" in stored:
        raise ValueError(f"{path} has a logit_bias: SigLIP's towers are not supported, CLIP's are")
    projection = _projector(path, stored, second)
    text_prefix = "text." if "text.token_embedding.weight" in stored else ""
    names = {
        "vision": {name: f"visual.{theirs}" for name, theirs in VISION_NAMES.items()} | {"projection": projection},
        "text": {name: f"{text_prefix}{theirs}" for name, theirs in TEXT_NAMES.items()},
    }
    layers = {"vision": ("visual.", config.vision.n_layers), "text": (text_prefix, config.text.n_layers)}
    for tower, (prefix, n_layers) in layers.items():
        for layer in range(n_layers):
            block = f"{prefix}transformer.resblocks.{layer}"
            names[tower] |= {f"block{layer}.{name}": f"{block}.{theirs}" for name, theirs in BLOCK_NAMES.items()}
    used = {theirs for tower in names.values() for theirs in tower.values()}
    if missing := sorted((used | {"logit_scale"}) - stored.keys()):
        raise ValueError(
            f"{path} lacks {len(missing)} weights that {OPEN_CLIP_CONFIG} asks for, {missing[0]} among them"
        )
    if unknown := sorted(stored.keys() - used - NO_WEIGHTS):
        raise ValueError(
            f"{path} has {len(unknown)} weights that {OPEN_CLIP_CONFIG} does not speak of, {unknown[0]} among them; vectors made without "
            "them would be wrong"
        )
    vision, text = ({name: stored[theirs] for name, theirs in names[tower].items()} for tower in ("vision", "text"))
    return vision, text


def _projector(path: Path, stored: Mapping[str, StoredTensor], second: bool) -> str:
    """The name of the image projector that is asked for."""
    if not second:
        return "visual.proj"
    found = [name for name in SECOND_PROJECTORS if name in stored]
    if not found:
        raise ValueError(f"{path} has one image projector only; leave #second out")
    return found[0]


def _check_vocabulary(path: Path, config: CheckpointConfig) -> None:
    if config.text.n_tokens != N_CLIP_TOKENS:
        raise ValueError(
            f"{path}: model_cfg.text_cfg.vocab_size = {config.text.n_tokens} is not supported; CLIP's vocabulary has {N_CLIP_TOKENS}"
        )
