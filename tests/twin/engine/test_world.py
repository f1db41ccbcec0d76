"""The step: its phases, claims and their resolution, and what results may not depend on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np
import pytest

from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.engine import step as loop
from linnaea.twin.engine.agents import COLUMNS
from linnaea.twin.engine.checkpoint import load_checkpoint, save_checkpoint
from linnaea.twin.engine.contention import resolve_claims, share_supply
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import Steer, advance, step
from linnaea.twin.engine.world import PHASES, Rule, World
from linnaea.twin.reference_models.birth_death import BirthDeath, DeliverLitters, Expose, Infect
from linnaea.twin.reference_models.flocking_rules import Align, Flock
from linnaea.twin.reference_models.functional_response import Hunt, Kill
from linnaea.twin.rules.motion import Move, Walk, arrive
from twin_worlds import PREY, busy_world, by_key, found, oracle_step, same


def test_the_docstring_numbers_the_moments_that_run():
    told = re.findall(r"^ ?(\d+)\. (\w+): ", loop.__doc__, flags=re.MULTILINE)
    assert told == [(str(i + 1), name) for i, name in enumerate(PHASES)]
    world = busy_world(n_prey=20, n_predators=2)
    world.trace = []
    step(world)
    phases = [re.match(r"(\d+)\. (\w+): ", line).groups() for line in world.trace]
    assert [int(number) for number, _ in phases] == sorted(int(number) for number, _ in phases)
    assert set(phases) <= {(number, name) for number, name in told}
    for rule in world.rules:
        assert f"{PHASES.index(rule.phase) + 1}. {rule.phase}: {type(rule).__name__}" in world.trace
    for own in ("3. index: index", "5. steer: steer", "9. die: bury", "11. tidy: sort", "12. observe: clock"):
        assert own in world.trace
    assert world.step == 1
    assert world.now_h == world.dt_h


@pytest.mark.parametrize("torus", [True, False])
@pytest.mark.parametrize("kind", ["walk", "flock", "align", "crowd"])
def test_a_step_is_that_of_the_plain_oracle(torus, kind):
    moves = {
        "walk": [Walk(speed_m_h=2.0, mean_cosine=0.6, exponential=True)],
        "flock": [Flock(radius_m=4.0, speed_m_h=1.0, separation_m=2.0)],
        "align": [Align(radius_m=3.0, speed_m_h=0.5, noise_rad=2.0)],
        "crowd": [Walk(speed_m_h=2.0), Expose(radius_m=0.0)],
    }[kind]
    rules = [*moves, Expose(radius_m=3.0), Move(), Infect(infection_per_h=0.2, recovery_per_h=0.3)]
    world = World(space=Space(width_m=20, height_m=14, torus=torus, cell_m=2.5), rules=rules, capacity=8, seed=11)
    found(world, 90, 0)
    for _ in range(4):
        expected = oracle_step(world)
        step(world)
        got = by_key(world)
        for name in ("x", "y"):
            length = world.space.width_m if name == "x" else world.space.height_m
            off = np.abs(got[name] - expected[name])
            assert np.minimum(off, length - off if torus else off).max() < 2e-4, name
        for name in ("dir_x", "dir_y"):
            assert np.allclose(got[name], expected[name], atol=2e-4), name
        assert np.array_equal(got["health"], expected["health"])


def test_results_are_the_same_on_one_and_on_two_threads(monkeypatch):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("only one thread here")
    monkeypatch.setattr(loop, "SMALL_WORLD", 0)
    worlds = [busy_world(threads=threads) for threads in (1, 2)]
    for world in worlds:
        advance(world, 12)
    assert worlds[0].tallies["died"].sum() > 20
    assert same(*map(by_key, worlds))


@pytest.mark.parametrize("torus", [True, False])
def test_results_do_not_depend_on_the_order_of_slots(torus):
    plain, shuffled, unsorted = (busy_world(torus=torus, resort_every=r) for r in (5, 5, 0))
    rng = np.random.default_rng(0)
    for _ in range(12):
        for world in (plain, shuffled, unsorted):
            step(world)
        live = shuffled.agents.slots()
        shuffled.agents.sort(rng.permutation(live))
    assert plain.tallies.born.sum() > 20
    assert same(by_key(plain), by_key(shuffled))
    assert same(by_key(plain), by_key(unsorted))


def test_a_run_continued_from_a_checkpoint_is_the_run_itself(tmp_path):
    whole, first, second = busy_world(), busy_world(), busy_world(n_prey=3)
    advance(whole, 14)
    advance(first, 8)
    save_checkpoint(first, tmp_path / "kept")
    load_checkpoint(second, tmp_path / "kept")
    assert second.step == 8
    advance(second, 6)
    assert same(by_key(whole), by_key(second))
    assert np.array_equal(whole.agents.id[: whole.agents.n], second.agents.id[: second.agents.n])
    for name, tally in whole.tallies.items():
        assert np.array_equal(tally, second.tallies[name]), name
    assert whole.agents.shape() | {"capacity": 0} == second.agents.shape() | {"capacity": 0}


def test_a_checkpoint_of_another_world_is_refused(tmp_path):
    save_checkpoint(busy_world(), tmp_path / "kept")
    with pytest.raises(ValueError, match="other rules or another seed"):
        load_checkpoint(busy_world(seed=8), tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match="no finished checkpoint"):
        load_checkpoint(busy_world(), tmp_path / "nothing")


def test_deciding_changes_no_state_under_any_shipped_rule():
    advance(busy_world(strict=True), 5)


@dataclass(frozen=True, kw_only=True)
class LooksAhead(Rule):
    """Moves while others still decide."""

    phase: ClassVar[str] = "decide"

    def apply(self, world):
        world.agents.x[0] += 1


def test_a_rule_that_acts_while_deciding_is_caught():
    world = World(space=Space(width_m=9, height_m=9), rules=[LooksAhead()], strict=True)
    world.agents.add(2)
    with pytest.raises(AssertionError, match="LooksAhead changes state"):
        step(world)


def test_numbers_balance():
    world = busy_world()
    before = world.counts()
    for _ in range(15):
        step(world)
        born, died = world.tallies.born, world.tallies.died.sum(1)
        assert np.array_equal(world.counts(), before + born - died)
        assert world.agents.n_born == born.sum()
        assert world.agents.n_died == died.sum()
    assert died.sum() > 20
    ids = world.agents.id[world.agents.slots()]
    assert len(set(ids.tolist())) == len(ids)
    assert ids.max() < world.agents.next_id == 1 + before.sum() + born.sum()


def test_energy_balances_between_food_births_and_the_dead():
    world = busy_world()
    a = world.agents

    @dataclass(frozen=True, kw_only=True)
    class CountTheDead(Rule):
        """Adds up what the dying take with them."""

        phase: ClassVar[str] = "die"

        def apply(self, world):
            dying = world.agents.live[: a.n] & (world.agents.dying[: a.n] > 0)
            world.tallies.lost_kj += a.energy[: a.n][dying].sum()

    world.add_tally("lost_kj", (1,), np.float64)
    world.by_phase["die"].append(CountTheDead())
    before = a.energy[a.slots()].sum()
    advance(world, 15)
    eaten_kj = world.tallies.eaten.sum() * 10.0 * 2.0
    assert eaten_kj > 0
    after = a.energy[a.slots()].sum()
    assert after + world.tallies.lost_kj[0] == pytest.approx(before + eaten_kj, rel=1e-12)


def test_an_animal_that_an_intervention_does_not_reach_lives_the_same_life():
    """Two herds out of sight of each other; in one world the eastern one is gone from the start."""

    def herds(*, both: bool):
        rules = [
            Walk(speed_m_h=0.3),
            Flock(radius_m=4.0, speed_m_h=0.2),
            Move(),
            BirthDeath(birth_per_h=0.1, death_per_h=0.1),
            DeliverLitters(),
        ]
        world = World(space=Space(width_m=400, height_m=50, cell_m=4), rules=rules, seed=3)
        rng = np.random.default_rng(0)
        world.agents.add(80, x=np.r_[rng.uniform(20, 40, 40), rng.uniform(320, 340, 40)], y=rng.uniform(20, 30, 80))
        if not both:
            world.agents.remove(np.arange(40, 80))
        advance(world, 20)
        return by_key(world)

    whole, half = herds(both=True), herds(both=False)
    west = {name: values[whole["x"] < 200] for name, values in whole.items()}
    assert 0 < len(half["x"]) < len(whole["x"])
    # Ids count births of the whole world; keys do not.
    assert same(west, half, but=("id", "parent"))


def test_a_steered_animal_goes_where_it_is_told_and_neighbours_react():
    def flock(steer):
        world = World(
            space=Space(width_m=50, height_m=50, cell_m=5),
            rules=[Flock(radius_m=5.0, speed_m_h=1.0, match=0.5), Move()],
        )
        world.agents.add(5, x=20 + np.arange(5.0), y=20.0)
        for _ in range(5):
            step(world, steer)
        return by_key(world)

    free, led = flock(None), flock({3: Steer(heading_rad=np.pi / 2, speed_m_h=2.0)})
    assert led["x"][2] == pytest.approx(22, abs=1e-5)
    assert led["y"][2] == pytest.approx(30, abs=1e-4)
    assert np.allclose(free["y"], 20)
    assert (led["y"][[0, 1, 3, 4]] > 20.1).all()
    assert flock({99: Steer(heading_rad=0, speed_m_h=9)})["x"].tolist() == free["x"].tolist()


@pytest.mark.parametrize("dt_h", [1.0, 24.0])
def test_in_a_world_of_all_rules_too_a_steered_animal_goes_straight_at_the_speed_given(dt_h):
    world = build_world("tutorial", seed=1, dt_h=dt_h)
    a = world.agents
    slot = a.slots()[np.argmin(np.hypot(a.x[a.slots()] - 1500, a.y[a.slots()] - 1500))]
    animal, before = int(a.key[slot]), float(a.x[slot])
    step(world, {animal: Steer(heading_rad=0.0, speed_m_h=480 / dt_h)})
    assert a.x[a.find(animal)] - before == pytest.approx(480, abs=0.1)


@pytest.mark.parametrize(
    "wish", [{"heading_rad": np.nan}, {"heading_rad": np.inf}, {"speed_m_h": -50}, {"speed_m_h": np.nan}]
)
def test_a_wish_that_cannot_be_is_refused(wish):
    (name,) = wish
    with pytest.raises(ValueError, match=name):
        Steer(**{"heading_rad": 0.0, "speed_m_h": 1.0} | wish)


@pytest.mark.parametrize(
    ("position", "there", "way"), [(3, 3, 1), (-3, 3, -1), (13, 7, -1), (23, 3, 1), (-23, 3, -1), (27, 7, 1)]
)
def test_walls_reflect_however_long_the_step(position, there, way):
    assert arrive(float(position), 1.0, 10.0, False) == pytest.approx((there, way))


def test_of_two_after_one_the_priority_decides_and_slots_do_not():
    wins = np.zeros(4)
    world = World(space=Space(width_m=9, height_m=9), rules=[])
    world.agents.add(4)
    target = np.array([0, 0, 0, 1])
    for world.step in range(900):
        best = resolve_claims(world, target, 3)
        assert best[1] == 3
        assert best[2] == -1
        wins[best[0]] += 1
    assert np.abs(wins[:3] - 300).max() < 60
    assert wins.sum() == 900


def test_shares_give_all_or_the_same_part_of_what_was_asked():
    world = World(space=Space(width_m=9, height_m=9), rules=[])
    world.agents.add(4)
    granted = np.zeros(4)
    taken = share_supply(
        world, np.array([0, 0, 1, -1]), np.array([1.0, 3.0, 0.5, 9.0]), np.array([2.0, 5.0, 1.0]), granted
    )
    assert granted.tolist() == [0.5, 1.5, 0.5, 0]
    assert taken.tolist() == [2.0, 0.5, 0.0]


def test_the_first_step_says_that_it_compiles(monkeypatch, caplog):
    caplog.set_level("INFO", "linnaea")
    monkeypatch.setattr(loop, "needs_compilation", lambda files: True)
    monkeypatch.setattr(loop, "forget_stale_code", lambda: None)
    advance(busy_world(n_prey=5, n_predators=1), 2)
    assert len(caplog.messages) == 1
    assert "compiling" in caplog.messages[0]


def test_every_column_says_what_it_means():
    assert all(column.help for column in COLUMNS)
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dt_h": 0.0}, "dt_h: 0.0"),
        ({"seed": -1}, "seed: -1"),
        ({"species": ()}, "at least one"),
        ({"rules": [Hunt(predator=0, prey=(4,), radius_m=1)]}, "species row 4"),
        ({"rules": [Hunt(predator=0, prey=(0,), radius_m=1, success=2)]}, "success: 2"),
        ({"rules": [Walk(speed_m_h=1, mean_cosine=2)]}, "mean_cosine: 2"),
        ({"rules": [BirthDeath(birth_per_h=-1, death_per_h=0)]}, "birth_per_h: -1"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        World(**({"space": Space(width_m=9, height_m=9), "rules": []} | settings))


def test_two_predators_never_eat_one_prey():
    rules = [Hunt(predator=1, prey=(PREY,), radius_m=5), Kill(predator=1, handling_h=2, gain_kj_kg=1.0)]
    world = World(space=Space(width_m=9, height_m=9), rules=rules, species=("prey", "predator"))
    world.agents.add(1, species=0, mass=3.0)
    world.agents.add(6, species=1, x=1.0)
    step(world)
    assert world.counts().tolist() == [0, 6]
    assert sorted(world.agents.energy[world.agents.slots()].tolist()) == [0, 0, 0, 0, 0, 3.0]
    assert world.tallies.eaten[1, 0] == 1


def test_a_number_that_is_none_stops_the_run_and_names_the_animal():
    world = busy_world(n_prey=5, n_predators=1)
    world.agents.energy[3] = np.nan
    with pytest.raises(FloatingPointError, match="energy of prey 4 is nan"):
        advance(world, loop.CHECK_EVERY + 1)


def test_a_layer_without_numbers_stops_the_run_and_is_named():
    world = busy_world(n_prey=5, n_predators=1)
    world.add_field("clover", np.array([[1.0, np.nan]]))
    with pytest.raises(FloatingPointError, match="step 0: layer 'clover' is nan in a cell"):
        advance(world, 1)
