"""What rules declare to read and to write, against what they do in whole worlds.

Before a rule acts, all state that it does not declare to read is exchanged for other values. It must then write what it
writes without the exchange. It may change only what it declares to write.
"""

from __future__ import annotations

import numpy as np
import pytest

from linnaea.twin.data.world_file import list_bundled_worlds
from linnaea.twin.engine.agents import COLUMNS
from linnaea.twin.engine.herds import HERD_COLUMNS, HerdArrays
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.disease import infect, set_disease
from linnaea.twin.rules.foraging import Eat
from linnaea.twin.rules.goals import Census
from linnaea.twin.rules.motion import Flee, HomeRange, Move, Walk
from linnaea.twin.rules.reproduction import Mate
from linnaea.twin.rules.vegetation import Grow
from made_worlds import changed, small
from twin_worlds import busy_world

COUNTERS = ("n", "next_id", "next_key", "n_born", "n_died", "capacity")


def find_state(world: World) -> dict[str, np.ndarray]:
    """All state of a world by name; layers of food are the stack `arrays.food`."""
    stores = {
        "agents": world.agents.arrays,
        "herds": world.herds.arrays._asdict(),
        "fields": {
            name: layer
            for name, layer in world.fields.items()
            if "food" not in world.arrays or not np.shares_memory(layer, world.arrays.food)
        },
        "arrays": world.arrays,
        "tallies": world.tallies,
    }
    return {f"{store}.{name}": values for store, found in stores.items() for name, values in found.items()}


class Snapshot:
    """The state of a world, to compare with and to go back to."""

    def __init__(self, world: World):
        self.values = {name: values.copy() for name, values in find_state(world).items()}
        self.counters = {name: getattr(world.agents, name) for name in COUNTERS}
        self.free = list(world.agents.free)

    def restore(self, world: World) -> None:
        """Puts the world back; layers stay where they are in memory."""
        for name, value in self.counters.items():
            setattr(world.agents, name, value)
        world.agents.free = list(self.free)
        for name, values in self.values.items():
            store, _, column = name.partition(".")
            if store == "agents":
                world.agents.arrays[column] = values.copy()
            elif store == "herds":
                setattr(world.herds, column, values.copy())
            else:
                getattr(world, store)[column][...] = values


def is_declared(name: str, declared: frozenset[str]) -> bool:
    """Whether a name of state is among those declared, or all of its kind are."""
    return name in declared or f"{name.partition('.')[0]}.*" in declared


def exchange(world: World, but: frozenset[str]) -> None:
    """Exchanges the values of all state except what is declared; codes and rows stay possible ones."""
    for name, values in find_state(world).items():
        # Which slots are used is the order of the animals, which every rule gets.
        if name == "agents.live" or is_declared(name, but) or not values.size:
            continue
        used = values[: world.agents.n] if name.startswith("agents.") else values
        moved = np.roll(used, 7, axis=0)
        if used.dtype.kind == "f":
            moved = 1.7 * moved + 0.3
        elif used.dtype.kind == "b":
            moved = ~used
        elif name.startswith("tallies."):
            moved = moved + 13
        used[...] = moved


