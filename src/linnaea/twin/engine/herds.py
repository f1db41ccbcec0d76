"""All herds of a world as a struct of arrays: one array a property, one row a herd.

Every animal of a whole world belongs to a herd, a solitary one to its own; `Agents.herd` is the row. A row is taken or
free (`species` is FREE). Rows are used again; `key` names the herd to the random numbers.

Shape suffixes: h rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FREE = -1
"species of a row that holds no herd"
FIRST_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class HerdColumn:
    """One property of every herd."""

    name: str
    "as attribute of `Herds`"
    stored_name: str
    "in checkpoints"
    dtype: type
    "of the array"
    help: str
    "what it means, with its unit"
    width: int = 0
    "numbers a herd, 0 for one without an axis of its own"


HERD_COLUMNS = (
    HerdColumn(name="key", stored_name="herd_key", dtype=np.uint64, help="name to the random numbers: a founder's key"),
    HerdColumn(
        name="species", stored_name="herd_species", dtype=np.int16, help="row of the species, FREE without a herd"
    ),
    HerdColumn(name="home", stored_name="herd_home", dtype=np.float64, width=2, help="centre of its range, metres"),
    HerdColumn(name="goal", stored_name="herd_goal", dtype=np.float64, width=2, help="where it goes, metres"),
    HerdColumn(name="size", stored_name="herd_size", dtype=np.int64, help="animals, counted in every step"),
    HerdColumn(name="adults", stored_name="herd_adults", dtype=np.int64, help="mature animals, counted in every step"),
    HerdColumn(
        name="centre", stored_name="herd_middle", dtype=np.float64, width=2, help="mean place of its animals, metres"
    ),
    HerdColumn(name="fill", stored_name="herd_store", dtype=np.float64, help="mean filling of its animals' stores"),
)


class HerdArrays(NamedTuple):
    """The columns of `Herds`, as kernels take them."""

    key: np.ndarray
    species: np.ndarray
    home: np.ndarray
    goal: np.ndarray
    size: np.ndarray
    adults: np.ndarray
    centre: np.ndarray
    fill: np.ndarray


class Herds:
    """The herds. `herds.home` is a column's whole array; arrays are replaced when more rows are needed."""

    key: np.ndarray
    species: np.ndarray
    home: np.ndarray
    goal: np.ndarray
    size: np.ndarray
    adults: np.ndarray
    centre: np.ndarray
    fill: np.ndarray

    def __init__(self) -> None:
        for column in HERD_COLUMNS:
            setattr(self, column.name, np.zeros((0, column.width) if column.width else 0, column.dtype))

    def __len__(self) -> int:
        """The number of rows, taken and free."""
        return len(self.species)

    @property
    def arrays(self) -> HerdArrays:
        """All columns, as kernels take them."""
        return HerdArrays(*[getattr(self, column.name) for column in HERD_COLUMNS])

    def _reserve(self, rows: int) -> None:
        old = len(self)
        for column in HERD_COLUMNS:
            values = getattr(self, column.name)
            grown = np.full((rows, *values.shape[1:]), FREE if column.name == "species" else 0, column.dtype)
            grown[:old] = values
            setattr(self, column.name, grown)

    def add(self, keys: np.ndarray, species: np.ndarray, home: np.ndarray) -> np.ndarray:
        """New herds with these keys [h], species [h] and homes [h, 2]: their rows [h], the lowest free ones."""
        if not len(self):
            self._reserve(FIRST_ROWS)
        free = np.flatnonzero(self.species == FREE)
        if len(free) < len(keys):
            self._reserve(max(2 * len(self), len(self) + len(keys)))
            free = np.flatnonzero(self.species == FREE)
        rows = free[: len(keys)]
        self.key[rows], self.species[rows] = keys, species
        self.home[rows] = self.goal[rows] = self.centre[rows] = home
        self.size[rows] = self.adults[rows] = 0
        return rows

    def state_arrays(self) -> dict[str, np.ndarray]:
        """All columns by the names that they have in checkpoints; empty before the first herd."""
        return {column.stored_name: getattr(self, column.name) for column in HERD_COLUMNS} if len(self) else {}

    def restore(self, stored: Mapping[str, np.ndarray]) -> None:
        """Takes what `state_arrays` gave."""
        for column in HERD_COLUMNS:
            if column.stored_name in stored:
                setattr(self, column.name, np.array(stored[column.stored_name], column.dtype))
