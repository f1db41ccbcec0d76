"""Counter-based random numbers, a function of who asks for what and when: Philox 4x32 with 10 rounds.

A number is named by (seed; step, stream, key, draw): the world's seed, the step, the random process, the animal's key
(`Agents.key`) and a counter within the process. It does not depend on threads, on the order of animals or on what other
animals drew, so that an animal which an intervention does not touch draws the same numbers as in the baseline.

Every random process has its own stream. Streams of rules that are not part of this package start at `FIRST_FREE`.

In kernels: `uniform(seed, step, stream, key, draw)`, and so on; `seed` and `key` must be `np.uint64`. For arrays and
as the oracle: `uniforms(...)`, `blocks(...)` in plain NumPy.
"""

from __future__ import annotations

import math

import numpy as np

from linnaea.twin.engine.jit import scalar

# Streams. The numbers are part of the file format of results: with others, the same seed gives another world.
FOUNDING = 1
PLACING = 2
MOVEMENT = 3
HERDING = 5
FEEDING = 6
HUNTING = 7
PRIORITY = 9
BIRTH = 10
DEATH = 11
MATING = 13
INHERITANCE = 14
SEX = 15
INFECTION = 16
RECOVERY = 17
FIRE = 18
RAIN = 19
MIGRATION = 21
DISPERSAL = 25
SENSING = 27
DETECTION = 28
CONFUSION = 29
INITIAL = 30
PATCH = 31
INTERVENTION = 32
FIRST_FREE = 1000

_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_STREAM_SHIFT = np.uint64(16)
_DRAWS = np.uint64(0xFFFF)
_5, _6 = np.uint64(5), np.uint64(6)
_CHILD = np.uint64(1 << 63)
_TO_UNIT = 1.0 / 9007199254740992.0
_TO_UNIT_32 = 1.0 / 4294967296.0
ROUNDS = 10
MOST_DRAWS = 1 << 16


@scalar
def philox(c0, c1, c2, c3, k0, k1):
    """Four random words of 32 bits, each in a uint64, from a counter and a key of such words."""
    for _ in range(ROUNDS):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _MASK, (p0 >> _HALF) ^ c3 ^ k1, p0 & _MASK
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


@scalar
def block(seed, step, stream, key, draw):
    """The four words of 32 bits (in uint64) that belong to this draw; `draw` from 0 to 65,535."""
    seed, key = np.uint64(seed), np.uint64(key)
    last = ((np.uint64(stream) << _STREAM_SHIFT) | (np.uint64(draw) & _DRAWS)) & _MASK
    return philox(key & _MASK, key >> _HALF, np.uint64(step) & _MASK, last, seed & _MASK, seed >> _HALF)


@scalar
def uniform(seed, step, stream, key, draw):
    """A float64 in [0, 1) with 53 random bits."""
    w0, w1, _, _ = block(seed, step, stream, key, draw)
    return (np.float64(w0 >> _5) * 67108864.0 + np.float64(w1 >> _6)) * _TO_UNIT


@scalar
def uniform2(seed, step, stream, key, draw):
    """Two independent float64 in [0, 1) for the price of one."""
    w0, w1, w2, w3 = block(seed, step, stream, key, draw)
    first = (np.float64(w0 >> _5) * 67108864.0 + np.float64(w1 >> _6)) * _TO_UNIT
    return first, (np.float64(w2 >> _5) * 67108864.0 + np.float64(w3 >> _6)) * _TO_UNIT


@scalar
def uniform4(seed, step, stream, key, draw):
    """Four independent float64 in [0, 1) with 32 random bits each, for the price of one."""
    w0, w1, w2, w3 = block(seed, step, stream, key, draw)
    return (
        np.float64(w0) * _TO_UNIT_32,
        np.float64(w1) * _TO_UNIT_32,
        np.float64(w2) * _TO_UNIT_32,
        np.float64(w3) * _TO_UNIT_32,
    )


@scalar
def exponential(seed, step, stream, key, draw):
    """A float64 ≥ 0 of an exponential distribution with mean 1."""
    return -math.log(1.0 - uniform(seed, step, stream, key, draw))


@scalar
def normal2(seed, step, stream, key, draw):
    """Two independent standard normal float64 by the Box-Muller transform."""
    u, v = uniform2(seed, step, stream, key, draw)
    radius = math.sqrt(-2.0 * math.log(1.0 - u))
    return radius * math.cos(2.0 * math.pi * v), radius * math.sin(2.0 * math.pi * v)


@scalar
def normal(seed, step, stream, key, draw):
    """A standard normal float64."""
    return normal2(seed, step, stream, key, draw)[0]


