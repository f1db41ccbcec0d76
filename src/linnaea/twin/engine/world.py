"""The world and its step.

A step of `dt_h` hours has these phases; within one, rules apply in the order of `World.rules`.

 1. intervene: a scenario changes the world from outside
 2. environment: season, rain, growth, fire change the landscape's layers; animals stay as they are
 3. index: live animals are sorted into cells, proposals are blanked; this is the old state that all decisions read
 4. decide: every animal proposes (a pull, a speed, a claim on a target); no state of any animal changes
 5. steer: an animal driven from outside gets its heading and speed in place of its own
 6. resolve: claims on one prey are settled by random priority, claims on one patch are shared
 7. move: headings and places change as proposed
 8. live: energy, growth, infection, activity; an animal that dies is marked, one that gives birth notes its litter
 9. die: rules see the dying (carcasses), then their slots are freed
10. birth: litters are born
11. tidy: now and then animals are sorted by cell, which changes no result
12. observe: sensors and outputs read; then the clock goes on

Rules decide from what stood at phase 3, so that no animal sees what another has decided in the same step.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from linnaea.store import hash_bytes
from linnaea.twin.engine.agents import NO_SLOT, Agents, Column
from linnaea.twin.engine.jit import forget_stale_code, mark_compiled, needs_compilation, use_threads
from linnaea.twin.engine.neighbours import Cells, Space

PHASES = (
    "intervene",
    "environment",
    "index",
    "decide",
    "steer",
    "resolve",
    "move",
    "live",
    "die",
    "birth",
    "tidy",
    "observe",
)
SMALL_WORLD = 4096
# Steps between two looks for numbers that are none.
CHECK_EVERY = 16
# Of death, in `agents.dying`.
CAUSES = (
    "none",
    "starvation",
    "age",
    "predation",
    "disease",
    "poaching",
    "removal",
    "background",
)
CAUSE = {name: code for code, name in enumerate(CAUSES)}


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """One thing that happens in every step: a frozen dataclass of parameters, without state of its own.

    State belongs to the world (columns of the animals, layers, `World.arrays`), so that a checkpoint holds all of it.
    The class docstring, the string under every field and `leaves_out` become the rule's entry in the model's description.
    """

    phase: ClassVar[str] = ""
    "one of PHASES"
    stored_name: ClassVar[str] = ""
    "the class's name in checkpoints, where it is not the present one"
    source: ClassVar[str] = ""
    "where the rule is described"
    leaves_out: ClassVar[tuple[str, ...]] = ()
    "what a biologist may expect of it that it does not do, a sentence each"

    def prepare(self, world: World) -> None:  # noqa: B027
        """Called once, before the first step: adds columns, layers, arrays and tallies, and checks the parameters."""

    @abstractmethod
    def apply(self, world: World) -> None:
        """Called in every step, at the rule's phase."""


@dataclass(frozen=True, kw_only=True)
class Steer:
    """What an animal driven from outside does in a step."""

    heading_rad: float
    "counter-clockwise from east"
    speed_m_h: float
    "metres an hour, ≥ 0, straight on"

    def __post_init__(self) -> None:
        if not math.isfinite(self.heading_rad):
            raise ValueError(f"heading_rad: {self.heading_rad} is not an angle; give radians from east")
        if not (math.isfinite(self.speed_m_h) and self.speed_m_h >= 0):
            raise ValueError(f"speed_m_h: {self.speed_m_h} is not a speed; give metres an hour, 0 or more")


