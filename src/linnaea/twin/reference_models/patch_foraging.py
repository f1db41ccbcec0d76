"""Foraging in patches: ideal free distribution (Fretwell and Lucas 1969), marginal value theorem (Charnov 1976).

Shape suffixes: n slots, p patches (cells of a layer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.agents import Column
from linnaea.twin.engine.jit import kernel, scalar
from linnaea.twin.engine.rng import PATCH, uniform4
from linnaea.twin.engine.world import Rule, World

TRAVELLING, FORAGING = 0, 1


@kernel
def _choose(order, key, patch, counts, supply, chance, seed, step, target):
    """Let each forager compare its patch with another by `chance`: the better one into `target`."""
    for k in numba.prange(len(order)):
        i = order[k]
        u, v, _, _ = uniform4(seed, step, PATCH, key[i], 0)
        if u >= chance:
            continue
        other = min(int(v * len(supply)), len(supply) - 1)
        own = patch[i]
        if other != own and supply[other] / (counts[other] + 1) > supply[own] / counts[own]:
            target[i] = other


@dataclass(frozen=True, kw_only=True)
class ChoosePatch(Rule):
    """Now and then a forager looks at another patch and chooses it if its share of the food would be larger there."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "the ideal free distribution (textbook form)"
    layer: str
    "layer with the supply of food of each patch per hour"
    look_per_h: float
    "looks at another patch per hour"

    def prepare(self, world: World) -> None:
        """Check the layer and give every animal its patch."""
        if self.layer not in world.fields:
            raise ValueError(f"layer {self.layer!r} is not in the world; it has {', '.join(world.fields) or 'none'}")
        world.agents.add_column(Column(name="patch", dtype=np.int32, help="cell of the layer it forages in"))

    def apply(self, world: World) -> None:
        """Let the foragers look around."""
        a = world.agents
        supply = world.fields[self.layer].ravel()
        counts = np.bincount(a.patch[world.cells.order], minlength=len(supply))
        chance = 1 - np.exp(-self.look_per_h * world.dt_h)
        _choose(world.cells.order, a.key, a.patch, counts, supply, chance, world.seed64, world.step, a.target)


@dataclass(frozen=True, kw_only=True)
class GoToPatch(Rule):
    """A forager that chose another patch is at its centre by the end of the step."""

    phase: ClassVar[str] = "move"
    layer: str
    "layer whose cells are the patches"

    def apply(self, world: World) -> None:
        """Move the foragers that chose another patch."""
        a, space = world.agents, world.space
        n_rows, n_columns = world.fields[self.layer].shape
        going = world.cells.order[a.target[world.cells.order] >= 0]
        a.patch[going] = a.target[going]
        row, column = np.divmod(a.patch[going], n_columns)
        a.x[going] = (column + 0.5) * (space.width_m / n_columns)
        a.y[going] = (row + 0.5) * (space.height_m / n_rows)


@scalar
def compute_patch_gain(t, half_h):
    """Return what a patch has yielded after t hours, as a share of its content: t / (t + half_h)."""
    return t / (t + half_h)


@kernel
def _forage(order, state, until_h, energy, stay_h, half_h, travel_h, content_kj, now_h, dt):
    """Let foragers travel and feed for the time of a step."""
    for k in numba.prange(len(order)):
        i = order[k]
        # The step's time is spent piece by piece, so that its length does not change the outcome.
        t, end = now_h, now_h + dt
        while t < end:
            if until_h[i] <= t:
                state[i] = TRAVELLING if state[i] == FORAGING else FORAGING
                until_h[i] = t + (stay_h[i] if state[i] == FORAGING else travel_h)
            stop = min(end, until_h[i])
            if state[i] == FORAGING:
                arrived = until_h[i] - stay_h[i]
                energy[i] += content_kj * (
                    compute_patch_gain(stop - arrived, half_h) - compute_patch_gain(t - arrived, half_h)
                )
            if stop <= t:
                break
            t = stop


@dataclass(frozen=True, kw_only=True)
class ForagePatches(Rule):
    """Foragers travel between equal patches and stay in each for the hours of their heritable trait `stay_h`."""

    phase: ClassVar[str] = "live"
    source: ClassVar[str] = "the marginal value theorem (textbook form)"
    half_h: float
    "hours in which half of a patch is eaten"
    travel_h: float
    "hours of travel between patches"
    content_kj: float = 1.0
    "energy in a patch, kJ"

    def prepare(self, world: World) -> None:
        """Raise ValueError if the world lacks the trait."""
        if "stay_h" not in world.traits:
            raise ValueError("ForagePatches needs the trait 'stay_h'; name it in the world's traits")

    def apply(self, world: World) -> None:
        """Travel and feed."""
        a = world.agents
        stay = a.traits[:, world.traits.index("stay_h")].astype(np.float64)
        _forage(
            world.cells.order,
            a.state,
            a.until_h,
            a.energy,
            stay,
            self.half_h,
            self.travel_h,
            self.content_kj,
            world.now_h,
            world.dt_h,
        )
