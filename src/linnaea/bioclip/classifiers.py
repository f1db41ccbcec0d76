"""pybioclip's classifiers on Linnaea's models, name tables and scoring: the same arguments, the same answers.

Answers are lists of dicts as pybioclip gives them; a photograph that cannot be read gets one with a `reason`. What differs on
purpose stands in docs/pybioclip.md. Shape suffixes: b images, n columns of the name table, l labels, d vector dimensions.
"""

from __future__ import annotations

import csv
import heapq
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from PIL import Image

from linnaea.bioclip.pixels import FloatImageEncoder, TorchFloatImageEncoder, check_device, squash
from linnaea.bioclip.ranks import (
    BATCH_SIZE,
    BIOCLIP_MODEL_STR,
    COMMON_NAME,
    PIXELS,
    SPECIES_EPITHET,
    TOL_MODELS,
    Rank,
    name_keys,
    name_parts,
)
from linnaea.embed.images.image_vectors import embed_batches, read_pixels
from linnaea.embed.images.runtime_sample import sample_evenly, select_runtime_for_records
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.model.core.templates import IMAGENET_TEMPLATES
from linnaea.model.loading import load_model
from linnaea.model.runtimes.runtime_check import LabelFunction
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME, check_runtime
from linnaea.photos.decoding import Unreadable, decode_image
from linnaea.records import RANKS, ImageRecord
from linnaea.search.scorer import Scorer
from linnaea.store import hash_bytes

FILE_NAME, CLASSIFICATION, SCORE, REASON = "file_name", "classification", "score", "reason"
# Labels whose 80 sentences are embedded together.
LABELS_AT_ONCE = 8
LOCAL_DIR = "local-dir:"

Picture = str | os.PathLike | Image.Image
Callback = Callable[[int, int], None]


@dataclass(frozen=True)
class _Photo:
    """A picture with the name that its answers carry: its path, or its place in the list."""

    key: str
    picture: Picture


def _photos(images: Picture | Iterable[Picture]) -> list[_Photo]:
    if isinstance(images, list) and all(isinstance(image, _Photo) for image in images):
        return images
    if isinstance(images, str | os.PathLike | Image.Image):
        images = [images]
    return [_Photo(str(i) if isinstance(x, Image.Image) else os.fspath(x), x) for i, x in enumerate(images)]


