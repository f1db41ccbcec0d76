"""What pybioclip's classifiers have in common: a model, the pixels that it sees, vectors of pictures, answers.

Shape suffixes: b images, l labels, d vector dimensions.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from linnaea.bioclip.pixels import FloatImageEncoder, TorchFloatImageEncoder, check_device, squash
from linnaea.bioclip.ranks import BATCH_SIZE, BIOCLIP_MODEL_STR, PIXELS, TOL_MODELS
from linnaea.embed.images.image_vectors import embed_batches
from linnaea.embed.images.pixel_reader import read_pixels
from linnaea.embed.images.runtime_sample import sample_evenly, select_runtime_for_records
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.model.loading import load_model
from linnaea.model.runtimes.runtime_check import LabelFunction
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME, check_runtime
from linnaea.photos.decoding import Unreadable, decode_image
from linnaea.records import ImageRecord

FILE_NAME, CLASSIFICATION, SCORE, REASON = "file_name", "classification", "score", "reason"
LOCAL_DIR = "local-dir:"

Picture = str | os.PathLike | Image.Image
Callback = Callable[[int, int], None]


@dataclass(frozen=True)
class NamedPicture:
    """A picture with the name that its answers carry: its path, or its position in the list."""

    key: str
    picture: Picture


def list_pictures(images: Picture | Iterable[Picture]) -> list[NamedPicture]:
    """The pictures with their names; a list of `NamedPicture` is returned as it is."""
    if isinstance(images, list) and all(isinstance(image, NamedPicture) for image in images):
        return images
    if isinstance(images, str | os.PathLike | Image.Image):
        images = [images]
    return [NamedPicture(str(i) if isinstance(x, Image.Image) else os.fspath(x), x) for i, x in enumerate(images)]


class BaseClassifier:
    """A model and the way its pixels are made.

    `model_str` is a name on the hub, an open_clip folder (with or without `local-dir:`) or any model of Linnaea.
    `pixels`: `auto` is what pybioclip shows to this model; `squash` is what it shows to the models with a tree of life,
    the whole photograph without its proportions; `model` is what the model's own config says. `runtime` applies to the
    last of them only; the others run in full precision. A `device` other than cpu is a device of torch; the model,
    which must be a transformer, then runs there.
    """

    def __init__(
        self,
        model_str: str | None = BIOCLIP_MODEL_STR,
        pretrained_str: str | None = None,
        device: str = "cpu",
        *,
        pixels: str = "auto",
        runtime: str = DEFAULT_RUNTIME,
    ):
        if pixels not in PIXELS:
            raise ValueError(f"unknown pixels {pixels!r}; choose one of {', '.join(PIXELS)}")
        if pretrained_str is not None:
            raise ValueError(f"pretrained {pretrained_str!r}: give the folder of the checkpoint as the model instead")
        self.model_str, self.pretrained_str, self.device = model_str or BIOCLIP_MODEL_STR, None, str(device)
        self.pixels = ("squash" if self._squashes() else "model") if pixels == "auto" else pixels
        if self.device != "cpu":
            if runtime not in (DEFAULT_RUNTIME, "torch"):
                raise ValueError(
                    f"device {self.device!r} is for torch and runtime {runtime!r} is not; leave one of them out"
                )
            check_device(self.device)
            runtime = "torch"
        if self.pixels == "squash" and runtime not in (DEFAULT_RUNTIME, "torch"):
            raise ValueError(f"runtime {runtime!r} sees the model's own pixels only; add pixels 'model'")
        check_runtime(runtime)
        self._runtime, self._is_selected = runtime, runtime == DEFAULT_RUNTIME
        self.model = load_model(self.model_str.removeprefix(LOCAL_DIR))
        if runtime == "torch":
            _check_is_transformer(self.model)
        self.recorder = None

    def _squashes(self) -> bool:
        """Whether pybioclip squashes photographs for this model."""
        return self.model_str in TOL_MODELS

    def set_recorder(self, recorder) -> None:
        """Record every later call of `predict` in `recorder`; see `linnaea.bioclip.recorder`."""
        self.recorder = recorder

    def record_event(self, images: Iterable[Picture], **details) -> None:
        """Record a call if there is a recorder."""
        if self.recorder:
            self.recorder.add_prediction(images, **details)

    @cached_property
    def _float_encoder(self) -> FloatImageEncoder:
        return FloatImageEncoder(self.model)

    @cached_property
    def _torch_encoder(self) -> TorchFloatImageEncoder:
        return TorchFloatImageEncoder(self.model, "" if self.device == "cpu" else self.device)

    def _select_encoder(self, pictures: list[NamedPicture]):
        """The encoder of unit vectors. A runtime that needs photographs first (a check, a calibration) takes these."""
        if self.device != "cpu":
            return self._torch_encoder
        if self.pixels == "squash":
            return self._float_encoder if self._runtime == DEFAULT_RUNTIME else self._torch_encoder
        if not self._is_selected:
            label, names = self._make_label_function()
            select_runtime_for_records(
                self.model,
                self._runtime,
                lambda n: sample_evenly(pictures, n),
                len(pictures),
                decode=self._read_picture,
                label=label,
                names=names,
            )
            self._is_selected = True
        return self.model

    def _make_label_function(self) -> tuple[LabelFunction | None, str]:
        """A function that returns the first names of vectors, and a hash of all names; None, "" without names.

        The check of a runtime compares these names.
        """
        return None, ""

    def _read_picture(self, named: NamedPicture) -> np.ndarray | Unreadable:
        """The pixels of a picture as the model sees them."""
        picture, preprocess = named.picture, self.model.card.preprocess
        if self.pixels == "model" and not isinstance(picture, Image.Image):
            return read_pixels(ImageRecord(path=named.key), preprocess)
        image = picture.convert("RGB") if isinstance(picture, Image.Image) else decode_image(picture)
        if isinstance(image, Unreadable):
            return image
        return squash(image, preprocess.size) if self.pixels == "squash" else preprocess_image(image, preprocess)

    def _make_raw_encoder(self) -> _RawEncoder:
        """The encoder of vectors that keep their length."""
        if self._runtime not in (DEFAULT_RUNTIME, "torch", "auto"):
            raise ValueError(
                f"runtime {self._runtime!r} gives unit vectors only; choose {DEFAULT_RUNTIME} or torch for others"
            )
        return _RawEncoder(self._torch_encoder if self._runtime == "torch" else self._float_encoder)

    @staticmethod
    def ensure_rgb_image(image: Picture) -> Image.Image:
        """The upright RGB image of a file, or an open image as RGB. Raise ValueError for a file that cannot be read."""
        if isinstance(image, Image.Image):
            return image.convert("RGB")
        found = decode_image(image)
        if found.__class__ is Unreadable:
            raise ValueError(f"{image}: {found.reason}")
        return found

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """The normalised pixels of an RGB image, float32 [c, h, w]; a tensor if torch is loaded already."""
        preprocess = self.model.card.preprocess
        pixels_hwc = squash(image, preprocess.size) if self.pixels == "squash" else preprocess_image(image, preprocess)
        pixels_hwc = (np.asarray(pixels_hwc, np.float32) / 255 - preprocess.mean) / preprocess.std
        pixels_chw = np.ascontiguousarray(pixels_hwc.transpose(2, 0, 1), np.float32)
        torch = sys.modules.get("torch")
        return pixels_chw if torch is None else torch.from_numpy(pixels_chw)

    def forward(self, x) -> np.ndarray:
        """Probabilities float32 [b, n] of every label for normalised pixels [b, c, h, w], an array or a tensor."""
        preprocess = self.model.card.preprocess
        pixels_bhwc = np.asarray(x, np.float32).transpose(0, 2, 3, 1)
        pixels_bhwc = ((pixels_bhwc * preprocess.std + preprocess.mean) * 255).astype(np.float32)
        vectors_bd = self._float_encoder.encode_images(pixels_bhwc)
        logits_bn = np.float64(self.model.card.logit_scale) * (vectors_bd @ self.txt_embeddings)
        mass_bn = np.exp(logits_bn - logits_bn.max(axis=1, keepdims=True))
        return (mass_bn / mass_bn.sum(axis=1, keepdims=True)).astype(np.float32)

    def embed(
        self, images: Picture | Sequence[Picture], *, batch_size: int | None = BATCH_SIZE, normalize: bool = True
    ) -> Iterator[tuple[list[str], np.ndarray, dict[int, str]]]:
        """For each batch: keys, vectors float32 [b, d] of the pictures that could be read, {position: reason}."""
        pictures = list_pictures(images)
        encoder = self._select_encoder(pictures) if normalize else self._make_raw_encoder()
        batch_size = batch_size or max(1, len(pictures))
        batches = embed_batches(encoder, pictures, batch_size=batch_size, decode=self._read_picture)
        return (([named.key for named in batch.records], batch.vectors_bd, batch.failures) for batch in batches)

    def create_image_features(self, images: Sequence[Picture], normalize: bool = True) -> np.ndarray:
        """Vectors float32 [b, d]. Raise ValueError if a picture cannot be read."""
        found = [np.zeros((0, self.model.card.dim), np.float32)]
        for keys, vectors_bd, failures in self.embed(images, normalize=normalize):
            for i, reason in failures.items():
                raise ValueError(f"{keys[i]}: {reason}")
            found.append(vectors_bd)
        return np.concatenate(found)

    def create_image_features_for_image(self, image: Picture, normalize: bool) -> np.ndarray:
        """The vector float32 [d] of one picture."""
        return self.create_image_features([image], normalize=normalize)[0]

    def _predict_pictures(
        self,
        images: Picture | Sequence[Picture],
        batch_size: int | None,
        callback: Callback | None,
        answer: Callable[[np.ndarray], Iterable[list[dict]]],
        empty: dict,
    ) -> Iterator[dict]:
        """Yield the dicts of every picture in order.

        `answer(vectors_bd)` yields the dicts of each vector, without the file name. A picture that cannot be read gets
        `empty` and a reason.
        """
        pictures, done = list_pictures(images), 0
        for keys, vectors_bd, failures in self.embed(pictures, batch_size=batch_size):
            named = iter(answer(vectors_bd) if len(vectors_bd) else ())
            for i, key in enumerate(keys):
                if i in failures:
                    yield {FILE_NAME: key, **empty, SCORE: math.nan, REASON: failures[i]}
                else:
                    yield from ({FILE_NAME: key, **found} for found in next(named))
            done += len(keys)
            if callback:
                callback(done, len(pictures))


class _RawEncoder:
    """An encoder whose vectors keep their length, for the batched loop."""

    def __init__(self, encoder: FloatImageEncoder | TorchFloatImageEncoder):
        self.card, self.encode_images = encoder.card, encoder.features


def _check_is_transformer(model) -> None:
    """Raise ValueError for a model that torch cannot run."""
    source = getattr(model, "image_source", None)
    if source is None or "torch" not in source.runtimes:
        raise ValueError(
            f"torch runs transformers only and the model {model.card.name!r} is of another kind; leave device and "
            "runtime out"
        )
