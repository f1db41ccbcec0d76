"""A model as a folder: `image.onnx`, `text.onnx`, `tokenizer.json`, `calibration.json`, and `config.json` written last.

`familiar.txt` lists the species that its training signals named, one a line, as "kingdom|…|species". Weights are float16 in the
file and float32 in memory. Shape suffixes: b images, h w pixels, c channels, n texts, d vector dimensions, l m h p e as in
`linnaea.model.text_graph`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.model.contract import ModelCard, Preprocess
from linnaea.model.text_graph import TextConfig
from linnaea.model.tokenizer import Tokenizer, pad
from linnaea.store import hash_files

CONFIG = "config.json"
CALIBRATION = "calibration.json"
FAMILIAR = "familiar.txt"
WEIGHT_FILES = ("image.onnx", "text.onnx", "tokenizer.json")
TEXT_BATCH = 1024
# A convolutional trunk's activations for a few images stay in the processor's caches; those of a whole batch do not.
IMAGE_CHUNK = 4


@dataclass(frozen=True, kw_only=True)
class TextPrefix:
    """Keys and values of texts that others begin with: `k`, `v` [l, m, h, p, e] and the number of tokens of each, [m]."""

    k: np.ndarray
    v: np.ndarray
    length_m: np.ndarray


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
        refusals=tuple(config["refusals"]),
        calibration=calibration,
        common_names=config["common_names"],
    )


class PackagedModel:
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
        return onnxruntime.InferenceSession(
            str(self._directory / name), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def _image_session(self):
        return self._session("image.onnx")

    @cached_property
    def _text_session(self):
        return self._session("text.onnx")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self._directory / "tokenizer.json", self.text_config.context)

    @cached_property
    def familiar(self) -> list[tuple[str, ...]]:
        """Lineages of the species that training named; empty where the folder has no list."""
        path = self._directory / FAMILIAR
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [tuple(line.split("|")) for line in lines]

    def encode_images(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images."""
        run = self._image_session.run
        parts = [images_bhwc[start : start + IMAGE_CHUNK] for start in range(0, max(1, len(images_bhwc)), IMAGE_CHUNK)]
        return np.concatenate([run(None, {"images": part})[0] for part in parts])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts as given."""
        vectors_nd = np.empty((len(texts), self.card.dim), np.float32)
        ids = self.tokenizer.ids(list(texts))
        order = np.argsort([len(row) for row in ids], kind="stable")
        for start in range(0, len(order), TEXT_BATCH):
            rows = order[start : start + TEXT_BATCH]
            vectors_nd[rows] = self.encode_tokens([ids[row] for row in rows])
        return vectors_nd

    def no_prefix(self) -> TextPrefix:
        """The prefix of texts that begin at their first token."""
        c = self.text_config
        empty = np.zeros((c.n_layers, 1, c.n_heads, 1, c.width // c.n_heads), np.float32)
        return TextPrefix(k=empty, v=empty, length_m=np.zeros(1, np.int64))

    def encode_tokens(
        self, ids: list[list[int]], prefix: TextPrefix | None = None, prefix_row: np.ndarray | None = None
    ) -> np.ndarray:
        """Unit vectors [n, d] of token lists that end in the end-of-text token, after their prefixes."""
        return self._run_text(["vectors"], ids, prefix, prefix_row)[0]

    def extend_prefix(
        self, ids: list[list[int]], prefix: TextPrefix | None = None, prefix_row: np.ndarray | None = None
    ) -> TextPrefix:
        """The prefixes that end after these tokens (no end-of-text token), those of `prefix` included."""
        prefix = prefix or self.no_prefix()
        prefix_row = np.zeros(len(ids), np.int64) if prefix_row is None else prefix_row
        k, v = self._run_text(["k", "v"], ids, prefix, prefix_row)
        old = prefix.length_m[prefix_row]
        new = np.array([len(row) for row in ids], np.int64)
        column = np.arange((old + new).max(initial=1))
        # a row's columns: its old tokens, then its new ones, which stand after the padded width of the old
        width = prefix.k.shape[3]
        source = np.where(column < old[:, None], column, np.minimum(column - old[:, None] + width, width + k.shape[3] - 1))
        joined = []
        for before, after in ((prefix.k, k), (prefix.v, v)):
            both = np.concatenate([before[:, prefix_row], after], axis=3)
            joined.append(np.take_along_axis(both, source[None, :, None, :, None], axis=3))
        return TextPrefix(k=joined[0], v=joined[1], length_m=old + new)

    def _run_text(self, outputs, ids, prefix, prefix_row):
        prefix = prefix or self.no_prefix()
        tokens, length = pad(ids)
        feeds = {
            "tokens": tokens,
            "length": length,
            "prefix_row": np.zeros(len(ids), np.int64) if prefix_row is None else prefix_row,
            "prefix_k": prefix.k,
            "prefix_v": prefix.v,
            "prefix_length": prefix.length_m,
        }
        return self._text_session.run(outputs, feeds)


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
        "refusals": list(card.refusals),
        "common_names": card.common_names,
    }
    write_json(Path(directory) / CONFIG, value)
