"""Herds, prides and territories: the state of every group, and where territories lie.

Every animal belongs to a herd, a solitary one to its own. `world.herds` holds the herds; size, adults, centre and
filling of the stores are counted anew in every step.

Shape suffixes: h herds, n slots, m live animals in the order of the cells, s species.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.twin.engine.agents import Animals
from linnaea.twin.engine.herds import FREE
from linnaea.twin.engine.jit import serial
from linnaea.twin.engine.world import Rule, World, name_state

# Places are added up in whole parts of the world's size, so that the sum does not depend on the order.
_PARTS = float(1 << 30)


@serial
def _update_herds(order, animals, store_kj_kg, mature_h, now_h, width, height, sums, herds):
    species, _, x, y, mass, energy, born_h, herd = animals
    _, herd_species, _, _, size, adults, centre, fill = herds
    sums[:] = 0
    size[:] = 0
    adults[:] = 0
    for k in range(len(order)):
        i = order[k]
        h = herd[i]
        size[h] += 1
        if now_h - born_h[i] >= mature_h[species[i]]:
            adults[h] += 1
        sums[h, 0] += np.int64(x[i] / width * _PARTS)
        sums[h, 1] += np.int64(y[i] / height * _PARTS)
        sums[h, 2] += np.int64(energy[i] / (store_kj_kg[species[i]] * mass[i]) * _PARTS)
    for h in range(len(size)):
        if size[h] > 0:
            centre[h, 0] = np.float64(sums[h, 0]) / size[h] / _PARTS * width
            centre[h, 1] = np.float64(sums[h, 1]) / size[h] / _PARTS * height
            fill[h] = np.float64(sums[h, 2]) / size[h] / _PARTS
        else:
            herd_species[h] = FREE


@dataclass(frozen=True, kw_only=True)
class UpdateHerds(Rule):
    """Counts every herd, finds its centre and how well it is fed."""

    phase: ClassVar[str] = "index"
    stored_name: ClassVar[str] = "Gather"
    reads: ClassVar[frozenset[str]] = name_state(agents="species x y mass energy born_h herd")
    writes: ClassVar[frozenset[str]] = name_state(herds="species size adults centre fill")

    def apply(self, world: World) -> None:
        """Counts all herds anew; a herd without animals is free."""
        p, space = world.parameters, world.space
        _update_herds(
            world.cells.order,
            world.agents.view(Animals),
            p.bodies.store_kj_kg,
            p.life.mature_h,
            float(world.now_h),
            float(space.width_m),
            float(space.height_m),
            np.zeros((len(world.herds), 3), np.int64),
            world.herds.arrays,
        )


def most_adults(herd_size: np.ndarray) -> np.ndarray:
    """Number of adults above which a group divides, at least a pair: as many as all animals of a usual group.

    A territorial group that cannot divide bears no young above it.
    """
    return np.maximum(herd_size, 2.0)


def is_taken(world: World, kind: int, x: float, y: float) -> bool:
    """Whether a place (metres) lies nearer to a territorial pair or group of the species than territories lie apart.

    An animal that lives alone drives nobody away.
    """
    if not world.parameters.groups.resident[kind]:
        return False
    herds = world.herds
    homes = herds.home[(herds.species == kind) & (herds.adults >= 2)]
    spacing = world.parameters.groups.spacing_m[kind]
    return bool((((homes - (x, y)) ** 2).sum(1) < spacing * spacing).any())


def mark_first(herd: np.ndarray) -> np.ndarray:
    """Whether each animal [n] is the first of its herd, for animals that stand together by herd."""
    first = np.ones(len(herd), bool)
    first[1:] = herd[1:] != herd[:-1]
    return first


@dataclass(frozen=True, kw_only=True)
class MoveTerritory(Rule):
    """The territory of hunters follows them to a goal beyond their range, unless it would come too near to another."""

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Follow"
    reads: ClassVar[frozenset[str]] = name_state(herds="key species home goal adults")
    writes: ClassVar[frozenset[str]] = name_state(herds="home")
    every_h: float = 24.0
    "hours between two moves"

    def apply(self, world: World) -> None:
        """Moves the homes of hunters when it is due."""
        if not world.due(self.every_h):
            return
        herds, p = world.herds, world.parameters
        home, species, range_m = herds.home, herds.species, p.movement.range_m
        kinds = np.maximum(species, 0)
        way = herds.goal - home
        far = np.sqrt((way**2).sum(1))
        gone = np.flatnonzero(
            (species != FREE) & p.groups.resident[kinds] & p.hunting.hunts[kinds] & (far > range_m[kinds])
        )
        for herd in gone[np.argsort(herds.key[gone], kind="stable")]:
            kind = species[herd]
            place = home[herd] + way[herd] * (1 - range_m[kind] / far[herd])
            others = home[(species == kind) & (herds.adults >= 2) & (np.arange(len(species)) != herd)]
            before, after = (((others - one) ** 2).sum(1) for one in (home[herd], place))
            if not (after < np.minimum(before, p.groups.spacing_m[kind] ** 2)).any():
                home[herd] = place