class BaseClassifier:
    """A model and the way its pixels are made.

    `model_str` is a name on the hub, an open_clip folder (with or without `local-dir:`) or any model of Linnaea's.
    `pixels`: `auto` is what pybioclip shows to this model; `squash` is what it shows to the models with a tree of life, the
    whole photograph without its proportions; `model` is what the model's own config says. `runtime` is for the last of them,
    the others run in full precision; a `device` other than cpu is one of torch's, and the model, a transformer, then runs there.
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
        self._runtime, self._settled = runtime, runtime == DEFAULT_RUNTIME
        self.model = load_model(self.model_str.removeprefix(LOCAL_DIR))
        if runtime == "torch":
            _check_is_transformer(self.model)
        self.recorder = None

    def _squashes(self) -> bool:
        return self.model_str in TOL_MODELS

    def set_recorder(self, recorder) -> None:
        """From now on `recorder` hears of every call of `predict`; see `linnaea.bioclip.recorder`."""
        self.recorder = recorder

    def record_event(self, images, **details) -> None:
        """Tells the recorder, if there is one."""
        if self.recorder:
            self.recorder.add_prediction(images, **details)

    @cached_property
    def _float_encoder(self) -> FloatImageEncoder:
        return FloatImageEncoder(self.model)

    @cached_property
    def _torch_encoder(self) -> TorchFloatImageEncoder:
        return TorchFloatImageEncoder(self.model, "" if self.device == "cpu" else self.device)

    def _tower(self, photos: list[_Photo]):
        """What makes unit vectors; a runtime that wants photographs first (for a check, a calibration) takes these."""
        if self.device != "cpu":
            return self._torch_encoder
        if self.pixels == "squash":
            return self._float_encoder if self._runtime == DEFAULT_RUNTIME else self._torch_encoder
        if not self._settled:
            label, names = self._first_names()
            select_runtime_for_records(
                self.model,
                self._runtime,
                lambda n: sample_evenly(photos, n),
                len(photos),
                decode=self._read,
                label=label,
                names=names,
                say=_say,
            )
            self._settled = True
        return self.model

    def _first_names(self) -> tuple[LabelFunction | None, str]:
        """What gives the first names of vectors, for the check of a runtime, and a hash of what they are chosen from; None
        where there are no names."""
        return None, ""

    def _read(self, photo: _Photo) -> np.ndarray | Unreadable:
        """The pixels that the model sees of a picture; one that is no path is taken as it is."""
        picture, preprocess = photo.picture, self.model.card.preprocess
        if self.pixels == "model" and not isinstance(picture, Image.Image):
            return read_pixels(ImageRecord(path=photo.key), preprocess)
        image = picture.convert("RGB") if isinstance(picture, Image.Image) else decode_image(picture)
        if isinstance(image, Unreadable):
            return image
        return squash(image, preprocess.size) if self.pixels == "squash" else preprocess_image(image, preprocess)

    def _raw_encoder(self) -> _RawFeatures:
        """What makes vectors that keep their length."""
        if self._runtime not in (DEFAULT_RUNTIME, "torch", "auto"):
            raise ValueError(
                f"runtime {self._runtime!r} gives unit vectors only; choose {DEFAULT_RUNTIME} or torch for others"
            )
        return _RawFeatures(self._torch_encoder if self._runtime == "torch" else self._float_encoder)

    def embed(
        self, images: Picture | Sequence[Picture], *, batch_size: int | None = BATCH_SIZE, normalize: bool = True
    ):
        """Gives (keys, vectors float32 [b, d] of those that could be read, {position: reason}) of each batch."""
        photos = _photos(images)
        tower = self._tower(photos) if normalize else self._raw_encoder()
        batches = embed_batches(tower, photos, batch_size=batch_size or max(1, len(photos)), decode=self._read)
        return (([photo.key for photo in batch.records], batch.vectors_bd, batch.failures) for batch in batches)

    def create_image_features(self, images: Sequence[Picture], normalize: bool = True) -> np.ndarray:
        """Vectors float32 [b, d]. Raises ValueError where a picture cannot be read."""
        found = [np.zeros((0, self.model.card.dim), np.float32)]
        for keys, vectors_bd, failures in self.embed(images, normalize=normalize):
            for i, reason in failures.items():
                raise ValueError(f"{keys[i]}: {reason}")
            found.append(vectors_bd)
        return np.concatenate(found)

    def create_image_features_for_image(self, image: Picture, normalize: bool) -> np.ndarray:
        """The vector float32 [d] of one picture."""
        return self.create_image_features([image], normalize=normalize)[0]

    def _answers(
        self,
        images: Picture | Sequence[Picture],
        batch_size: int | None,
        callback: Callback | None,
        answer,
        empty: dict,
    ) -> Iterator[dict]:
        """The dicts of every picture in order; `answer(vectors_bd)` gives those of each vector, without the file's name."""
        photos, done = _photos(images), 0
        for keys, vectors_bd, failures in self.embed(photos, batch_size=batch_size):
            named = iter(answer(vectors_bd) if len(vectors_bd) else ())
            for i, key in enumerate(keys):
                if i in failures:
                    yield {FILE_NAME: key, **empty, SCORE: math.nan, REASON: failures[i]}
                else:
                    yield from ({FILE_NAME: key, **found} for found in next(named))
            done += len(keys)
            if callback:
                callback(done, len(photos))


class _RawFeatures:
    """A tower whose vectors keep their length, for the batched loop."""

    def __init__(self, tower: FloatImageEncoder | TorchFloatImageEncoder):
        self.card, self.encode_images = tower.card, tower.features


