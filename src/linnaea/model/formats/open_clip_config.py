"""Reads `open_clip_config.json`: the encoders, the preprocessing and the tokenizer of a checkpoint.

Settings that are not supported are errors. Defaults are those of open_clip when it loads a folder or a repository:
OpenAI's mean and standard deviation, bicubic, the short side scaled to the size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.model.core.contract import Preprocess
from linnaea.model.graphs.onnx_builder import NORM_EPS
from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.model.graphs.vision_transformer import POOLS, VisionConfig

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
N_CLIP_TOKENS = 49408

# Settings of the supported encoders, with open_clip's defaults.
VISION = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
TEXT = {"layers": 12, "width": 512, "heads": 8, "mlp_ratio": 4.0, "context_length": 77, "vocab_size": N_CLIP_TOKENS}
# Settings that are supported only with these values.
BLOCK_ONLY = {
    "ls_init_value": (None,),
    "block_type": (None, "", "default"),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
    "scale_heads": (False,),
    "scale_attn_inner": (False,),
    "scale_attn": (False,),
    "scale_fc": (False,),
}
VISION_ONLY = BLOCK_ONLY | {
    "timm_model_name": (None, ""),
    "attentional_pool": (False,),
    "no_ln_pre": (False, True),
    "input_patchnorm": (False,),
    "global_average_pool": (False,),
    "pool_type": POOLS,
    "final_ln_after_pool": (False, True),
}
TEXT_ONLY = BLOCK_ONLY | {
    "hf_model_name": (None, ""),
    "tokenizer_mode": (None, ""),
    "tokenizer_type": (None, ""),
    "tokenizer_kwargs": (None, {}, {"clean": "lower"}, {"strip_sep_token": True}, {"strip_sep_token": False}),
    "text_arch": (None, "clip"),
    "variable_text": (False,),
    "embed_cls": (False,),
    "no_causal_mask": (False, True),
    "pool_type": ("argmax", "last", "first"),
    "proj_type": ("linear",),
    "proj_bias": (False,),
}
SUPPORTED = (
    "supported are the encoders of CLIP and CLIPA: vision transformers and text transformers as in ViT-B-16, ViT-L-14 "
    "and ViT-H-14"
)
MODEL_ONLY = {"multimodal_cfg": (None,), "audio_cfg": (None,), "init_logit_bias": (None,)}
# Settings that do not change the vectors of the encoders above. They concern training, absent parts, or (the kind of
# fixed positions) have no effect with stored positions.
WITHOUT_EFFECT = (
    "patch_dropout",
    "output_tokens",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "pos_embed_type",
    "image_seq_len",
    "is_continual",
    "dual_projector",
    "pad_id",
    "bos_id",
    "eos_id",
    "tiktoken_name",
    "attention_mode",
    "pos_embed",
    "rope_temperature",
    "mlp_type",
    "norm_type",
    "norm_eps",
    "attn_gated",
    "pre_norm",
    "norm_placement",
    "zero_init_residual",
    "reg_tokens",
    "value_residual",
    "attention_bias",
    "mlp_bias",
    "gate_bias",
    "hf_model_pretrained",
    "hf_proj_type",
    "hf_pooler_type",
    "hf_model_config",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
    "timm_model_kwargs",
)
# Settings with a value of their own kind, read by functions below.
READ = ("act_kwargs", "norm_kwargs", "hf_tokenizer_name")
# What a setting with such a value says about the family of the checkpoint: (key, part of the value, family).
FAMILIES = (
    ("timm_model_name", "siglip", "SigLIP"),
    ("timm_model_name", "eva", "EVA-CLIP"),
    ("timm_model_name", "convnext", "CLIP with a ConvNeXt"),
    ("timm_model_name", "fastvit", "MobileCLIP"),
    ("timm_model_name", "mobileclip", "MobileCLIP"),
    ("timm_model_name", "vitamin", "ViTamin"),
    ("timm_model_name", "PE-", "Perception Encoder"),
    ("timm_model_name", "", "CLIP with an image encoder of timm"),
    ("hf_model_name", "xlm", "CLIP with a multilingual text encoder"),
    ("hf_model_name", "", "CLIP with a text encoder of transformers"),
    ("multimodal_cfg", "", "CoCa"),
    ("attentional_pool", "", "CoCa"),
    ("init_logit_bias", "", "SigLIP"),
)
# Settings that must be whole numbers, and numbers, above 0.
WHOLE = ("layers", "width", "head_width", "heads", "context_length", "vocab_size", "embed_dim")
NUMBERS = ("mlp_ratio",)
MODEL_KEYS = (
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "nonscalar_logit_scale",
)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """The content of a checkpoint's config."""

    vision: VisionConfig
    "the image encoder"
    text: TextConfig
    "the text encoder"
    preprocess: Preprocess
    "from a photograph to the input of the image encoder"
    # Not in the repr, which is part of the hash of checkpoints that have the values below.
    hf_tokenizer: str = field(default="", repr=False)
    "the name of a tokenizer of transformers, whose tokenizer.json lies beside the weights; empty for CLIP's own"
    strip_sep_token: bool = field(default=False, repr=False)
    "whether the separator at the end of a text becomes padding"


