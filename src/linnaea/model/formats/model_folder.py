"""A model as a folder: `image.onnx`, `text.onnx`, `tokenizer.json`, `calibration.json`, and `config.json` written last.

`familiar.txt` lists the species that occurred by name in training, one per line, as "kingdom|…|species". Weights are
float16 in the file and float32 in memory.

Shape suffixes: b images, h w pixels, c channels, d vector dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from linnaea.model.core.contract import ModelCard, Preprocess
from linnaea.model.core.tokenizer import Tokenizer
from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.model.runtimes.encoder_factory import ImageEncoderMixin
from linnaea.model.runtimes.image_encoders import GraphFile
from linnaea.model.runtimes.text_encoder import TextEncoderMixin
from linnaea.store import hash_files, write_json

CONFIG = "config.json"
CALIBRATION = "calibration.json"
FAMILIAR = "familiar.txt"
WEIGHT_FILES = ("image.onnx", "text.onnx", "tokenizer.json")
# The activations of a convolutional trunk stay in the CPU caches for a few images, not for a whole batch.
IMAGE_CHUNK = 4


def load_card(model_dir: Path) -> ModelCard:
    """The card of the model in a folder. Opens no weights. Raises FileNotFoundError if it is not a model folder."""
    model_dir = Path(model_dir)
    try:
        config = json.loads((model_dir / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{model_dir} is not a model folder (no {CONFIG})") from None
    needed = ("name", "text", "logit_scale", "preprocess", "text_type", "templates", "refusals", "common_names")
    if missing := [key for key in needed if not isinstance(config, dict) or key not in config]:
        raise ValueError(
            f"{model_dir} is the model of another program ({CONFIG} has no {missing[0]!r}); give bundled or a folder "
            "written by `linnaea train`"
        )
    calibration_path = model_dir / CALIBRATION
    calibration = json.loads(calibration_path.read_text(encoding="utf-8")) if calibration_path.exists() else {}
    return ModelCard(
        name=config["name"],
        hash=hash_files(*(model_dir / name for name in WEIGHT_FILES)),
        dim=config["text"]["dim"],
        logit_scale=config["logit_scale"],
        preprocess=Preprocess(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in config["preprocess"].items()}
        ),
        text_type=config["text_type"],
        templates=tuple(config["templates"]),
        negative_prompts=tuple(config["refusals"]),
        calibration=calibration,
        common_names=config["common_names"],
    )


class FolderModel(ImageEncoderMixin, TextEncoderMixin):
    """A model folder, run by onnxruntime. Sessions open on first use, so names need no image encoder."""

    def __init__(self, model_dir: Path, *, n_threads: int = 0):
        self.model_dir = Path(model_dir)
        self._n_threads = n_threads
        self.card = load_card(self.model_dir)
        config = json.loads((self.model_dir / CONFIG).read_text(encoding="utf-8"))
        self.text_config = TextConfig(**config["text"])

    def _open_session(self, name: str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._n_threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(self.model_dir / name), options, providers=["CPUExecutionProvider"])

    @property
    def image_source(self) -> GraphFile:
        """The file of the image encoder."""
        return GraphFile(path=self.model_dir / "image.onnx", hash=self.card.hash, chunk=IMAGE_CHUNK)

    @cached_property
    def _text_session(self):
        return self._open_session("text.onnx")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer in the folder."""
        return Tokenizer(self.model_dir / "tokenizer.json", self.text_config.context)

    @cached_property
    def familiar(self) -> list[tuple[str, ...]]:
        """Lineages of the species that occurred by name in training; empty if the folder has no list."""
        return read_familiar(self.model_dir)


def read_familiar(model_dir: Path) -> list[tuple[str, ...]]:
    """The lineages in a folder's list of familiar species; empty if it has none."""
    path = Path(model_dir) / FAMILIAR
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [tuple(line.split("|")) for line in lines]


def write_familiar(model_dir: Path, lineages: Iterable[tuple[str, ...]]) -> None:
    """Write a folder's list of familiar species."""
    lines = sorted("|".join(lineage) for lineage in lineages)
    (Path(model_dir) / FAMILIAR).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_config(model_dir: Path, card: ModelCard, text: TextConfig) -> None:
    """Write `config.json`, which completes a model folder: all other files must be there before."""
    value = {
        "name": card.name,
        "logit_scale": card.logit_scale,
        "preprocess": asdict(card.preprocess),
        "text": asdict(text),
        "text_type": card.text_type,
        "templates": list(card.templates),
        "refusals": list(card.negative_prompts),
        "common_names": card.common_names,
    }
    write_json(Path(model_dir) / CONFIG, value)