def _check_is_transformer(model) -> None:
    """Raises ValueError for a model that torch cannot run."""
    source = getattr(model, "image_source", None)
    if source is None or "torch" not in source.runtimes:
        raise ValueError(
            f"the model {model.card.name!r} is no transformer, and torch runs no other; leave device and runtime out"
        )


class CustomLabelsClassifier(BaseClassifier):
    """Chooses among labels of one's own, each averaged over 80 sentences."""

    def __init__(self, cls_ary: Iterable[str], **options):
        self.classes = [label.strip() for label in cls_ary]
        if not self.classes:
            raise ValueError("no label given; give the names to choose from")
        if "" in self.classes:
            raise ValueError(
                f"label {self.classes.index('') + 1} of {len(self.classes)} is empty; name it or leave it out"
            )
        super().__init__(**options)
        self.txt_embeddings = _embed_labels(self.model, self.classes).T

    def predict(
        self,
        images: Picture | Sequence[Picture],
        k: int | None = None,
        batch_size: int | None = BATCH_SIZE,
        callback: Callback | None = None,
    ) -> list[dict]:
        """Dicts with file_name, classification and score (0..1), the k likeliest labels of each picture (None: all)."""
        photos = _photos(images)
        found = list(self.predict_each(photos, k, batch_size, callback))
        self.record_event(images=[photo.picture for photo in photos], k=k, batch_size=batch_size)
        return found

    def predict_each(self, images, k=None, batch_size=BATCH_SIZE, callback=None) -> Iterator[dict]:
        """The dicts of `predict` one after the other, a batch in memory at a time."""
        return self._answers(images, batch_size, callback, partial(self._name, k=k or None), {CLASSIFICATION: ""})

    def _name(self, vectors_bd: np.ndarray, k: int | None) -> Iterator[list[dict]]:
        logits_bl = np.float64(self.model.card.logit_scale) * (vectors_bd @ self.txt_embeddings)
        mass_bl = np.exp(logits_bl - logits_bl.max(axis=1, keepdims=True))
        for mass_l in mass_bl / mass_bl.sum(axis=1, keepdims=True):
            scores = self._group(mass_l.tolist())
            best = heapq.nlargest(k or len(scores), scores, key=lambda score: score[1])
            yield [{CLASSIFICATION: name, SCORE: mass} for name, mass in best]

    def _first_names(self) -> tuple[LabelFunction | None, str]:
        return lambda vectors_bd: (vectors_bd @ self.txt_embeddings).argmax(axis=1).tolist(), hash_bytes(*self.classes)

    def _group(self, masses: list[float]) -> list[tuple[str, float]]:
        return list(zip(self.classes, masses, strict=True))


class CustomLabelsBinningClassifier(CustomLabelsClassifier):
    """Chooses among bins of labels; a bin's score is the sum of its labels'."""

    def __init__(self, cls_to_bin: Mapping[str, str], **options):
        if any(not bin_ or not isinstance(bin_, str) for bin_ in cls_to_bin.values()):
            raise ValueError("a label has no bin; name one for each")
        super().__init__(cls_ary=cls_to_bin, **options)
        self.cls_to_bin = dict(cls_to_bin)
        self._bins = list(cls_to_bin.values())

    def _group(self, masses: list[float]) -> list[tuple[str, float]]:
        scores = dict.fromkeys(self._bins, 0.0)
        for bin_, mass in zip(self._bins, masses, strict=True):
            scores[bin_] += mass
        return list(scores.items())


