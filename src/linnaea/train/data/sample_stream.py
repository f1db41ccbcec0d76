"""Batches of images and texts, each a pure function of the seed and its position in the run.

The run is one endless sequence of samples (`linnaea.train.data.epoch_order`). Step t takes the next global batch of it,
and each rank its own slice: ranks never overlap, epochs omit nothing, and 2 ranks see what 1 rank with twice the batch
sees. The state of a run is one number.

Shape suffixes: b pairs of this rank.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from linnaea.datasets.group_ids import stable_id
from linnaea.datasets.manifests import check_text_types
from linnaea.datasets.rejects import RejectJournal
from linnaea.datasets.samples import RawSample, Reject, SampleSource
from linnaea.photos.decoding import Unreadable
from linnaea.taxonomy.name_text import TEXT_TYPES
from linnaea.train.data.augmentation import AugmentConfig, augment, decode_bytes
from linnaea.train.data.epoch_order import EpochSampler, SampleIndex

DRAWS = ("sample", "step")
MAX_SUBSTITUTES = 64


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How the batches of a rank are made."""

    batch_size: int
    "pairs of a rank per step"
    seed: int = 0
    "seed of the order, the texts and the crops"
    window: int = 64
    "shards that are shuffled together"
    balance: float = 0.0
    "how much more often rare taxa are drawn: 0 every sample once, 1 all taxa equally often"
    types: tuple[str, ...] = TEXT_TYPES
    "text types, one of which is drawn"
    draw: str = "sample"
    "`sample` draws a text type for each sample, `step` one for each global batch, as BioCLIP 2 did"
    images: AugmentConfig = field(default_factory=AugmentConfig)
    "how crops are drawn"
    n_threads: int = 4
    "threads that read and decode"
    n_ahead: int = 2
    "batches prepared in advance"

    def __post_init__(self):
        check_text_types(self.types)
        if self.draw not in DRAWS:
            raise ValueError(f"unknown draw {self.draw!r}; choose one of {', '.join(DRAWS)}")
        for name in ("batch_size", "window", "n_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is below 1; give at least 1")


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """The pairs of a rank: uint8 images [b, size, size, 3], texts, and token ids if there is a tokenizer."""

    position: int
    images: np.ndarray
    texts: list[str]
    tokens: list[list[int]]
    lineages: list[tuple[str, ...]]
    keys: list[str]


def _describe_rejects(rejects: RejectJournal) -> str:
    """Return the reasons in a journal and its path, as the end of an error message; "" if it is empty."""
    if not rejects.counts:
        return ""
    return f": {rejects.summary()}" + (f" (each is named in {rejects.path})" if rejects.path else "")


