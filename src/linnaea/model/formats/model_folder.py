"""A model as a folder: `image.onnx`, `text.onnx`, `tokenizer.json`, `calibration.json`, and `config.json` written last.

`familiar.txt` lists the species that its training signals named, one a line, as "kingdom|…|species". Weights are float16 in the
file and float32 in memory. Shape suffixes: b images, h w pixels, c channels, d vector dimensions.
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
from linnaea.store import hash_files

CONFIG = "config.json"
CALIBRATION = "calibration.json"
FAMILIAR = "familiar.txt"
WEIGHT_FILES = ("image.onnx", "text.onnx", "tokenizer.json")
# A convolutional trunk's activations for a few images stay in the processor's caches; those of a whole batch do not.
IMAGE_CHUNK = 4


def load_card(directory: Path) -> ModelCard:
    """What the folder says of its model, without opening the weights. Raises FileNotFoundError where it is none."""
    directory = Path(directory)
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{directory} is not a model folder (no {CONFIG})") from None
    needed = ("name", "text", "logit_scale", "preprocess", "text_type", "templates", "refusals", "common_names")
    if missing := [key for key in needed if not isinstance(config, dict) or key not in config]:
        raise ValueError(
            f"{directory} is a model of another program ({CONFIG} has no {missing[0]!r}); give bundled or a folder that "
            "`linnaea train` wrote"
        )
    calibration_path = directory / CALIBRATION
    calibration = json.loads(calibration_path.read_text(encoding="utf-8")) if calibration_path.exists() else {}
    return ModelCard(
        name=config["name"],
        hash=hash_files(*(directory / name for name in WEIGHT_FILES)),
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
    """The contract on onnxruntime. Sessions open when first used, so names can be read without the image tower."""

    def __init__(self, directory: Path, *, n_threads: int = 0):
        self._directory = Path(directory)
        self._n_threads = n_threads
        self.card = load_card(self._directory)
        config = json.loads((self._directory / CONFIG).read_text(encoding="utf-8"))
        self.text_config = TextConfig(**config["text"])

    def _session(self, name: str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._n_threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(self._directory / name), options, providers=["CPUExecutionProvider"])

    @property
    def image_source(self) -> GraphFile:
        return GraphFile(path=self._directory / "image.onnx", hash=self.card.hash, chunk=IMAGE_CHUNK)

    @cached_property
    def _text_session(self):
        return self._session("text.onnx")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self._directory / "tokenizer.json", self.text_config.context)

    @cached_property
    def familiar(self) -> list[tuple[str, ...]]:
        """Lineages of the species that training named; empty where the folder has no list."""
        return read_familiar(self._directory)


def read_familiar(directory: Path) -> list[tuple[str, ...]]:
    """The lineages in a folder's list of familiar species; empty where it has none."""
    path = Path(directory) / FAMILIAR
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [tuple(line.split("|")) for line in lines]


def write_familiar(directory: Path, lineages: Iterable[tuple[str, ...]]) -> None:
    """Writes a folder's list of familiar species."""
    lines = sorted("|".join(lineage) for lineage in lineages)
    (Path(directory) / FAMILIAR).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_config(directory: Path, card: ModelCard, text: TextConfig) -> None:
    """Writes `config.json`, which makes the folder a model; everything else must lie there already."""
    from linnaea.store import write_json

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
    write_json(Path(directory) / CONFIG, value)
