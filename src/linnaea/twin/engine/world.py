"""The world: everything that a step reads and changes, and the rules that change it.

`linnaea.twin.engine.step.step(world)` goes one step on.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from linnaea.store import hash_bytes
from linnaea.twin.engine.agents import Agents, Column
from linnaea.twin.engine.herds import Herds
from linnaea.twin.engine.named_arrays import NamedArrays
from linnaea.twin.engine.neighbours import CellIndex, Space
from linnaea.twin.engine.parameters import SpeciesParameters

# `linnaea.twin.engine.step` says what each phase is for.
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
# Causes of death, the codes of `agents.dying`.
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


def name_state(**names: str) -> frozenset[str]:
    """Full names of state: `name_state(agents="x y", fields="water")` is agents.x, agents.y and fields.water."""
    return frozenset(f"{store}.{name}" for store, found in names.items() for name in found.split())


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """One process of a step: a frozen dataclass of parameters, without state of its own.

    State belongs to the world (columns of the animals, herds, layers, `World.arrays`), so that a checkpoint holds it
    all. The class docstring, the string under every field and `leaves_out` become the rule's entry in the model's
    description.
    """

    phase: ClassVar[str] = ""
    "one of PHASES"
    stored_name: ClassVar[str] = ""
    "the class's name in checkpoints, where it is not the present one"
    source: ClassVar[str] = ""
    "where the rule is described"
    leaves_out: ClassVar[tuple[str, ...]] = ()
    "what a biologist may expect of it that it does not do, a sentence each"
    reads: ClassVar[frozenset[str]] = frozenset()
    "state on which `apply` depends, by `name_state`; `agents.*` for all columns"
    writes: ClassVar[frozenset[str]] = frozenset()
    "state that `apply` may change, by `name_state`"

    def prepare(self, world: World) -> None:  # noqa: B027
        """Called once, before the first step: adds columns, layers, arrays and tallies, and checks the parameters."""

    @abstractmethod
    def apply(self, world: World) -> None:
        """Called in every step, at the rule's phase."""


class Clock(NamedTuple):
    """What kernels ask of the time and of chance: the numbers of this step are named by `seed` and `step`."""

    seed: np.uint64
    step: int
    now_h: float
    dt_h: float


