"""Models in training from open_clip's files and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from linnaea.model.core.safetensors import sha256_of, write_safetensors
from linnaea.model.formats.open_clip import WEIGHTS, find_weights, read_state
from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG, read_config
from linnaea.store import atomic_path, write_json
from linnaea.train.clip.towers import ClipModel

SECOND = "visual.continual_proj"
# What older open_clip checkpoints hold that is no parameter.
NO_PARAMETERS = ("attn_mask", "input_resolution", "context_length", "vocab_size")


def make_model(config_path: Path, *, second: bool = False) -> ClipModel:
    """A model with fresh weights of the shape that an open_clip config describes."""
    config = read_config(config_path)
    return ClipModel(config.vision, config.text, second=second)


def load_open_clip(directory: Path, *, second: bool = False) -> ClipModel:
    """The model of a folder in open_clip's hub format.

    With `second` it has the projector for replay: the stored one, or where there is none a copy of the first, as
    BioCLIP 2 began. ValueError names the weights that are missing or left over.
    """
    directory = Path(directory)
    model = make_model(directory / OPEN_CLIP_CONFIG, second=second)
    path = find_weights(directory)
    stored = read_state(path, sha256_of(path) if path.suffix != ".safetensors" else "")
    names = {name.removeprefix("module.").removeprefix("_orig_mod."): name for name in stored}
    if second and SECOND not in names:
        names[SECOND] = names.get("visual.proj", "")
    elif not second:
        names.pop(SECOND, None)
    for name in NO_PARAMETERS:
        names.pop(name, None)
    wanted = model.state_dict()
    if names.keys() != wanted.keys():
        missing, more = sorted(wanted.keys() - names.keys()), sorted(names.keys() - wanted.keys())
        both = (("lacks", missing), ("has unknown", more))
        said = " and ".join(f"{kind} {len(found)}, {found[0]} among them" for kind, found in both if found)
        raise ValueError(f"{path}, of what {OPEN_CLIP_CONFIG} describes, {said}; use weights and config of one model")
    with torch.no_grad():
        for name, parameter in wanted.items():
            value = torch.from_numpy(np.array(stored[names[name]].array(), np.float32))
            if value.numel() != parameter.numel():
                shapes = f"shape {tuple(value.shape)}, {OPEN_CLIP_CONFIG} asks for {tuple(parameter.shape)}"
                raise ValueError(f"{path}: {name} has {shapes}; use weights and config of one model")
            parameter.copy_(value.view(parameter.shape))
    return model


def save_open_clip(model: ClipModel, config_path: Path, out: Path, *, second: bool = False) -> Path:
    """Writes a folder in open_clip's hub format, float32; the config is that of `config_path`. Returns the folder.

    open_clip refuses what it does not know, so the projector for replay is left out unless `second` asks for it.
    """
    whole = json.loads(Path(config_path).read_text(encoding="utf-8"))
    vision = whole["model_cfg"]["vision_cfg"]
    vision.pop("is_continual", None)
    if second:
        vision["is_continual"] = True
    tensors = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    if not second:
        tensors.pop(SECOND, None)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / WEIGHTS[0]) as temporary:
        write_safetensors(temporary, tensors)
    write_json(out / OPEN_CLIP_CONFIG, whole)
    return out