class DeterministicLoader:
    """The batches of one rank, from any position.

    `tokenize` turns the texts of a batch into lists of ids. A sample that cannot be read goes into `rejects`, and the
    seed draws another one of the same window in its place. Samples that are used although something is odd go into
    `notices`.
    """

    def __init__(
        self,
        source: SampleSource,
        config: LoaderConfig,
        *,
        rank: int = 0,
        n_ranks: int = 1,
        tokenize: Callable[[list[str]], list[list[int]]] | None = None,
        rejects: RejectJournal | None = None,
        notices: RejectJournal | None = None,
    ):
        if not 0 <= rank < n_ranks:
            raise ValueError(f"rank {rank} must be from 0 to {n_ranks - 1}")
        self._source, self._config, self._rank, self._n_ranks = source, config, rank, n_ranks
        self._tokenize = tokenize
        self.rejects, self.notices = rejects or RejectJournal(), notices or RejectJournal()
        if rank == 0:
            self.rejects.add(source.rejects)
            self.notices.add(source.notices)
        if not source.sizes_p.sum():
            raise ValueError(f"there is no usable sample{_describe_rejects(self.rejects)}; check the data")
        self._order = EpochSampler(
            source.sizes_p, config.seed, window=config.window, balance=config.balance, taxa=source.taxa
        )
        self.position = 0

    @property
    def n_samples(self) -> int:
        """Samples per epoch."""
        return self._order.n

    @property
    def global_batch(self) -> int:
        """Pairs of all ranks per step."""
        return self._config.batch_size * self._n_ranks

    def state(self) -> dict:
        """Return the state of the run as JSON values: samples taken by all ranks, and the source of the samples."""
        config = self._config
        return {
            "position": self.position,
            "seed": config.seed,
            "window": config.window,
            "balance": config.balance,
            "source": self._source.fingerprint,
        }

    def restore(self, state: dict) -> None:
        """Continue at a state. The number of ranks and the batch size may have changed; the data may not.

        Raises ValueError that names the changed value.
        """
        for name, value in self.state().items():
            if name != "position" and state.get(name) != value:
                had = f"the run to resume had {name} {state.get(name)!r}, this one has {value!r}"
                what = ": its shards or its table have changed" if name == "source" else ""
                raise ValueError(f"{had}{what}; use the same, or start a new run")
        self.position = int(state["position"])

    def _draw_text_type(self, position: int) -> str:
        drawn_for = position if self._config.draw == "sample" else position // self.global_batch * self.global_batch
        number = stable_id("text", str(self._config.seed), self._config.draw, str(drawn_for))
        return self._config.types[number % len(self._config.types)]

    def _read(self, place: SampleIndex, text_type: str) -> tuple[np.ndarray, RawSample] | Reject:
        sample = self._source.read(place.part, place.row, text_type)
        if isinstance(sample, Reject):
            return sample
        image = decode_bytes(sample.data)
        if isinstance(image, Unreadable):
            return Reject(part=self._source.part_name(place.part), key=sample.key, reason=image.reason)
        seed = stable_id("crop", str(self._config.seed), str(place.epoch), sample.key, str(place.repeat))
        return augment(image, self._config.images, random.Random(seed)), sample

    def sample(self, position: int) -> tuple[np.ndarray, RawSample]:
        """Return pixels uint8 [size, size, 3] and the raw sample at a position of the run."""
        text_type, place = self._draw_text_type(position), self._order.locate(position)
        for attempt in range(1, MAX_SUBSTITUTES + 1):
            found = self._read(place, text_type)
            if not isinstance(found, Reject):
                return found
            self.rejects.add([found])
            place = self._order.substitute(position, attempt)
        last = f"{found.key}, {found.reason}"
        raise ValueError(f"{MAX_SUBSTITUTES} samples in a row could not be read, the last: {last}; check the data")

    def _start(self, pool: ThreadPoolExecutor, position: int) -> list[Future]:
        first = position + self._rank * self._config.batch_size
        return [pool.submit(self.sample, first + i) for i in range(self._config.batch_size)]

    def _finish(self, position: int, futures: list[Future]) -> TrainingBatch:
        found = [future.result() for future in futures]
        texts = [sample.text for _, sample in found]
        return TrainingBatch(
            position=position,
            images=np.stack([pixels for pixels, _ in found]),
            texts=texts,
            tokens=self._tokenize(texts) if self._tokenize else [],
            lineages=[sample.lineage for _, sample in found],
            keys=[sample.key for _, sample in found],
        )

    def batch(self, position: int) -> TrainingBatch:
        """Make this rank's part of the global batch at a position. Any process can make any batch."""
        with ThreadPoolExecutor(self._config.n_threads) as pool:
            return self._finish(position, self._start(pool, position))

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Yield batches without end. `position` advances when a batch is yielded, not when it is prepared."""
        pool, started = ThreadPoolExecutor(self._config.n_threads), deque()
        try:
            ahead = self.position
            while True:
                while len(started) <= self._config.n_ahead:
                    started.append((ahead, self._start(pool, ahead)))
                    ahead += self.global_batch
                batch = self._finish(*started.popleft())
                self.position = batch.position + self.global_batch
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
