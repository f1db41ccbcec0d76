"""Load a model for training from open_clip's files, and save it as such files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from linnaea.model.core.safetensors import hash_sha256, write_safetensors
from linnaea.model.formats.open_clip import WEIGHTS, find_weights, read_state
from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG, read_config
from linnaea.store import atomic_path, write_json
from linnaea.train.clip.towers import ClipModel

REPLAY_PROJECTOR = "visual.continual_proj"
# Entries of older open_clip checkpoints that are not parameters.
NOT_PARAMETERS = ("attn_mask", "input_resolution", "context_length", "vocab_size")


def make_model(config_path: Path, *, replay: bool = False) -> ClipModel:
    """Make a model with random weights from an open_clip config."""
    config = read_config(config_path)
    return ClipModel(config.vision, config.text, replay=replay)


def load_open_clip(model_dir: Path, *, replay: bool = False) -> ClipModel:
    """Load the model of a folder in open_clip's hub format.

    With `replay` it gets the projector for replay: the stored one, or else a copy of the first, as BioCLIP 2 did.
    Raises ValueError that names missing or unknown weights.
    """
    model_dir = Path(model_dir)
    model = make_model(model_dir / OPEN_CLIP_CONFIG, replay=replay)
    path = find_weights(model_dir)
    stored = read_state(path, hash_sha256(path) if path.suffix != ".safetensors" else "")
    names = {name.removeprefix("module.").removeprefix("_orig_mod."): name for name in stored}
    if replay and REPLAY_PROJECTOR not in names:
        names[REPLAY_PROJECTOR] = names.get("visual.proj", "")
    elif not replay:
        names.pop(REPLAY_PROJECTOR, None)
    for name in NOT_PARAMETERS:
        names.pop(name, None)
    wanted = model.state_dict()
    if names.keys() != wanted.keys():
        missing, more = sorted(wanted.keys() - names.keys()), sorted(names.keys() - wanted.keys())
        both = (("lacks", missing), ("has unknown", more))
        said = " and ".join(f"{kind} {len(found)} weights, such as {found[0]}" for kind, found in both if found)
        raise ValueError(f"{path} does not match {OPEN_CLIP_CONFIG}: it {said}; use weights and config of one model")
    with torch.no_grad():
        for name, parameter in wanted.items():
            value = torch.from_numpy(np.array(stored[names[name]].array(), np.float32))
            if value.numel() != parameter.numel():
                shapes = f"shape {tuple(value.shape)}, but {OPEN_CLIP_CONFIG} requires {tuple(parameter.shape)}"
                raise ValueError(f"{path}: {name} has {shapes}; use weights and config of one model")
            parameter.copy_(value.view(parameter.shape))
    return model


def save_open_clip(model: ClipModel, config_path: Path, out_dir: Path, *, replay: bool = False) -> Path:
    """Write a folder in open_clip's hub format, in float32 and with the config of `config_path`; return the folder.

    The projector for replay is left out unless `replay` is set, because open_clip refuses unknown weights.
    """
    whole = json.loads(Path(config_path).read_text(encoding="utf-8"))
    vision = whole["model_cfg"]["vision_cfg"]
    vision.pop("is_continual", None)
    if replay:
        vision["is_continual"] = True
    tensors = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    if not replay:
        tensors.pop(REPLAY_PROJECTOR, None)
    out_dir.mkdir(parents=True, exist_ok=True)
    with atomic_path(out_dir / WEIGHTS[0]) as temporary:
        write_safetensors(temporary, tensors)
    write_json(out_dir / OPEN_CLIP_CONFIG, whole)
    return out_dir
