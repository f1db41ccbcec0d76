"""Validation during training: naming photographs on which the towers are not trained.

They are the rows of the organisms' table whose `split` is `val`, or other drawn pictures of the same species.

Shape suffixes: n photographs, t distinct texts, h w pixels, c channels, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from linnaea.datasets.rejects import RejectJournal
from linnaea.datasets.samples import RawSample, Reject, SampleSource
from linnaea.datasets.synthetic import SyntheticSource
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.model.core.tokenizer import ClipTokenizer
from linnaea.model.formats.open_clip_config import read_config
from linnaea.photos.decoding import Unreadable
from linnaea.train.clip.batches import open_source
from linnaea.train.clip.config import ClipConfig
from linnaea.train.clip.towers import ClipModel, pack_texts
from linnaea.train.data.augmentation import decode_bytes
from linnaea.train.distributed.process_group import ProcessGroup

VAL = "val"
# Drawn pictures for validation, ten of each species, with another seed than those of training.
N_DRAWN, DRAWN_SEED = 480, 1
PART = 64


def open_validation(recipe: ClipConfig) -> SampleSource:
    """Open the samples for the validation of a recipe. Raise ValueError if it has none."""
    organisms = recipe.organisms
    if organisms.drawn:
        return SyntheticSource(N_DRAWN, template=organisms.template, seed=DRAWN_SEED)
    asked = f"validate_every {recipe.validate_every} needs a table with rows whose split is {VAL!r}"
    if not organisms.table:
        raise ValueError(f"{asked}, but organisms come from shards; leave validate_every at 0")
    if organisms.split in ("", VAL):
        found = repr(organisms.split) if organisms.split else "empty"
        raise ValueError(
            f"{asked} and training on other rows, but organisms.split is {found}; give --organisms.split train"
        )
    try:
        return open_source(replace(organisms, split=VAL), lineages=False)
    except ValueError as error:
        raise ValueError(f"validate_every {recipe.validate_every}: {error}; or leave validate_every at 0") from None


class Validation:
    """Measures the towers when it is called with them.

    The result has `top1`, the share 0..1 of photographs whose own name is the most likely of all names of the set, and
    `loss`, the mean cross-entropy (nats) over these names at the learned scale. Names are of the fullest text type of
    the recipe; photographs are preprocessed whole, as in `identify`. Every rank computes everything. Photographs that
    cannot be read are left out and listed in `work_dir`/rejects/validation-0.csv.
    """

    def __init__(self, recipe: ClipConfig, work_dir: Path, processes: ProcessGroup):
        config = read_config(recipe.towers)
        self._preprocess, self._context = config.preprocess, config.text.context
        self._type = recipe.organisms.fullest_type
        self._n_threads, self._device, self._bf16 = recipe.n_threads, processes.device, recipe.precision == "bf16"
        self._source = processes.run_first_rank_first(partial(open_validation, recipe))
        self.rejects = RejectJournal(work_dir / "rejects" / "validation-0.csv" if processes.is_first else None)
        self.rejects.add(self._source.rejects)

    def _read(self, place: tuple[int, int]) -> tuple[np.ndarray, str] | Reject:
        """Read the pixels uint8 [h, w, c] of a photograph and its text."""
        sample = self._source.read(*place, self._type)
        if not isinstance(sample, RawSample):
            return sample
        image = decode_bytes(sample.data)
        if isinstance(image, Unreadable):
            return Reject(part=self._source.part_name(place[0]), key=sample.key, reason=image.reason)
        return preprocess_image(image, self._preprocess), sample.text

    def _read_parts(self) -> Iterator[list[tuple[np.ndarray, str]]]:
        places = [(part, row) for part, n in enumerate(self._source.sizes_p) for row in range(int(n))]
        with ThreadPoolExecutor(self._n_threads) as pool:
            for start in range(0, len(places), PART):
                found = list(pool.map(self._read, places[start : start + PART]))
                self.rejects.add(reject for reject in found if isinstance(reject, Reject))
                if read := [sample for sample in found if not isinstance(sample, Reject)]:
                    yield read

    @torch.no_grad()
    def __call__(self, towers: ClipModel) -> dict[str, float]:
        """Return `top1` and `loss` of the towers."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            images, names = [], []
            for part in self._read_parts():
                pixels_nhwc = torch.from_numpy(np.stack([pixels for pixels, _ in part])).to(self._device)
                images.append(towers.encode_images(pixels_nhwc).float())
                names += [name for _, name in part]
            if not names:
                raise ValueError(f"no photograph for validation can be read: {self.rejects.summary()}; check the data")
            distinct = sorted(set(names))
            ids = ClipTokenizer(self._context).ids(distinct)
            parts = [pack_texts(ids[start : start + PART]).to(self._device) for start in range(0, len(ids), PART)]
            text_td = torch.cat([towers.encode_texts(part).float() for part in parts])
        logits_nt = torch.cat(images) @ text_td.T * towers.logit_scale.float().exp()
        number_of = {name: number for number, name in enumerate(distinct)}
        right_n = torch.tensor([number_of[name] for name in names], device=self._device)
        return {
            "top1": (logits_nt.argmax(1) == right_n).float().mean().item(),
            "loss": F.cross_entropy(logits_nt, right_n).item(),
        }
