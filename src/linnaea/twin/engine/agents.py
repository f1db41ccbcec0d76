"""All animals of a world as a struct of arrays: one array a column, one slot an animal.

Shape suffixes: n slots, t heritable traits.

- A slot is live or free. Capacity is fixed until it is full, then it doubles; kernels take the arrays anew each step.
- `id` counts up from 1 and is never used again. `key` names the animal to the random numbers: founders count up as
  well, and the key of a young is made from its parent's (`rng.child_key`), so that deaths elsewhere do not shift it.
  Match animals of two runs by `key`; refer to them in tables by `id`.
- The order of slots carries no meaning, and no result may depend on it.
- *State* columns are the animal. *Proposal* columns live for one step: they are blanked in the phase `index`, written
  in `decide` and read from `resolve` on.
- The heading is kept as a unit vector (`dir_x`, `dir_y`): flocks add directions, and no step then pays for an
  arctangent.
- Age is kept as the hour of birth, which loses nothing in float64 when steps are short and lives are long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from linnaea.twin.engine.rng import child_keys

NO_SLOT = -1
Columns = TypeVar("Columns", bound=tuple)
HOURS_A_YEAR = 8766.0
# Codes of the column `health`.
SUSCEPTIBLE, INFECTIOUS, RECOVERED, VACCINATED = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Column:
    """One property of every animal."""

    name: str
    "as attribute of `Agents`"
    dtype: type
    "of the array"
    help: str
    "what it means, with its unit"
    proposal: bool = False
    "whether it lives for one step only"
    blank: float = 0
    "its value where nothing was set"


COLUMNS: tuple[Column, ...] = (
    Column(name="id", dtype=np.int64, help="number in tables, counted from 1, never used again"),
    Column(name="key", dtype=np.uint64, help="name to the random numbers; inherited, the same in paired runs"),
    Column(name="parent", dtype=np.int64, help="id of the mother, 0 for founders"),
    Column(name="species", dtype=np.int16, help="row in the world's species table"),
    Column(name="x", dtype=np.float32, help="metres east of the western border"),
    Column(name="y", dtype=np.float32, help="metres north of the southern border"),
    Column(name="dir_x", dtype=np.float32, help="eastward part of the unit heading", blank=1),
    Column(name="dir_y", dtype=np.float32, help="northward part of the unit heading"),
    Column(name="energy", dtype=np.float64, help="energy in store, kJ"),
    Column(name="mass", dtype=np.float32, help="body mass, kg"),
    Column(name="born_h", dtype=np.float64, help="hour of birth on the world's clock; negative for grown founders"),
    Column(name="sex", dtype=np.int8, help="0 female, 1 male"),
    Column(name="herd", dtype=np.int32, help="herd, pack or territory, -1 without"),
    Column(name="state", dtype=np.int8, help="what it is doing; the codes belong to the rules"),
    Column(name="until_h", dtype=np.float64, help="hour at which the present activity (handling, rest) ends"),
    Column(name="health", dtype=np.int8, help="0 susceptible, 1 infectious, 2 recovered, 3 vaccinated"),
    Column(name="home_x", dtype=np.float32, help="metres east, centre of its range"),
    Column(name="home_y", dtype=np.float32, help="metres north, centre of its range"),
    Column(name="pull_x", dtype=np.float32, help="sum of wishes to go east, weights times unit vectors", proposal=True),
    Column(name="pull_y", dtype=np.float32, help="sum of wishes to go north", proposal=True),
    Column(name="speed_m_h", dtype=np.float32, help="proposed speed, metres an hour", proposal=True),
    Column(name="target", dtype=np.int64, help="claimed slot or grid cell, -1 none", proposal=True, blank=NO_SLOT),
    Column(name="demand", dtype=np.float64, help="amount asked of the claimed target", proposal=True),
    Column(name="won", dtype=np.float64, help="amount granted, or 1 for a prey won", proposal=True),
    Column(name="exposure", dtype=np.float32, help="infectious animals met, or their share among all", proposal=True),
    Column(
        name="dying", dtype=np.uint8, help="cause of death in this step (`world.CAUSES`), 0 lives on", proposal=True
    ),
    Column(name="litter", dtype=np.int16, help="young to be born in this step", proposal=True),
)


class Animals(NamedTuple):
    """The columns that most kernels read."""

    species: np.ndarray
    key: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mass: np.ndarray
    energy: np.ndarray
    born_h: np.ndarray
    herd: np.ndarray


class Wishes(NamedTuple):
    """The columns in which rules propose where an animal goes: the sum of its wishes and its speed."""

    pull_x: np.ndarray
    pull_y: np.ndarray
    speed_m_h: np.ndarray


class Headings(NamedTuple):
    """The unit vectors in which animals go."""

    dir_x: np.ndarray
    dir_y: np.ndarray


class Agents:
    """The animals. `agents.x` is a column's whole array [capacity]; slots from `n` on were never used.

    `agents.live` [capacity] says which slots hold an animal; kernels go over `range(agents.n)` and skip the others, or
    over `cells.order`, which lists the live ones.
    """

    def __init__(
        self,
        *,
        capacity: int = 1024,
        traits: tuple[str, ...] = (),
        columns: Iterable[Column] = (),
        max_capacity: int = 2**31,
    ):
        if capacity < 1:
            raise ValueError(f"capacity: {capacity} must be at least 1 animal")
        self.capacity = capacity
        self.max_capacity = max_capacity
        self.trait_names = tuple(traits)
        self.n = 0
        self.free: list[int] = []
        self.next_id = 1
        self.next_key = 1
        self.n_born = 0
        self.n_died = 0
        self.columns: dict[str, Column] = {}
        self.arrays: dict[str, np.ndarray] = {
            "live": np.zeros(capacity, bool),
            "traits": np.zeros((capacity, len(self.trait_names)), np.float32),
        }
        for column in (*COLUMNS, *columns):
            self.add_column(column)

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.__dict__["arrays"][name]
        except KeyError:
            raise AttributeError(f"animals have no column {name!r}") from None

    def __len__(self) -> int:
        """The number of live animals."""
        return self.n - len(self.free)

    def view(self, kind: type[Columns]) -> Columns:
        """The whole arrays of some columns, as kernels take them: a NamedTuple whose fields are the columns' names."""
        return kind(*[self.arrays[name] for name in kind._fields])

    def add_column(self, column: Column) -> None:
        """Gives every animal one more property; asking again for the same one changes nothing."""
        present = self.columns.get(column.name)
        if present is not None and present != column:
            raise ValueError(f"column {column.name!r} exists with another meaning: {present.help}")
        if present is None:
            self.columns[column.name] = column
            self.arrays[column.name] = np.full(self.capacity, column.blank, column.dtype)

    def slots(self) -> np.ndarray:
        """The slots [n] of the live animals, ascending."""
        return np.flatnonzero(self.live[: self.n])

    def age_h(self, now_h: float) -> np.ndarray:
        """Ages in hours [n], of live and free slots alike."""
        return now_h - self.born_h[: self.n]

    def count(self, n_species: int) -> np.ndarray:
        """Live animals of each species: int64 [n_species]."""
        return np.bincount(self.species[: self.n][self.live[: self.n]], minlength=n_species)

    def find(self, animal_id: int) -> int:
        """The slot of a live animal, or -1."""
        found = np.flatnonzero((self.id[: self.n] == animal_id) & self.live[: self.n])
        return int(found[0]) if len(found) else NO_SLOT

    def reserve(self, capacity: int) -> None:
        """Makes room for at least this many slots; arrays are replaced, never the animals."""
        if capacity <= self.capacity:
            return
        if capacity > self.max_capacity:
            raise ValueError(f"{capacity} animals are more than the {self.max_capacity} allowed; raise max_capacity")
        self.capacity = min(max(capacity, 2 * self.capacity), self.max_capacity)
        for name, old in self.arrays.items():
            blank = self.columns[name].blank if name in self.columns else 0
            new = np.full((self.capacity, *old.shape[1:]), blank, old.dtype)
            new[: self.n] = old[: self.n]
            self.arrays[name] = new

    def _take_slots(self, count: int) -> np.ndarray:
        n_reused = min(count, len(self.free))
        reused = self.free[len(self.free) - n_reused :]
        del self.free[len(self.free) - n_reused :]
        n_new = count - n_reused
        self.reserve(self.n + n_new)
        slots = np.concatenate([np.array(reused, np.int64), np.arange(self.n, self.n + n_new)])
        self.n += n_new
        for name, column in self.columns.items():
            self.arrays[name][slots] = column.blank
        self.traits[slots] = 0
        self.live[slots] = True
        return slots

    def add(self, count: int, **values: np.ndarray | float) -> np.ndarray:
        """Founders or introduced animals: their slots [count]. `values` are columns, or `traits` [count, t].

        Columns not named are blank; `herd` is -1. Keys count up from 1 (never clashing with those of the born).
        """
        unknown = sorted(set(values) - set(self.columns) - {"traits"})
        if unknown:
            raise ValueError(f"animals have no column {unknown[0]!r}; add_column first")
        slots = self._take_slots(count)
        self.id[slots] = np.arange(self.next_id, self.next_id + count)
        self.key[slots] = np.arange(self.next_key, self.next_key + count)
        self.herd[slots] = -1
        self.next_id += count
        self.next_key += count
        for name, value in values.items():
            self.arrays[name][slots] = value
        return slots

    def reproduce(
        self, parents: np.ndarray, litters: np.ndarray, step: int, now_h: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Young of `parents` (slots [p]), `litters` [p] each: (slots [c], slots of their parents [c]).

        A young starts as a copy of its parent (species, place, heading, herd, home, traits, and columns of other
        rules), new-born, susceptible, with blank energy and activity; the calling rule sets energy, mass, sex and
        mutations. Ids follow the parents' keys, so that they do not depend on the order of slots.
        """
        parents, litters = np.asarray(parents, np.int64), np.asarray(litters, np.int64)
        order = np.argsort(self.key[parents], kind="stable")
        parents, litters = parents[order], litters[order]
        mothers = np.repeat(parents, litters)
        count = len(mothers)
        first = np.repeat(np.cumsum(litters) - litters, litters)
        keys = child_keys(self.key[mothers], step, np.arange(count) - first)
        slots = self._take_slots(count)
        for name, column in self.columns.items():
            if not column.proposal:
                self.arrays[name][slots] = self.arrays[name][mothers]
        self.traits[slots] = self.traits[mothers]
        self.id[slots] = np.arange(self.next_id, self.next_id + count)
        self.next_id += count
        self.key[slots] = keys
        self.parent[slots] = self.id[mothers]
        self.born_h[slots] = now_h
        self.energy[slots] = 0
        self.state[slots] = 0
        self.until_h[slots] = 0
        self.health[slots] = 0
        self.n_born += count
        return slots, mothers

    def remove(self, slots: np.ndarray) -> None:
        """Frees the slots of animals that died or left."""
        slots = np.asarray(slots, np.int64)
        assert self.live[slots].all()
        self.live[slots] = False
        self.free.extend(slots.tolist())
        self.n_died += len(slots)

    def blank_proposals(self) -> None:
        """Empties the columns that live for one step."""
        for name, column in self.columns.items():
            if column.proposal:
                self.arrays[name][: self.n] = column.blank

    def sort(self, order: np.ndarray) -> None:
        """Moves the live animals to slots 0 … m-1 in the order of `order` (all live slots [m]); then none is free."""
        m = len(order)
        assert m == len(self)
        for name, array in self.arrays.items():
            array[:m] = array[order]
            if name in self.columns:
                array[m : self.n] = self.columns[name].blank
        self.live[m : self.n] = False
        self.traits[m : self.n] = 0
        self.n = m
        self.free = []

    def shape(self) -> dict:
        """Sizes and counters; with `state_arrays` all that a checkpoint needs."""
        counters = ("n", "next_id", "next_key", "n_born", "n_died", "capacity", "max_capacity")
        return {name: getattr(self, name) for name in counters} | {
            "trait_names": list(self.trait_names),
            "free": self.free,
        }

    def state_arrays(self) -> dict[str, np.ndarray]:
        """The used part of every array but the proposals, `live` and `traits` included."""
        return {
            name: array[: self.n]
            for name, array in self.arrays.items()
            if name not in self.columns or not self.columns[name].proposal
        }

    def restore(self, shape: Mapping, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes what `shape` and `state_arrays` gave. Raise ValueError if the columns are not those of this world."""
        expected = set(self.state_arrays())
        if odd := sorted(expected ^ set(arrays)):
            raise ValueError(
                f"the checkpoint's columns are not this world's ({', '.join(odd)}); use the world it came from"
            )
        if list(shape["trait_names"]) != list(self.trait_names):
            raise ValueError(
                f"the checkpoint's traits are {shape['trait_names']}, this world's {list(self.trait_names)}"
            )
        self.n = 0
        self.max_capacity = shape["max_capacity"]
        self.reserve(shape["capacity"])
        self.free = list(shape["free"])
        for name in ("n", "next_id", "next_key", "n_born", "n_died"):
            setattr(self, name, shape[name])
        for name, values in arrays.items():
            self.arrays[name][: self.n] = values