class TreeOfLifeClassifier(BaseClassifier):
    """Chooses among the taxa of a tree of life, at any rank.

    `table` is a `txt_emb_species` file (or its folder), or a vocabulary whose names the model embeds (`inat`); without it
    the table that is published for the model, else `inat`.
    """

    def __init__(self, *, table: str | os.PathLike | None = None, **options):
        super().__init__(**options)
        from linnaea.bioclip.tree_of_life import load_tree_of_life

        self.vocabulary, self._table = load_tree_of_life(self.model, self.model_str, table)
        self._keep_leaves(None)

    def _squashes(self) -> bool:
        return True

    def _first_names(self) -> tuple[LabelFunction | None, str]:
        def first(vectors_bd: np.ndarray) -> list[int]:
            scores = self._scorer.score(vectors_bd, details=False, ranks=["species"])
            return scores.node_br[:, Rank.SPECIES.value].tolist()

        return first, self.vocabulary.hash

    def _keep_leaves(self, leaves: np.ndarray | None) -> None:
        self._scorer = Scorer(self.vocabulary.tree, self._table, self.model.card.logit_scale, None, leaves)

    def get_label_data(self):
        """The names of every column of the table, a polars frame with kingdom … species_epithet, species, common_name."""
        import polars as pl

        tree, vocabulary = self.vocabulary.tree, self.vocabulary
        columns = {}
        for rank in RANKS:
            nodes = tree.nodes_at(rank)
            # The last name stands for leaves without this rank, and for columns without a name.
            of_leaf = np.full(tree.n_leaves + 1, len(nodes))
            sizes = (tree.end_k - tree.start_k)[nodes]
            of_leaf[_ranges(tree.start_k[nodes], sizes)] = np.repeat(np.arange(len(nodes)), sizes)
            names = pl.Series([*tree.names.take(nodes), ""], dtype=pl.String)
            columns[rank] = names.gather(of_leaf[vocabulary.leaf_of_row])
        columns[SPECIES_EPITHET] = columns["species"].str.replace(r"^\S+ ", "")
        common = [vocabulary.common_name(node) for node in tree.leaf_node_n.tolist()]
        columns[COMMON_NAME] = pl.Series([*common, ""], dtype=pl.String).gather(
            vocabulary.leaf_of_row % (len(common) + 1)
        )
        return pl.DataFrame({key: columns[key] for key in name_keys(Rank.SPECIES)})

    def create_taxa_filter(self, rank: Rank, user_values: Iterable[str]) -> np.ndarray:
        """Which columns of the table lie in taxa of that rank with these names, bool [n]; for `apply_filter`.

        Synonyms and common names count where no scientific name fits. Raises ValueError that lists the unknown names.
        """
        label, nodes, unknown = rank.get_label(), [], []
        for value in dict.fromkeys(user_values):
            taxa = self.vocabulary.resolve(value, rank=label, suggest=False).taxa
            nodes += [taxon.node for taxon in taxa]
            unknown += [] if taxa else [value]
        if unknown:
            raise ValueError(f"unknown {label}: {', '.join(unknown)}; only names that the table has can be kept")
        kept = np.zeros(self.vocabulary.tree.n_leaves + 1, bool)  # the last stands for a column without a name
        kept[self.vocabulary.tree.leaves_within(nodes)] = True
        return kept[self.vocabulary.leaf_of_row]

    def create_taxa_filter_from_csv(self, csv_path: str | os.PathLike) -> np.ndarray:
        """The same for a CSV file whose first column is named for a rank and holds names."""
        with open(csv_path, newline="", encoding="utf-8-sig") as handle:
            rows = [row for row in csv.reader(handle) if row]
        column = rows[0][0].strip().lower() if rows else ""
        if column not in RANKS:
            raise ValueError(f"the first column of {csv_path} is named {column!r}; name it one of {', '.join(RANKS)}")
        return self.create_taxa_filter(Rank[column.upper()], [row[0].strip() for row in rows[1:] if row[0].strip()])

    def apply_filter(self, keep_labels_ary: Sequence[bool] | None) -> None:
        """From now on only these columns of the table are answers, and candidates; None: all again."""
        if keep_labels_ary is None:
            return self._keep_leaves(None)
        keep_n = np.asarray(keep_labels_ary, bool)
        if len(keep_n) != len(self.vocabulary.leaf_of_row):
            raise ValueError(
                f"a filter has {len(self.vocabulary.leaf_of_row):,} entries, one a column; got {len(keep_n):,}"
            )
        leaves = self.vocabulary.leaf_of_row[keep_n]
        self._keep_leaves(np.unique(leaves[leaves >= 0]).astype(np.int32))

    def predict(
        self,
        images: Picture | Sequence[Picture],
        rank: Rank,
        min_prob: float = 1e-9,
        k: int = 5,
        batch_size: int | None = BATCH_SIZE,
        callback: Callback | None = None,
    ) -> list[dict]:
        """Dicts with file_name, the names down to the rank, and score (0..1): the k likeliest taxa of each picture.

        Above species, taxa under `min_prob` are left out.
        """
        photos = _photos(images)
        found = list(self.predict_each(photos, rank, min_prob, k, batch_size, callback))
        details = {"rank": rank.get_label(), "min_prob": min_prob, "k": k, "batch_size": batch_size}
        self.record_event(images=[photo.picture for photo in photos], **details)
        return found

    def predict_each(self, images, rank, min_prob=1e-9, k=5, batch_size=BATCH_SIZE, callback=None) -> Iterator[dict]:
        """The dicts of `predict` one after the other, a batch in memory at a time."""
        if k < 1:
            raise ValueError(f"k {k} is too small; give 1 or more")
        answer = partial(self._name, rank=rank, min_prob=0.0 if rank is Rank.SPECIES else min_prob, k=k)
        return self._answers(images, batch_size, callback, answer, dict.fromkeys(name_keys(rank), ""))

    def _name(self, vectors_bd: np.ndarray, rank: Rank, min_prob: float, k: int) -> Iterator[list[dict]]:
        scores = self._scorer.score(vectors_bd, top=k, details=False, ranks=[rank.get_label()])
        tree, vocabulary, r = self.vocabulary.tree, self.vocabulary, rank.value
        for nodes, masses in zip(scores.top_node_brk[:, r], scores.top_probability_brk[:, r], strict=True):
            yield [
                {**name_parts(tree.lineage(node), vocabulary.common_name(node), rank), SCORE: mass}
                for node, mass in zip(nodes[:k].tolist(), masses[:k].tolist(), strict=True)
                if node >= 0 and mass >= min_prob
            ]