def read_config(path: Path) -> CheckpointConfig:
    """The config of a checkpoint. Raises ValueError that names the missing, wrong or unsupported key."""
    try:
        whole = json.loads(Path(path).read_text(encoding="utf-8"))
        model = whole["model_cfg"]
        vision, text, dim = model["vision_cfg"], model["text_cfg"], model["embed_dim"]
        preprocess = whole.get("preprocess_cfg") or {}
    except (KeyError, TypeError):
        raise ValueError(
            f"{path} is not an open_clip config: it has no model_cfg with embed_dim, vision_cfg and text_cfg"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); download it again") from None
    for key, value in {
        "model_cfg.vision_cfg": vision,
        "model_cfg.text_cfg": text,
        "preprocess_cfg": preprocess,
    }.items():
        if not isinstance(value, dict):
            raise _explain_wrong(path, key, value, "an object with settings")
    if family := find_family(model):
        raise _explain_family(path, *family)
    _check_settings(path, "model_cfg", model, MODEL_ONLY, MODEL_KEYS)
    _check_settings(path, "model_cfg.vision_cfg", vision, VISION_ONLY, (*WITHOUT_EFFECT, *READ, *VISION))
    _check_settings(path, "model_cfg.text_cfg", text, TEXT_ONLY, (*WITHOUT_EFFECT, *READ, *TEXT))
    v, t = VISION | vision, TEXT | text
    _check_numbers(path, "model_cfg", {"embed_dim": dim})
    _check_numbers(path, "model_cfg.vision_cfg", v)
    _check_numbers(path, "model_cfg.text_cfg", t)
    n_heads = max(1, v["width"] // v["head_width"])
    for key, width, heads in (("vision_cfg", v["width"], n_heads), ("text_cfg", t["width"], t["heads"])):
        if width % heads:
            raise _explain_wrong(path, f"model_cfg.{key}.width", width, f"a multiple of its {heads} heads")
    if (quick := model.get("quick_gelu")) not in (None, False, True):
        raise _explain_wrong(path, "model_cfg.quick_gelu", quick, "true or false")
    vision_activation, text_activation = (
        _read_activation(path, f"model_cfg.{key}.act_kwargs", cfg.get("act_kwargs"), bool(quick))
        for key, cfg in (("vision_cfg", vision), ("text_cfg", text))
    )
    pool = t.get("pool_type", "argmax")
    if (pool == "argmax") == bool(t.get("no_causal_mask")):  # a causal encoder reads its end-of-text token
        raise _explain_unsupported(path, "model_cfg.text_cfg.pool_type", pool)
    size = _read_side(path, "model_cfg.vision_cfg.image_size", v["image_size"])
    preprocess = _read_preprocess(path, preprocess, size)
    return CheckpointConfig(
        vision=VisionConfig(
            size=size,
            patch=_read_side(path, "model_cfg.vision_cfg.patch_size", v["patch_size"]),
            width=v["width"],
            n_layers=v["layers"],
            n_heads=n_heads,
            mlp_ratio=v["mlp_ratio"],
            dim=dim,
            activation=vision_activation,
            mean=preprocess.mean,
            std=preprocess.std,
            eps=_read_eps(path, "model_cfg.vision_cfg.norm_kwargs", vision.get("norm_kwargs")),
            first_norm=not v.get("no_ln_pre"),
            pool=v.get("pool_type", "tok"),
            norm_after_pool=bool(v.get("final_ln_after_pool")) or v.get("pool_type", "tok") == "tok",
        ),
        text=TextConfig(
            n_tokens=t["vocab_size"],
            context=t["context_length"],
            width=t["width"],
            n_layers=t["layers"],
            n_heads=t["heads"],
            mlp_ratio=t["mlp_ratio"],
            dim=dim,
            activation=text_activation,
            eps=_read_eps(path, "model_cfg.text_cfg.norm_kwargs", text.get("norm_kwargs")),
            causal=not t.get("no_causal_mask"),
            pool=pool,
        ),
        preprocess=preprocess,
        hf_tokenizer=t.get("hf_tokenizer_name") or "",
        strip_sep_token=bool((t.get("tokenizer_kwargs") or {}).get("strip_sep_token")),
    )


def needs_tokenizer(path: Path) -> bool:
    """Whether a config names a tokenizer of transformers, so that its file belongs to the checkpoint."""
    try:
        text = json.loads(Path(path).read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
        return bool(text.get("hf_tokenizer_name"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def find_family(model: Mapping) -> tuple[str, object, str] | None:
    """The key and the value that show that a checkpoint is of an unsupported family, and the family's name."""
    places = {"model_cfg": model, "model_cfg.vision_cfg": model["vision_cfg"], "model_cfg.text_cfg": model["text_cfg"]}
    for key, part, family in FAMILIES:
        for where, settings in places.items():
            value = settings.get(key)
            if value and (not part or part.lower() in str(value).lower()):
                return f"{where}.{key}", value, family
    if isinstance(layers := model["vision_cfg"].get("layers"), list):
        return "model_cfg.vision_cfg.layers", layers, "CLIP with a ResNet"
    return None


def _read_activation(path: Path, key: str, given: object, quick: bool) -> str:
    """The activation of an encoder: `quick_gelu`, `gelu_tanh` or `gelu`."""
    if given in (None, {}, {"approximate": "none"}):
        return "quick_gelu" if quick else "gelu"
    if given == {"approximate": "tanh"} and not quick:
        return "gelu_tanh"
    raise _explain_unsupported(path, key, given)


def _read_eps(path: Path, key: str, given: object) -> float:
    """What is added to the variance in the norms of an encoder."""
    if given in (None, {}):
        return NORM_EPS
    if isinstance(given, dict) and given.keys() == {"eps"}:
        eps = given["eps"]
        if isinstance(eps, float) and 0 < eps < 1:
            return eps
        raise _explain_wrong(path, f"{key}.eps", eps, "a number between 0 and 1")
    raise _explain_unsupported(path, key, given)


def _check_settings(path: Path, where: str, found: Mapping, only: Mapping[str, tuple], known: tuple[str, ...]) -> None:
    """Raise ValueError for the first setting that is unknown or has an unsupported value."""
    for key, value in found.items():
        if key in only:
            if value not in only[key]:
                raise _explain_unsupported(path, f"{where}.{key}", value)
        elif key not in known:
            raise _explain_unsupported(path, f"{where}.{key}", value)


def _check_numbers(path: Path, where: str, found: Mapping) -> None:
    """Raise ValueError for the first setting that must be a number above 0 and is not."""
    for key, value in found.items():
        if key in WHOLE and not _is_whole(value):
            raise _explain_wrong(path, f"{where}.{key}", value, "a whole number above 0")
        if key in NUMBERS and not (_is_whole(value) or (isinstance(value, float) and 0 < value < math.inf)):
            raise _explain_wrong(path, f"{where}.{key}", value, "a number above 0")


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _explain_unsupported(path: Path, key: str, value) -> ValueError:
    return ValueError(f"{path}: {key} = {_shorten(value)} is not supported; {SUPPORTED}")


def _explain_family(path: Path, key: str, value, family: str) -> ValueError:
    return ValueError(f"{path}: this is {family} ({key} = {_shorten(value)}), which is not supported; {SUPPORTED}")


def _explain_wrong(path: Path, key: str, value, wanted: str) -> ValueError:
    return ValueError(f"{path}: {key} = {_shorten(value)} must be {wanted}; download the file again")


def _shorten(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _read_side(path: Path, key: str, value) -> int:
    sides = value if isinstance(value, list) else [value]
    if not sides or not all(map(_is_whole, sides)):
        raise _explain_wrong(path, key, value, "a side in pixels, or two")
    if len(set(sides)) != 1:
        raise _explain_unsupported(path, key, value)
    return sides[0]


def _read_preprocess(path: Path, given: Mapping, size: int) -> Preprocess:
    """The preprocessing of the checkpoint, with open_clip's defaults for missing settings."""
    if given.get("mode", "RGB") != "RGB":
        raise _explain_unsupported(path, "preprocess_cfg.mode", given["mode"])
    resize = given.get("resize_mode") or "shortest"
    if resize == "longest" and given.get("fill_color"):
        raise _explain_unsupported(path, "preprocess_cfg.fill_color", given["fill_color"])
    interpolation = given.get("interpolation") or "bicubic"
    try:
        return Preprocess(
            size=size,
            resize=resize,
            # "random" is for training; afterwards open_clip uses bicubic
            interpolation="bicubic" if interpolation == "random" else interpolation,
            mean=_read_channels(given.get("mean") or OPENAI_MEAN),
            std=_read_channels(given.get("std") or OPENAI_STD, above=0),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: preprocess_cfg: {error}") from None


def _read_channels(value, above: float = -math.inf) -> tuple[float, float, float]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * 3
    if len(values) != 3:
        raise ValueError(f"{len(values)} values instead of one each for red, green and blue")
    if not all(isinstance(x, int | float) and above < x < math.inf for x in values):
        raise ValueError(
            f"{_shorten(value)} must be the means or standard deviations of the channels; download the file again"
        )
    return tuple(map(float, values))
