"""Contention: who gets what when several animals claim the same.

Shape suffixes: n slots, t targets (slots of prey, or cells of a layer).
"""

from __future__ import annotations

import numpy as np

from linnaea.twin.engine.jit import serial
from linnaea.twin.engine.rng import priority
from linnaea.twin.engine.world import World

# Amounts are shared in whole parts of this size, so that sums do not depend on the order of the animals.
PARTS = float(1 << 20)


@serial
def _resolve_claims(target, live, key, n, seed, step, best):
    for i in range(n):
        if not live[i] or target[i] < 0:
            continue
        t = target[i]
        rival = best[t]
        if rival < 0:
            best[t] = i
            continue
        own, other = priority(seed, step, key[i]), priority(seed, step, key[rival])
        if own > other or (own == other and key[i] > key[rival]):
            best[t] = i


def resolve_claims(world: World, target: np.ndarray, n_targets: int) -> np.ndarray:
    """The slot that wins each target, -1 for a target that none claimed: int64 [t].

    `target` [n]: what each slot claims, -1 for nothing. The highest random priority of the step wins.
    """
    agents = world.agents
    best = np.full(n_targets, -1, np.int64)
    _resolve_claims(target, agents.live, agents.key, agents.n, world.seed64, world.step, best)
    return best


@serial
def _share_supply(target, demand, live, n, supply, granted, asked):
    for i in range(n):
        if live[i] and target[i] >= 0 and demand[i] > 0:
            asked[target[i]] += np.int64(demand[i] * PARTS)
    for i in range(n):
        granted[i] = 0.0
        if live[i] and target[i] >= 0 and demand[i] > 0:
            total = np.float64(asked[target[i]]) / PARTS
            part = np.float64(np.int64(demand[i] * PARTS)) / PARTS
            granted[i] = part if total <= supply[target[i]] else part * (supply[target[i]] / total)
    taken = np.zeros(len(asked), np.float64)
    for t in range(len(asked)):
        if asked[t] > 0:
            taken[t] = min(np.float64(asked[t]) / PARTS, supply[t])
    return taken


def share_supply(
    world: World, target: np.ndarray, demand: np.ndarray, supply: np.ndarray, granted: np.ndarray
) -> np.ndarray:
    """What is taken of each target, at most its `supply`: float64 [t]; fills `granted` [n] with what each slot gets.

    Where less is there than asked, all get the same share of what they asked. `supply` [t] ≥ 0 (a layer's `ravel()`).
    Amounts below 2^-20 of the unit are nothing: choose units in which an animal's bite is well above it.
    """
    agents = world.agents
    asked = np.zeros(len(supply), np.int64)
    return _share_supply(target, demand, agents.live, agents.n, supply, granted, asked)