@scalar
def poisson(mean, seed, step, stream, key, draw):
    """A count ≥ 0 of a Poisson distribution. Takes the draws from `draw` on, one for every 16 of the mean."""
    count = 0
    left = mean
    while left > 0.0:
        part = min(left, 16.0)
        left -= part
        u = uniform(seed, step, stream, key, draw)
        draw += 1
        term = math.exp(-part)
        total = term
        k = 0
        # Past 120 the terms are below the spacing of u for any part ≤ 16.
        while u >= total and k < 120:
            k += 1
            term *= part / k
            total += term
        count += k
    return count


@scalar
def geometric(success, seed, step, stream, key, draw):
    """A count ≥ 1: trials up to the first success, whose probability is in (0, 1]."""
    if success >= 1.0:
        return 1
    u = uniform(seed, step, stream, key, draw)
    return 1 + int(math.log(1.0 - u) / math.log(1.0 - success))


@scalar
def priority(seed, step, key):
    """A uint64 that settles a competition: the highest wins, equal ones by key."""
    w0, w1, _, _ = block(seed, step, PRIORITY, key, 0)
    return (w0 << _HALF) | w1


@scalar
def child_key(parent_key, step, ordinal):
    """The key (uint64, top bit set) of a parent's `ordinal`-th young of this step.

    It depends on the parent alone: what happens to others does not shift it. Founders count up from 1 without the top
    bit.
    """
    w0, w1, _, _ = block(np.uint64(0), step, BIRTH, parent_key, ordinal)
    return _CHILD | (w0 << _HALF) | w1


@scalar
def takes_turn(key, step, every):
    """Whether it is this key's turn of what applies to each key in every `every`-th step, from an offset of its own."""
    return (np.int64(key % np.uint64(1 << 20)) + step) % every == 0


def blocks(seed: int, step: int, stream: int, keys: np.ndarray, draw: int = 0) -> np.ndarray:
    """The words of `block` for many keys [n] at once: uint32 [n, 4]. Plain NumPy, the kernels' oracle."""
    keys = np.asarray(keys, np.uint64)
    if not 0 <= draw < MOST_DRAWS:
        raise ValueError(f"draw {draw} is not between 0 and {MOST_DRAWS - 1}")
    counter = [
        keys & _MASK,
        keys >> _HALF,
        np.full_like(keys, step & 0xFFFFFFFF),
        np.full_like(keys, (stream << 16 | draw) & 0xFFFFFFFF),
    ]
    return philox_words(counter, (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF))


def philox_words(counter: list[np.ndarray], key: tuple[int, int]) -> np.ndarray:
    """Philox 4x32-10 of four counter words (uint64 [n] below 2^32) under two key words: uint32 [n, 4]."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), p1 & _MASK, (p0 >> _HALF) ^ c3 ^ np.uint64(k1), p0 & _MASK
        k0, k1 = (k0 + int(_W0)) & 0xFFFFFFFF, (k1 + int(_W1)) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def uniforms(seed: int, step: int, stream: int, keys: np.ndarray, draw: int = 0) -> np.ndarray:
    """`uniform` for many keys [n] at once: float64 [n] in [0, 1). Plain NumPy."""
    words = blocks(seed, step, stream, keys, draw).astype(np.uint64)
    return ((words[:, 0] >> _5).astype(np.float64) * 67108864.0 + (words[:, 1] >> _6)) * _TO_UNIT


def normals(seed: int, step: int, stream: int, keys: np.ndarray, draw: int = 0) -> np.ndarray:
    """`normal` for many keys [n] at once: float64 [n]. Plain NumPy; equal to the kernels' within rounding."""
    words = blocks(seed, step, stream, keys, draw).astype(np.uint64)
    u = ((words[:, 0] >> _5).astype(np.float64) * 67108864.0 + (words[:, 1] >> _6)) * _TO_UNIT
    v = ((words[:, 2] >> _5).astype(np.float64) * 67108864.0 + (words[:, 3] >> _6)) * _TO_UNIT
    return np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v)


def child_keys(parent_keys: np.ndarray, step: int, ordinals: np.ndarray) -> np.ndarray:
    """`child_key` for many young at once: uint64 [n]."""
    parent_keys, ordinals = np.asarray(parent_keys, np.uint64), np.asarray(ordinals, np.uint64)
    counter = [
        parent_keys & _MASK,
        parent_keys >> _HALF,
        np.full_like(parent_keys, step & 0xFFFFFFFF),
        (np.uint64(BIRTH) << _STREAM_SHIFT) | ordinals,
    ]
    words = philox_words(counter, (0, 0)).astype(np.uint64)
    return _CHILD | (words[:, 0] << _HALF) | words[:, 1]