@dataclass(kw_only=True)
class World:
    """Everything that a step reads and changes. `step(world)` goes one step on."""

    space: Space
    "the ground"
    rules: list[Rule]
    "in the order of application within a phase"
    seed: int = 0
    "of every random number, 0 ≤ seed < 2^64"
    dt_h: float = 1.0
    "length of a step in hours"
    species: tuple[str, ...] = ("animal",)
    "names of the rows of the species table"
    traits: tuple[str, ...] = ()
    "names of the heritable traits"
    columns: tuple[Column, ...] = ()
    "properties of animals beyond those of `agents.COLUMNS`"
    capacity: int = 1024
    "animals to make room for at first"
    max_capacity: int = 2**31
    "animals that end the run with an error"
    resort_every: int = 16
    "steps between two sortings of the animals by cell; 0 never"
    threads: int = 0
    "threads of the kernels, 0 as many as numba started with; small worlds take one, which is faster"
    strict: bool = False
    "whether to check in every step that deciding changes no state (slow, for tests)"
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    "the species table: arrays whose first axis is the species"
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    "layers of the landscape, [rows, columns] from the south-west corner, each over the whole ground"
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    "state of rules that belongs to neither animals nor ground"
    tallies: dict[str, np.ndarray] = field(default_factory=dict)
    "counts and flows since the start; `born` [s] and `died` [s, causes] are kept by the loop"

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: {self.seed} is not between 0 and 2^64 - 1")
        if not (math.isfinite(self.dt_h) and self.dt_h > 0):
            raise ValueError(f"dt_h: {self.dt_h} is not a length of time; give hours above 0")
        if not self.species:
            raise ValueError("species: a world needs at least one")
        for rule in self.rules:
            if rule.phase not in PHASES:
                raise ValueError(f"{type(rule).__name__}: no phase {rule.phase!r}; one of {', '.join(PHASES)}")
        self.agents = Agents(
            capacity=self.capacity, traits=self.traits, columns=self.columns, max_capacity=self.max_capacity
        )
        self.cells = Cells(self.space)
        self.step = 0
        self.seed64 = np.uint64(self.seed)
        self.trace: list[str] | None = None
        self.add_tally("born", (len(self.species),))
        self.add_tally("died", (len(self.species), len(CAUSES)))
        for rule in self.rules:
            rule.prepare(self)
        self.by_phase = {m: [rule for rule in self.rules if rule.phase == m] for m in PHASES}

    @property
    def now_h(self) -> float:
        """The clock: hours since the start, at the beginning of the step."""
        return self.step * self.dt_h

    def add_field(self, name: str, values: np.ndarray) -> np.ndarray:
        """Puts a layer [rows, columns] over the ground, unless a layer of that name is there; returns the layer."""
        return self.fields.setdefault(name, np.ascontiguousarray(values))

    def add_array(self, name: str, values: np.ndarray) -> np.ndarray:
        """Keeps a rule's own state under a name, unless it is there; returns it. Change it in place."""
        return self.arrays.setdefault(name, np.ascontiguousarray(values))

    def add_tally(self, name: str, shape: tuple[int, ...], dtype: type = np.int64) -> np.ndarray:
        """Keeps a tally of zeros under a name, unless it is there; returns it."""
        return self.tallies.setdefault(name, np.zeros(shape, dtype))

    def add_rule(self, rule: Rule) -> None:
        """Puts one more rule behind those that are there, before the first step: a scenario's, a sensor's."""
        if rule.phase not in PHASES:
            raise ValueError(f"{type(rule).__name__}: no phase {rule.phase!r}; one of {', '.join(PHASES)}")
        self.rules.append(rule)
        rule.prepare(self)
        self.by_phase[rule.phase].append(rule)

    def counts(self) -> np.ndarray:
        """Live animals of each species: int64 [s]."""
        return self.agents.count(len(self.species))

    def give_birth(self, parents: np.ndarray, litters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bears and tallies `litters` [p] young of `parents` (slots [p]): (slots [c], parents' slots [c]).

        See `Agents.reproduce` for what a young starts with. Arrays of `agents` may be replaced: read them again after.
        """
        agents = self.agents
        slots, mothers = agents.reproduce(parents, litters, self.step, (self.step + 1) * self.dt_h)
        np.add.at(self.tallies["born"], agents.species[slots], 1)
        return slots, mothers

    def fingerprint(self) -> str:
        """A hash of the rules, the ground and the clock's step: two worlds that share it may exchange checkpoints."""
        rules = ", ".join(_describe_stored(rule) for rule in self.rules)
        return hash_bytes(f"[{rules}]", *map(repr, (self.space, self.seed, self.dt_h, self.species, self.traits)))


def _describe_stored(rule: Rule) -> str:
    """The rule's `repr` with the class name under which checkpoints know it."""
    name = type(rule).__qualname__
    return (rule.stored_name or name) + repr(rule).removeprefix(name)


def step(world: World, steer: Mapping[int, Steer] | None = None) -> None:
    """Goes one step on, in place. `steer` says, by id, what animals driven from outside do in it; the dead need no entry."""
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


def advance(
    world: World,
    steps: int,
    *,
    each: Callable[[World], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> None:
    """Goes `steps` steps on; `each` is called after every one. Says so when the first one has to be compiled."""
    files = {inspect.getfile(part) for part in (Cells, *map(type, world.rules))}
    cold = steps > 0 and needs_compilation(files)
    if cold and report:
        report("compiling the rules: once, up to a minute …")
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
        np.add.at(world.tallies["died"], (agents.species[dead], agents.dying[dead]), 1)
        agents.remove(dead)


def _sort(world: World) -> None:
    if world.step % CHECK_EVERY == 0:
        check_finite(world)
    if world.resort_every and world.step % world.resort_every == 0:
        world.cells.build(world.agents)
        world.agents.sort(world.cells.order)


def finite_until_h(world: World) -> float:
    """Hours since the start up to which the loop's own looks found all places and stores to be numbers."""
    last = (world.step - 1) // CHECK_EVERY * CHECK_EVERY
    return max(last + 1, 0) * world.dt_h


def check_finite(world: World) -> None:
    """Returns when all places, stores and layers are numbers; else FloatingPointError, which names the animal or layer."""
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
        *world.fields.values(),
        *world.arrays.values(),
    )
    return hash_bytes(*[part.tobytes() for part in parts])
