"""One step of a world.

A step of `dt_h` hours has these phases; within one, rules apply in the order of `World.rules`.

 1. intervene: a scenario changes the world from outside
 2. environment: season, rain, growth and fire change the layers of the landscape; animals stay as they are
 3. index: live animals are sorted into cells, proposals are blanked; this is the old state that all decisions read
 4. decide: every animal proposes (a direction, a speed, a claim on a target); no state of any animal changes
 5. steer: an animal driven from outside gets its heading and speed in place of its own
 6. resolve: claims on one prey are settled by random priority, claims on one patch are shared
 7. move: headings and places change as proposed
 8. live: energy, growth, infection, activity; an animal that dies is marked, one that gives birth notes its litter
 9. die: rules see the dying (carcasses), then their slots are freed
10. birth: litters are born
11. tidy: now and then animals are sorted by cell, which changes no result
12. observe: sensors and outputs read; then the clock goes on

Rules decide on the state of phase 3, so that no animal sees what another has decided in the same step.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from linnaea.store import hash_bytes
from linnaea.twin.engine.agents import NO_SLOT
from linnaea.twin.engine.jit import forget_stale_code, mark_compiled, needs_compilation, use_threads
from linnaea.twin.engine.neighbours import CellIndex
from linnaea.twin.engine.world import PHASES, Rule, World

logger = logging.getLogger(__name__)

SMALL_WORLD = 4096
"animals below which a step takes one thread, which is then faster"
# Steps between NaN checks.
CHECK_EVERY = 16


@dataclass(frozen=True, kw_only=True)
class Steer:
    """What an animal driven from outside does in a step."""

    heading_rad: float
    "counter-clockwise from east"
    speed_m_h: float
    "metres an hour, ≥ 0, straight on"

    def __post_init__(self) -> None:
        if not math.isfinite(self.heading_rad):
            raise ValueError(f"heading_rad: {self.heading_rad} must be an angle in radians from east")
        if not (math.isfinite(self.speed_m_h) and self.speed_m_h >= 0):
            raise ValueError(f"speed_m_h: {self.speed_m_h} must be a speed in metres an hour, 0 or more")


def step(world: World, steer: Mapping[int, Steer] | None = None) -> None:
    """Goes one step on, in place. `steer` says, by id, what animals driven from outside do; dead ones are ignored."""
    # Waking threads costs more than a small world's kernels.
    use_threads(1 if len(world.agents) < SMALL_WORLD else world.threads)
    for phase in PHASES:
        if phase == "index":
            _note(world, phase, "index")
            world.agents.blank_proposals()
            world.cells.build(world.agents)
        if phase == "steer":
            _note(world, phase, "steer")
            _steer(world, steer or {})
        for rule in world.by_phase[phase]:
            _note(world, phase, type(rule).__name__)
            if world.strict and phase == "decide":
                _apply_strictly(world, rule)
            else:
                rule.apply(world)
        if phase == "die":
            _note(world, phase, "bury")
            _bury(world)
        if phase == "tidy":
            _note(world, phase, "sort")
            _sort(world)
    _note(world, phase, "clock")
    world.step += 1


def advance(world: World, steps: int, *, each: Callable[[World], None] | None = None) -> None:
    """Goes `steps` steps on and calls `each` after every one; logs a notice if the first one has to be compiled."""
    files = {inspect.getfile(part) for part in (CellIndex, *map(type, world.rules))}
    cold = steps > 0 and needs_compilation(files)
    if cold:
        logger.info("compiling the rules: once, up to a minute …")
    for _ in range(steps):
        step(world)
        if cold:
            mark_compiled(files)
            forget_stale_code()
            cold = False
        if each:
            each(world)


def _note(world: World, phase: str, what: str) -> None:
    if world.trace is not None:
        world.trace.append(f"{PHASES.index(phase) + 1}. {phase}: {what}")


def _steer(world: World, steer: Mapping[int, Steer]) -> None:
    agents = world.agents
    for animal_id, wish in steer.items():
        slot = agents.find(animal_id)
        if slot == NO_SLOT:
            continue
        agents.pull_x[slot], agents.pull_y[slot] = math.cos(wish.heading_rad), math.sin(wish.heading_rad)
        agents.speed_m_h[slot] = wish.speed_m_h
        if "way_m" in agents.columns:
            agents.way_m[slot] = np.inf


def _bury(world: World) -> None:
    agents = world.agents
    dead = np.flatnonzero((agents.dying[: agents.n] > 0) & agents.live[: agents.n])
    if len(dead):
        np.add.at(world.tallies.died, (agents.species[dead], agents.dying[dead]), 1)
        agents.remove(dead)


def _sort(world: World) -> None:
    if world.step % CHECK_EVERY == 0:
        check_finite(world)
    if world.resort_every and world.step % world.resort_every == 0:
        world.cells.build(world.agents)
        world.agents.sort(world.cells.order)


def finite_until_h(world: World) -> float:
    """Hours since the start up to which the NaN checks found all places and stores to be numbers."""
    last = (world.step - 1) // CHECK_EVERY * CHECK_EVERY
    return max(last + 1, 0) * world.dt_h


def check_finite(world: World) -> None:
    """Checks places, stores and layers. Raise FloatingPointError at a NaN or infinity; it names the animal or layer."""
    agents = world.agents
    for name in ("x", "y", "dir_x", "dir_y", "energy", "mass"):
        values = agents.arrays[name][: agents.n]
        # A sum is not finite as soon as one part of it is not, and costs no array.
        if not np.isfinite(values.sum(dtype=np.float64)):
            broken = np.flatnonzero(~np.isfinite(values) & agents.live[: agents.n])
            if len(broken):
                i = broken[0]
                raise FloatingPointError(
                    f"step {world.step}: {name} of {world.species[agents.species[i]]} {agents.id[i]} is {values[i]};"
                    " a rule's parameters are impossible together"
                )
    for name, layer in world.fields.items():
        if np.isnan(layer.sum(dtype=np.float64)):
            raise FloatingPointError(
                f"step {world.step}: layer {name!r} is nan in a cell; a rule's parameters are impossible together"
            )


def _apply_strictly(world: World, rule: Rule) -> None:
    before = _state_hash(world)
    rule.apply(world)
    assert _state_hash(world) == before, f"{type(rule).__name__} changes state while deciding; propose instead"


def _state_hash(world: World) -> str:
    parts: Iterable[np.ndarray] = (
        *world.agents.state_arrays().values(),
        *world.herds.state_arrays().values(),
        *world.fields.values(),
        *world.arrays.values(),
    )
    return hash_bytes(*[part.tobytes() for part in parts])