def differing(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Which elements of an array are not what they were; new ones are not."""
    same = np.zeros(after.shape, bool)
    rows = min(len(before), len(after))
    same[:rows] = (before[:rows] == after[:rows]) | ((before[:rows] != before[:rows]) & (after[:rows] != after[:rows]))
    return ~same


def check_rule(world: World, rule: Rule) -> set[str]:
    """Applies a rule of a world twice, with and without an exchange of what it does not read; what it has changed."""
    before = Snapshot(world)
    exchange(world, rule.reads)
    other_before = find_state(world)
    other_before = {name: values.copy() for name, values in other_before.items()}
    rule.apply(world)
    other = {name: values.copy() for name, values in find_state(world).items()}
    before.restore(world)
    rule.apply(world)
    after, written = find_state(world), set()
    for name, values in after.items():
        here = differing(before.values[name], values)
        if here.any():
            written.add(name)
        assert not here.any() or is_declared(name, rule.writes), f"{type(rule).__name__} writes {name}"
        there = here | (
            differing(other_before[name], other[name]) if other[name].shape == values.shape else np.ones_like(here)
        )
        assert other[name].shape == values.shape, f"{type(rule).__name__}: {name} depends on what is not declared"
        assert np.array_equal(other[name][there], values[there], equal_nan=values.dtype.kind == "f"), (
            f"{type(rule).__name__}: {name} depends on what is not declared"
        )
    return written


class Checked:
    """A rule that is checked whenever it applies."""

    def __init__(self, rule: Rule, written: dict[type[Rule], set[str]]):
        self.rule, self.written = rule, written.setdefault(type(rule), set())

    def apply(self, world: World) -> None:
        """Applies the rule and checks it."""
        self.written |= check_rule(world, self.rule)


def watch(world: World, written: dict[type[Rule], set[str]]) -> None:
    """Has all rules of a world checked."""
    for rules in world.by_phase.values():
        rules[:] = [Checked(rule, written) for rule in rules]


def _step_often(world: World, n: int) -> None:
    for _ in range(n):
        step(world)


def eventful(name: str) -> World:
    """A small world with many events: an epidemic, a fence, poachers, drought and fires in one half, cubs."""
    share = {"savanna": 0.01, "post": 0.2, "island": 0.3, "galapagos": 2.0}.get(name, 0.15)
    data = changed(name, settings={"fires_per_km2_y": 500.0})
    world = small(data, area_share=share, dt_h=load_step(name))
    middle = world.space.width_m / 2
    world.arrays.fences = np.array([[middle, -1.0, middle, world.space.height_m + 1, 0.3]])
    set_disease(
        world, dict.fromkeys(world.species, 1.0), infection_per_h=0.05, illness_d=5, lethality=0.3, immunity_y=0.02
    )
    infect(world, world.agents.slots()[::7])
    world.fields.rain_factor[::2] = 0.0
    world.fields.moisture_mm[::2] = 1.0
    world.arrays.poaching_per_h[:] = 1e-3
    world.arrays.arrivals_per_y[:] = 200.0
    cubs = world.agents.slots()[::5]
    world.agents.mass[cubs] *= 0.3
    world.agents.energy[cubs] *= 0.1
    return world


def load_step(name: str) -> float:
    """Hours of a step in which several things happen at once."""
    return 1.0 if name == "post" else 24.0


@pytest.fixture(scope="module")
def written() -> dict[type[Rule], set[str]]:
    """What each rule of the bundled worlds was seen to change."""
    return {}


@pytest.mark.parametrize("name", sorted(list_bundled_worlds()))
def test_rules_of_list_bundled_worlds_read_and_write_what_they_declare(name, written):
    world = eventful(name)
    watch(world, written)
    for _ in range(60):
        step(world)


def test_rules_of_textbook_worlds_read_and_write_what_they_declare():
    world, found = busy_world(), {}
    watch(world, found)
    for _ in range(12):
        step(world)
    assert len(found) == len(world.rules)
    for rule in (Walk, Move, HomeRange, Flee):
        assert rule.writes == found[rule], rule.__name__


def test_no_rule_declares_to_write_what_it_never_changes(written):
    for rule, names in written.items():
        never = {name for name in rule.writes if not name.endswith("*")} - names
        assert not never, f"{rule.__name__} never changes {', '.join(sorted(never))}"
    assert len(written) == 27


def test_declared_names_are_state_of_the_world():
    world = eventful("galapagos")
    known = set(find_state(world)) | {f"{store}.*" for store in ("agents", "herds")}
    for rule in world.rules:
        assert rule.writes, f"{type(rule).__name__} declares nothing"
        assert rule.reads | rule.writes <= known


def test_a_rule_that_reads_or_writes_more_is_noticed(monkeypatch):
    for rule, reads, writes, says in (
        (Grow, Grow.reads - {"fields.moisture_mm"}, Grow.writes, "depends on what is not declared"),
        (Census, Census.reads - {"agents.x"}, Census.writes, "depends on what is not declared"),
        (Census, Census.reads, frozenset(), "Census writes arrays.census"),
        (Mate, Mate.reads - {"agents.due_h"}, Mate.writes, "depends on what is not declared"),
        (Eat, Eat.reads, Eat.writes - {"tallies.grazed_kj"}, "Eat writes tallies.grazed_kj"),
    ):
        world = eventful("tutorial")
        with monkeypatch.context() as patch:
            patch.setattr(rule, "reads", reads)
            patch.setattr(rule, "writes", writes)
            watch(world, {})
            with pytest.raises(AssertionError, match=says):
                _step_often(world, 30)


def test_herds_have_one_array_for_each_column():
    assert HerdArrays._fields == tuple(column.name for column in HERD_COLUMNS)
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
