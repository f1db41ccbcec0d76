"""The same samples for any number of ranks, threads and restarts; every sample once an epoch."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter

import numpy as np
import polars as pl
import pytest
from PIL import Image

from linnaea.datasets.manifests import TableSource
from linnaea.datasets.rejects import RejectJournal
from linnaea.datasets.samples import NO_TEXT, RawSample
from linnaea.datasets.webdataset import TarSource
from linnaea.taxonomy.name_text import TEXT_TYPES
from linnaea.train.data.augmentation import AugmentConfig, augment, decode_bytes, draw_crop
from linnaea.train.data.epoch_order import EpochSampler
from linnaea.train.data.sample_stream import DeterministicLoader, LoaderConfig
from made_shards import image_bytes, made_shards

IMAGES = AugmentConfig(size=8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return TarSource(made_shards(folder), cache_dir=folder / "cache", lineages=True)


def stream(source, batch_size=4, rank=0, n_ranks=1, **options):
    more = {name: options.pop(name) for name in ("tokenize", "rejects") if name in options}
    config = LoaderConfig(batch_size=batch_size, images=IMAGES, n_threads=3, window=2, **options)
    return DeterministicLoader(source, config, rank=rank, n_ranks=n_ranks, **more)


def take(batches, n):
    with_close = iter(batches)
    found = list(itertools.islice(with_close, n))
    with_close.close()
    return found


def same(a, b):
    return a.keys == b.keys and a.texts == b.texts and a.lineages == b.lineages and np.array_equal(a.images, b.images)


def keys(batches):
    return [key for batch in batches for key in batch.keys]


def test_every_sample_comes_once_an_epoch_and_epochs_differ(source):
    seen = keys(take(stream(source, 4), 23))
    epochs = [seen[i * 23 : (i + 1) * 23] for i in range(4)]
    assert all(sorted(epoch) == [f"s{i:03}" for i in range(23)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert seen[:23] != sorted(seen[:23])


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
def test_ranks_share_the_global_batch_without_overlap(source, n_ranks):
    whole = take(stream(source, 8), 6)
    parts = [take(stream(source, 8 // n_ranks, rank, n_ranks), 6) for rank in range(n_ranks)]
    for step, batch in enumerate(whole):
        joined = [parts[rank][step] for rank in range(n_ranks)]
        assert keys(joined) == batch.keys
        assert [text for part in joined for text in part.texts] == batch.texts
        assert np.array_equal(np.concatenate([part.images for part in joined]), batch.images)


def test_another_seed_gives_another_run_and_the_same_seed_the_same(source):
    first, again, other = (take(stream(source, seed=seed), 5) for seed in (1, 1, 2))
    assert all(map(same, first, again))
    assert keys(first) != keys(other)


def test_the_number_of_threads_and_of_batches_ahead_changes_nothing(source):
    few = DeterministicLoader(source, LoaderConfig(batch_size=4, images=IMAGES, n_threads=1, n_ahead=0, window=2))
    assert all(map(same, take(few, 6), take(stream(source), 6)))


@pytest.mark.parametrize("at", [0, 1, 5, 9])
def test_a_resumed_run_sees_what_an_unbroken_one_does(source, at):
    unbroken = take(stream(source, rank=1, n_ranks=2), 12)
    broken = stream(source, rank=1, n_ranks=2)
    take(broken, at)
    state = json.loads(json.dumps(broken.state()))
    assert state["position"] == 8 * at
    resumed = stream(source, rank=1, n_ranks=2)
    resumed.restore(state)
    assert all(map(same, take(resumed, 12 - at), unbroken[at:]))


def test_a_run_goes_on_with_another_number_of_ranks(source):
    unbroken = keys(take(stream(source, 8), 6))
    broken = stream(source, 8)
    take(broken, 2)
    parts = []
    for rank in range(2):
        resumed = stream(source, 4, rank, 2)
        resumed.restore(broken.state())
        parts.append(take(resumed, 4))
    assert keys(itertools.chain(*zip(*parts, strict=True))) == unbroken[16:]


def test_other_data_or_another_seed_cannot_be_resumed(source, tmp_path):
    state = stream(source).state()
    with pytest.raises(ValueError, match="had seed 0, this one has 5"):
        stream(source, seed=5).restore(state)
    fewer = TarSource(made_shards(tmp_path, 9), cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match="had source"):
        stream(fewer).restore(state)


def make_batch(paths, cache_dir, position):
    return stream(TarSource(paths, cache_dir=cache_dir, lineages=True)).batch(position)


def test_any_process_can_make_any_batch(tmp_path):
    paths, cache = made_shards(tmp_path), tmp_path / "cache"
    found = [make_batch(paths, cache, position) for position in (8, 0)]
    expected = take(stream(TarSource(paths, cache_dir=cache, lineages=True)), 3)
    assert same(found[0], expected[2])
    assert same(found[1], expected[0])


def test_all_five_texts_are_drawn_sample_by_sample(source):
    drawn = stream(source)
    kinds = [drawn._draw_text_type(position) for position in range(500)]
    counts = Counter(kinds)
    assert set(counts) == set(TEXT_TYPES)
    assert min(counts.values()) > 60
    assert len(set(kinds[:4])) > 1


def test_one_text_type_a_global_step_as_bioclip_2_drew_it(source):
    ranks = [stream(source, 4, rank, 2, draw="step") for rank in range(2)]
    steps = [[ranks[i // 4]._draw_text_type(8 * step + i) for i in range(8)] for step in range(40)]
    assert all(len(set(kinds)) == 1 for kinds in steps)
    assert {kinds[0] for kinds in steps} == set(TEXT_TYPES)


def test_only_the_drawn_text_is_made_and_tokenised(source):
    asked, read = [], []
    plain = source.read

    class Counting:
        def __getattr__(self, name):
            return getattr(source, name)

        def read(self, part, row, text_type):
            read.append(text_type)
            return plain(part, row, text_type)

    def tokenize(texts):
        asked.append(texts)
        return [[len(text)] for text in texts]

    (batch,) = take(
        DeterministicLoader(Counting(), LoaderConfig(batch_size=4, images=IMAGES, n_ahead=0), tokenize=tokenize), 1
    )
    assert asked == [batch.texts]
    assert batch.tokens == [[len(text)] for text in batch.texts]
    assert len(read) == 4


class Corrupt:
    """A source some of whose images are no images."""

    def __init__(self, source, bad):
        self._source, self._bad = source, bad

    def __getattr__(self, name):
        return getattr(self._source, name)

    def read(self, part, row, text_type):
        sample = self._source.read(part, row, text_type)
        data = {"s004": sample.data[:400], "s011": b"", "s017": b"\xff\xd8 not really"}.get(sample.key, sample.data)
        data = data if sample.key in self._bad else sample.data
        return RawSample(key=sample.key, data=data, text=sample.text, lineage=sample.lineage)


def test_corrupt_samples_are_replaced_and_counted_by_name_and_reason(source, tmp_path):
    bad = ("s004", "s011", "s017")
    journal = RejectJournal(tmp_path / "rejects.csv")
    batches = take(stream(Corrupt(source, bad), rejects=journal), 23)
    seen = Counter(keys(batches))
    assert set(seen) == {f"s{i:03}" for i in range(23)} - set(bad)
    assert {len(batch.keys) for batch in batches} == {4}
    reasons = {(reject.part, reject.key): reject.reason for reject in journal.rows}
    assert reasons == {
        ("shard-00000.tar", "s004"): "truncated: the file ends before its image does",
        ("shard-00002.tar", "s011"): "the file is empty",
        ("shard-00003.tar", "s017"): "not an image, or of a kind that cannot be read; save it as JPEG or PNG",
    }
    assert sum(journal.counts.values()) == 3


def test_substitutes_are_the_same_for_any_number_of_ranks(source):
    corrupt = Corrupt(source, ("s004", "s011", "s017"))
    whole = take(stream(corrupt, 8), 6)
    parts = [take(stream(corrupt, 4, rank, 2), 6) for rank in range(2)]
    assert keys(itertools.chain(*zip(*parts, strict=True))) == keys(whole)


def test_data_that_is_corrupt_throughout_stops_the_run(source):
    class Nothing(Corrupt):
        def read(self, part, row, text_type):
            sample = self._source.read(part, row, text_type)
            return RawSample(key=sample.key, data=b"", text=sample.text)

    with pytest.raises(ValueError, match=r"64 samples in a row could not be read, the last: s\d+, the file is empty"):
        take(stream(Nothing(source, ())), 1)


def test_what_is_left_out_from_the_start_is_in_the_journal_of_the_first_rank(tmp_path):
    paths = made_shards(tmp_path)
    with paths[1].open("r+b") as handle:
        handle.truncate(10_000)
    cut = TarSource(paths, cache_dir=tmp_path / "cache", keep_truncated=True)
    assert [len(stream(cut, rank=rank, n_ranks=2).rejects.rows) for rank in (0, 1)] == [1, 0]


def order_of(sizes, taxa, balance, seed=0, window=2):
    return EpochSampler(np.array(sizes), seed, window=window, balance=balance, taxa=lambda part: taxa[part])


def draws(order, epoch):
    places = [order.locate(epoch * order.n + i) for i in range(order.n)]
    return Counter((place.part, place.row) for place in places), places


TAXA = [np.array([1] * 8), np.array([1] * 7 + [2]), np.array([2, 2, 2, 3]), np.zeros(0, np.int64)]
SIZES = [8, 8, 4, 0]


def test_a_balance_of_nought_draws_each_once_and_of_one_each_taxon_alike():
    assert set(draws(order_of(SIZES, TAXA, 0.0), 0)[0].values()) == {1}
    totals = Counter()
    for epoch in range(30):
        counts, places = draws(order_of(SIZES, TAXA, 1.0), epoch)
        assert len(places) == 20
        assert sum(counts.values()) == len(places)
        totals.update(int(TAXA[place.part][place.row]) for place in places)
    for taxon in (1, 2, 3):
        assert totals[taxon] / 600 == pytest.approx(1 / 3, abs=0.01)


def test_draws_are_the_expected_number_rounded_up_or_down_and_repeats_are_numbered():
    # Taxon 1: 15 samples, 2: 4, 3: 1; weights n**-0.5.
    weight = {1: 15**-0.5, 2: 4**-0.5, 3: 1.0}
    total = 15 * weight[1] + 4 * weight[2] + weight[3]
    for epoch in range(10):
        counts, places = draws(order_of(SIZES, TAXA, 0.5), epoch)
        for part, taxa in enumerate(TAXA):
            for row, taxon in enumerate(taxa):
                expected = 20 * weight[int(taxon)] / total
                assert counts[part, row] in (np.floor(expected), np.ceil(expected))
        repeats = Counter((place.part, place.row, place.repeat) for place in places)
        assert set(repeats.values()) == {1}


def test_balanced_runs_are_pure_functions_of_the_seed(source):
    first, again = (take(stream(source, balance=1.0, seed=3), 12) for _ in range(2))
    assert all(map(same, first, again))
    resumed = stream(source, balance=1.0, seed=3)
    resumed.restore({**resumed.state(), "position": 16})
    assert all(map(same, take(resumed, 8), first[4:]))


def test_shards_within_a_window_are_shuffled_together():
    order = order_of([50] * 6, [np.zeros(50, np.int64)] * 6, 0.0)
    parts = [order.locate(i).part for i in range(300)]
    windows = [set(parts[i : i + 100]) for i in (0, 100, 200)]
    assert all(len(window) == 2 for window in windows)
    assert len(set.union(*windows)) == 6
    assert len(set(parts[:10])) == 2


def test_a_single_shard_is_shuffled_anew_in_each_epoch_and_lends_substitutes_from_all_over():
    order = order_of([50], [np.zeros(50, np.int64)], 0.0)
    epochs = [[order.locate(epoch * 50 + i).row for i in range(50)] for epoch in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])
    lent = [order.substitute(position, attempt).row for position in range(20) for attempt in (1, 2)]
    assert len(set(lent)) > 15
    assert lent[:2] == [order.substitute(0, attempt).row for attempt in (1, 2)]


def test_where_no_sample_can_be_used_the_error_says_why_and_the_journal_names_each(tmp_path):
    frame = pl.DataFrame({"file": ["a.jpg", "b.jpg"], "species": [None, ""]})
    journal = RejectJournal(tmp_path / "organisms-0.csv")
    with pytest.raises(
        ValueError, match=rf"no usable sample: 2 x {NO_TEXT} \(each is named in .*organisms-0.csv\); check"
    ):
        DeterministicLoader(TableSource(frame, tmp_path), LoaderConfig(batch_size=1), rejects=journal)
    assert [line.split(",")[1] for line in journal.path.read_text().splitlines()] == ["key", "a.jpg", "b.jpg"]
    with pytest.raises(ValueError, match="no usable sample; check the data"):
        DeterministicLoader(TableSource(frame, tmp_path), LoaderConfig(batch_size=1), rank=1, n_ranks=2)


def test_no_sample_at_all_is_an_error():
    with pytest.raises(ValueError, match="no usable sample"):
        EpochSampler(np.zeros(2, np.int64), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": ("sci",)}, "unknown text type 'sci'"),
        ({"types": ()}, "no text type"),
        ({"draw": "epoch"}, "unknown draw 'epoch'"),
        ({"batch_size": 0}, "batch_size 0 is below 1"),
    ],
)
def test_what_cannot_be_asked_for_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        LoaderConfig(**{"batch_size": 1, **options})


def test_crops_keep_their_share_of_the_area_and_their_shape():
    config = AugmentConfig(least_area=0.5, ratio=1.5)
    rng = random.Random(0)
    for width, height in ((100, 100), (300, 90), (3, 500), (1, 1)):
        for _ in range(50):
            left, top, right, bottom = draw_crop(width, height, config, rng)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            if (width, height) == (100, 100):
                assert 0.48 < (right - left) * (bottom - top) / 10_000 <= 1
                assert 1 / 1.55 < (right - left) / (bottom - top) < 1.55


def test_the_whole_of_an_image_is_the_plain_resize_and_mirroring_mirrors_it():
    image = decode_bytes(image_bytes(1))
    square = image.crop((0, 0, 24, 24))
    config = AugmentConfig(size=8, least_area=1.0, ratio=1.0)
    plain = np.asarray(square.resize((8, 8), Image.Resampling.BICUBIC))
    assert np.array_equal(augment(square, config, random.Random(0)), plain)
    mirrored = augment(square, AugmentConfig(size=8, least_area=1.0, ratio=1.0, mirror=1.0), random.Random(0))
    assert np.array_equal(mirrored, plain[:, ::-1])


def test_a_sample_is_cropped_anew_in_each_epoch(source):
    batches = take(stream(source, 23, types=("common",)), 2)
    pictures = [dict(zip(batch.keys, batch.images, strict=True)) for batch in batches]
    differ = [key for key in pictures[0] if not np.array_equal(pictures[0][key], pictures[1][key])]
    assert len(differ) > 15