def _say(line: str) -> None:
    print(f"linnaea: {line}", file=sys.stderr)


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers of all ranges, one after the other."""
    return np.repeat(starts - np.concatenate([[0], np.cumsum(sizes[:-1])]), sizes) + np.arange(sizes.sum())


def _embed_labels(model, labels: list[str]) -> np.ndarray:
    """Unit vectors float32 [l, d]: each label's unit vectors in all sentences, averaged and made unit again."""
    found = []
    for start in range(0, len(labels), LABELS_AT_ONCE):
        part = labels[start : start + LABELS_AT_ONCE]
        vectors = model.encode_texts([template.format(label) for label in part for template in IMAGENET_TEMPLATES])
        found.append(vectors.reshape(len(part), len(IMAGENET_TEMPLATES), -1).mean(axis=1))
    mean_ld = np.concatenate(found)
    return mean_ld / np.linalg.norm(mean_ld, axis=1, keepdims=True)


def predict_classification(
    img: Picture, rank: Rank, device: str = "cpu", min_prob: float = 1e-9, k: int = 5, **options
) -> list[dict]:
    """The k likeliest taxa of one picture, as `TreeOfLifeClassifier.predict` gives them."""
    return TreeOfLifeClassifier(device=device, **options).predict([img], rank, min_prob, k)


def predict_classifications_from_list(
    img: Picture, cls_ary: Sequence[str], device: str = "cpu", **options
) -> list[dict]:
    """The labels of one picture, as `CustomLabelsClassifier.predict` gives them."""
    return CustomLabelsClassifier(cls_ary, device=device, **options).predict([img])
