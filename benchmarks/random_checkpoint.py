"""Write checkpoints of the true architectures with random weights, in open_clip's hub format.

They allow tests and measurements without a download.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/random_checkpoint.py vit-l-14 OUT             # also vit-b-16, vit-h-14, tiny, tiny-quickgelu
    $PEERS benchmarks/random_checkpoint.py tiny OUT --second-projector --bin

numpy draws the weights of each tensor from the tensor's name, so that the same model can be made without torch (see
`write_checkpoint`). In the peers' environment open_clip itself builds the model, takes the weights and writes the
folder. The weights have such sizes that different images and names get clearly different vectors, as trained weights
give.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
BIN = "open_clip_pytorch_model.bin"
# From the hub's configs; the tensors' names and shapes follow from it.
PREPROCESS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
LOGIT_SCALE = math.log(100)  # the limit in CLIP's training
QUERY_KEY_GAIN = 1.5
EMBEDDING_STD = 0.5


def _architecture(dim: int, vision: tuple, text: tuple, **more) -> dict:
    names = ("layers", "width", "patch_size", "head_width")
    text_names = ("width", "heads", "layers")
    vision_cfg = {"image_size": 224, **dict(zip(names, vision, strict=False))}
    text_cfg = {"context_length": 77, "vocab_size": 49408, **dict(zip(text_names, text, strict=True))}
    return {"embed_dim": dim, **more, "vision_cfg": vision_cfg, "text_cfg": text_cfg}


ARCHITECTURES = {
    "vit-b-16": _architecture(512, (12, 768, 16), (512, 8, 12)),
    "vit-l-14": _architecture(768, (24, 1024, 14), (768, 12, 12)),
    "vit-h-14": _architecture(1024, (32, 1280, 14, 80), (1024, 16, 24)),
    "tiny": _architecture(48, (2, 64, 32, 32), (64, 2, 3)),
    "tiny-quickgelu": _architecture(48, (2, 64, 32, 32), (64, 2, 3), quick_gelu=True),
    "tiny-clipa": _architecture(48, (2, 64, 32, 32), (64, 2, 3)),
    "tiny-tanh": _architecture(48, (2, 64, 32, 32), (64, 2, 3)),
}
# As open_clip's ViT-L-14-CLIPA, apart from the sizes.
ARCHITECTURES["tiny-clipa"]["vision_cfg"] |= {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
ARCHITECTURES["tiny-clipa"]["text_cfg"] |= {
    "context_length": 16,
    "vocab_size": 200,
    "hf_tokenizer_name": "bert-base-uncased",
    "tokenizer_kwargs": {"strip_sep_token": True},
    "pool_type": "last",
    "no_causal_mask": True,
}
# Large enough that another value would show.
TANH = {"act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-2}}
ARCHITECTURES["tiny-tanh"]["vision_cfg"] |= TANH | {"pool_type": "avg"}
ARCHITECTURES["tiny-tanh"]["text_cfg"] |= TANH


def tensor_shapes(model_cfg: dict) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of an open_clip CLIP model of this config, in its own order."""
    vision, text, dim = model_cfg["vision_cfg"], model_cfg["text_cfg"], model_cfg["embed_dim"]
    width, patch = vision["width"], vision["patch_size"]
    n_tokens = (vision["image_size"] // patch) ** 2 + 1
    shapes = {"positional_embedding": (text["context_length"], text["width"])}
    shapes |= {"text_projection": (text["width"], dim), "logit_scale": ()}
    shapes |= {"visual.class_embedding": (width,), "visual.positional_embedding": (n_tokens, width)}
    shapes["visual.proj"] = (width, dim)
    if vision.get("is_continual"):
        shapes["visual.continual_proj"] = (width, dim)
    shapes["visual.conv1.weight"] = (width, 3, patch, patch)
    shapes |= {} if vision.get("no_ln_pre") else _norm("visual.ln_pre", width)
    shapes |= _blocks("visual.transformer", vision["layers"], width)
    shapes |= _norm("visual.ln_post", width) | _blocks("transformer", text["layers"], text["width"])
    shapes["token_embedding.weight"] = (text["vocab_size"], text["width"])
    return shapes | _norm("ln_final", text["width"])


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _blocks(name: str, n_layers: int, width: int) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for layer in range(n_layers):
        block = f"{name}.resblocks.{layer}"
        shapes |= _norm(f"{block}.ln_1", width)
        shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        shapes |= {f"{block}.attn.out_proj.weight": (width, width), f"{block}.attn.out_proj.bias": (width,)}
        shapes |= _norm(f"{block}.ln_2", width)
        shapes |= {f"{block}.mlp.c_fc.weight": (4 * width, width), f"{block}.mlp.c_fc.bias": (4 * width,)}
        shapes |= {f"{block}.mlp.c_proj.weight": (width, 4 * width), f"{block}.mlp.c_proj.bias": (width,)}
    return shapes


def draw_tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return the weights of one tensor as float32, drawn from its name and the seed alone.

    No bias is zero and no norm is one, so that a forgotten one shows. Query and key weights are large enough for
    attention to choose. The branches are large enough beside the residual stream that the pooled token depends on its
    input.
    """
    if name == "logit_scale":
        return np.full(shape, LOGIT_SCALE, np.float32)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    value = rng.standard_normal(shape, np.float32)
    if ".ln_" in f".{name}":
        return 1 + 0.2 * value if name.endswith("weight") else 0.1 * value
    if name.endswith("bias"):
        return 0.05 * value
    if name.endswith("in_proj_weight"):
        width = shape[1]
        value[: 2 * width] *= QUERY_KEY_GAIN
        return value / np.float32(math.sqrt(width))
    if name.endswith(("embedding", "embedding.weight")):
        return EMBEDDING_STD * value
    if name.endswith("conv1.weight"):
        return value / np.float32(math.sqrt(np.prod(shape[1:])))
    fan_in = shape[0] if name.endswith("proj") or name == "text_projection" else shape[1]
    return value / np.float32(math.sqrt(fan_in))


def write_checkpoint(folder: Path, model_cfg: dict, seed: int = 0) -> None:
    """Write the hub format with numpy alone: the same tensors that open_clip writes, a few at a time in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = tensor_shapes(model_cfg)
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / WEIGHTS, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.write(np.ascontiguousarray(draw_tensor(name, shape, seed), "<f4").tobytes())
    _write_config(folder, model_cfg)


def _write_config(folder: Path, model_cfg: dict) -> None:
    value = {"model_cfg": model_cfg, "preprocess_cfg": PREPROCESS}
    (folder / CONFIG).write_text(json.dumps(value, indent=2), encoding="utf-8")


def write_by_open_clip(folder: Path, model_cfg: dict, seed: int = 0, *, as_bin: bool = False) -> None:
    """Write the hub format with open_clip's model and the same weights; prove that it reads the result.

    open_clip has no second projector. It is added to the tensors as BioCLIP 2's training code does
    (`visual.continual_proj`, [width, dim]; `is_continual` in vision_cfg).
    """
    import open_clip
    import safetensors.torch
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    vision = {key: value for key, value in model_cfg["vision_cfg"].items() if key != "is_continual"}
    own_cfg = {**model_cfg, "vision_cfg": vision}
    with torch.device("meta"):
        model = open_clip.CLIP(**own_cfg)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert expected == tensor_shapes(own_cfg), "open_clip's tensors have other names or shapes"
    tensors = {name: torch.from_numpy(value) for name, value in _draw_all(model_cfg, seed)}
    second = {name: tensors.pop(name) for name in list(tensors) if name.endswith("continual_proj")}
    model.load_state_dict(tensors, strict=True, assign=True)
    tensors = model.state_dict() | second
    safetensors.torch.save_file(tensors, folder / WEIGHTS)
    if as_bin:
        torch.save(tensors, folder / BIN)
    _write_config(folder, model_cfg)
    if not second:
        open_clip.create_model_from_pretrained(f"local-dir:{folder.absolute()}")


def _draw_all(model_cfg: dict, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    for name, shape in tensor_shapes(model_cfg).items():
        yield name, np.asarray(draw_tensor(name, shape, seed), np.float32)


def with_second_projector(model_cfg: dict) -> dict:
    """Return the config of the same model with BioCLIP 2's second projector."""
    return {**model_cfg, "vision_cfg": {**model_cfg["vision_cfg"], "is_continual": True}}


def main() -> None:
    """Run the command: write one checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--second-projector", action="store_true", help="with BioCLIP 2's continual_proj")
    parser.add_argument("--bin", action="store_true", help=f"also write {BIN}")
    parser.add_argument("--numpy", action="store_true", help="write the same file with numpy alone, without open_clip")
    args = parser.parse_args()
    model_cfg = ARCHITECTURES[args.architecture]
    if args.second_projector:
        model_cfg = with_second_projector(model_cfg)
    if args.numpy:
        write_checkpoint(args.out, model_cfg, args.seed)
    else:
        write_by_open_clip(args.out, model_cfg, args.seed, as_bin=args.bin)
    print(args.out)


if __name__ == "__main__":
    main()
