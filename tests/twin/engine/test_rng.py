"""Random numbers that are a function of who asks for what and when."""

import numpy as np
import pytest

from linnaea.twin.engine import rng as philox

KEYS = np.array([0, 1, 2, 77, 2**32, 2**63 + 5, 2**64 - 1], np.uint64)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, expected):
    words = philox.philox(*map(np.uint64, (*counter, *key)))
    assert tuple(map(int, words)) == expected
    plain = philox.philox_words([np.array([c], np.uint64) for c in counter], key)
    assert tuple(map(int, plain[0])) == expected


def test_kernels_and_numpy_draw_the_same_numbers():
    seed = np.uint64(2**40 + 3)
    for step, stream, draw in ((0, 3, 0), (2**31, 9, 65535), (12, 1000, 7)):
        one = [philox.uniform(seed, step, stream, key, draw) for key in KEYS]
        assert one == philox.uniforms(int(seed), step, stream, KEYS, draw).tolist()
        bells = [philox.normal(seed, step, stream, key, draw) for key in KEYS]
        assert np.allclose(bells, philox.normals(int(seed), step, stream, KEYS, draw), atol=1e-12)
    keys = [philox.child_key(key, 5, 3) for key in KEYS]
    assert keys == philox.child_keys(KEYS, 5, np.full(len(KEYS), 3)).tolist()


def test_a_number_changes_with_every_part_of_its_name():
    names = {(0, 0, 1, 1, 0), (1, 0, 1, 1, 0), (0, 1, 1, 1, 0), (0, 0, 2, 1, 0), (0, 0, 1, 2, 0), (0, 0, 1, 1, 1)}
    drawn = {philox.uniform(np.uint64(s), t, stream, np.uint64(key), draw) for s, t, stream, key, draw in names}
    assert len(drawn) == len(names)


def test_distributions_have_their_moments():
    seed, n = np.uint64(4), 20_000
    u = philox.uniforms(4, 0, 3, np.arange(n))
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * n)
    for mean in (0.3, 4.0, 40.0):
        counts = np.array([philox.poisson(mean, seed, 0, 3, np.uint64(i), 0) for i in range(n)])
        assert abs(counts.mean() - mean) < 4 * np.sqrt(mean / n)
        assert abs(counts.var() / mean - 1) < 0.06
    trials = np.array([philox.geometric(0.25, seed, 0, 3, np.uint64(i), 0) for i in range(n)])
    assert trials.min() == 1
    assert abs(trials.mean() - 4) < 4 * np.sqrt(12 / n)
    waits = np.array([philox.exponential(seed, 0, 3, np.uint64(i), 0) for i in range(n)])
    assert abs(waits.mean() - 1) < 4 / np.sqrt(n)
    quarters = np.array([philox.uniform4(seed, 0, 3, np.uint64(i), 0) for i in range(n)])
    assert np.abs(np.corrcoef(quarters.T) - np.eye(4)).max() < 0.04


def test_streams_are_distinct_and_below_the_first_free():
    streams = {n: v for n, v in vars(philox).items() if n.isupper() and isinstance(v, int) and not n.startswith("_")}
    for other in ("ROUNDS", "MOST_DRAWS", "FIRST_FREE"):
        del streams[other]
    assert len(set(streams.values())) == len(streams) > 20
    assert max(streams.values()) < philox.FIRST_FREE < 1 << 16


def test_too_high_a_draw_is_refused():
    with pytest.raises(ValueError, match="draw 65536"):
        philox.blocks(0, 0, 1, KEYS, 65536)