@dataclass(kw_only=True)
class World:
    """Everything that a step reads and changes."""

    space: Space
    "the ground"
    rules: list[Rule]
    "in the order of application within a phase"
    seed: int = 0
    "seed of every random number, 0 ≤ seed < 2^64"
    dt_h: float = 1.0
    "length of a step in hours"
    species: tuple[str, ...] = ("animal",)
    "names of the rows of the species table"
    traits: tuple[str, ...] = ()
    "names of the heritable traits"
    columns: tuple[Column, ...] = ()
    "properties of animals beyond those of `agents.COLUMNS`"
    capacity: int = 1024
    "slots for animals at the start"
    max_capacity: int = 2**31
    "number of animals above which the run ends with an error"
    resort_every: int = 16
    "steps between two sortings of the animals by cell; 0 never"
    threads: int = 0
    "threads of the kernels, 0 as many as numba started with; small worlds take one, which is faster"
    strict: bool = False
    "whether to check in every step that deciding changes no state (slow, for tests)"
    parameters: SpeciesParameters | None = None
    "what rules ask of species and foods; None for worlds whose rules bring their own"
    fields: NamedArrays = field(default_factory=NamedArrays)
    "layers of the landscape, [rows, columns] from the south-west corner, each over the whole ground"
    arrays: NamedArrays = field(default_factory=NamedArrays)
    "state of rules that belongs to neither animals, herds nor ground"
    tallies: NamedArrays = field(default_factory=NamedArrays)
    "counts and flows since the start; `born` [s] and `died` [s, causes] are kept by the step itself"

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: {self.seed} must be between 0 and 2^64 - 1")
        if not (math.isfinite(self.dt_h) and self.dt_h > 0):
            raise ValueError(f"dt_h: {self.dt_h} must be a number of hours above 0")
        if not self.species:
            raise ValueError("species: a world needs at least one")
        for rule in self.rules:
            _check_phase(rule)
        self.fields, self.arrays = NamedArrays(self.fields), NamedArrays(self.arrays)
        self.tallies = NamedArrays(self.tallies)
        self.agents = Agents(
            capacity=self.capacity, traits=self.traits, columns=self.columns, max_capacity=self.max_capacity
        )
        self.herds = Herds()
        self.cells = CellIndex(self.space)
        self.step = 0
        self.seed64 = np.uint64(self.seed)
        self.trace: list[str] | None = None
        self.add_tally("born", (len(self.species),))
        self.add_tally("died", (len(self.species), len(CAUSES)))
        for rule in self.rules:
            rule.prepare(self)
        self.by_phase = {phase: [rule for rule in self.rules if rule.phase == phase] for phase in PHASES}

    @property
    def now_h(self) -> float:
        """The clock: hours since the start, at the beginning of the step."""
        return self.step * self.dt_h

    @property
    def clock(self) -> Clock:
        """The time and the names of this step's random numbers, as kernels take them."""
        return Clock(self.seed64, int(self.step), float(self.now_h), float(self.dt_h))

    def steps_of(self, every_h: float) -> int:
        """The steps, at least one, from one application of a rule to the next."""
        return max(1, round(every_h / self.dt_h))

    def due(self, every_h: float) -> float:
        """Hours that a rule that applies every `every_h` hours has to cover in this step: 0 if it is not its turn."""
        period = self.steps_of(every_h)
        return period * self.dt_h if self.step % period == 0 else 0.0

    def add_field(self, name: str, values: np.ndarray) -> np.ndarray:
        """Puts a layer [rows, columns] over the ground unless it has one of that name; returns the layer."""
        return self.fields.setdefault(name, np.ascontiguousarray(values))

    def add_array(self, name: str, values: np.ndarray) -> np.ndarray:
        """Keeps a rule's own state under a name unless there is one; returns it. Change it in place."""
        return self.arrays.setdefault(name, np.ascontiguousarray(values))

    def add_tally(self, name: str, shape: tuple[int, ...], dtype: type = np.int64) -> np.ndarray:
        """Keeps a tally of zeros under a name unless there is one; returns it."""
        return self.tallies.setdefault(name, np.zeros(shape, dtype))

    def add_rule(self, rule: Rule) -> None:
        """Puts one more rule, of a scenario or a sensor, behind the others; before the first step."""
        _check_phase(rule)
        self.rules.append(rule)
        rule.prepare(self)
        self.by_phase[rule.phase].append(rule)

    def counts(self) -> np.ndarray:
        """Live animals of each species: int64 [s]."""
        return self.agents.count(len(self.species))

    def give_birth(self, parents: np.ndarray, litters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Adds and tallies `litters` [p] young of `parents` (slots [p]): (slots [c], parents' slots [c]).

        See `Agents.reproduce` for what a young starts with. Arrays of `agents` may be replaced: read them again after.
        """
        agents = self.agents
        slots, mothers = agents.reproduce(parents, litters, self.step, (self.step + 1) * self.dt_h)
        np.add.at(self.tallies.born, agents.species[slots], 1)
        return slots, mothers

    def fingerprint(self) -> str:
        """A hash of rules, ground, seed and step length: two worlds that share it may exchange checkpoints."""
        rules = ", ".join(_describe_stored(rule) for rule in self.rules)
        return hash_bytes(f"[{rules}]", *map(repr, (self.space, self.seed, self.dt_h, self.species, self.traits)))


def _check_phase(rule: Rule) -> None:
    if rule.phase not in PHASES:
        raise ValueError(f"{type(rule).__name__}: unknown phase {rule.phase!r}; choose one of {', '.join(PHASES)}")


def _describe_stored(rule: Rule) -> str:
    """The rule's `repr` with the class name under which checkpoints know it."""
    name = type(rule).__qualname__
    return (rule.stored_name or name) + repr(rule).removeprefix(name)
