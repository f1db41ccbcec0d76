"""The bundled worlds live: every species goes on, within bounds, for some years on a part of its ground."""

import numpy as np
import pytest

from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.world_file import list_bundled_worlds, load_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.rules.immigration import introduce
from linnaea.twin.scenarios.scenario_file import attach, parse_scenario
from made_worlds import small


def lived(name, years, **options):
    """(counts at the start [s], counts at the ends of years [y, s], the world)."""
    world = small(name, **options)
    start, ends = world.counts(), []
    for year in range(1, years + 1):
        while world.now_h < 8766 * year:
            step(world)
        ends.append(world.counts())
    return start, np.array(ends), world


def test_the_common_species_of_the_savanna_keep_their_numbers():
    start, ends, world = lived("savanna", 3, area_share=0.03, dt_h=24.0)
    common = start >= 50
    assert common.sum() >= 9
    share = ends[:, common] / start[common]
    names = np.array(world.species)[common]
    assert (share > 0.6).all(), dict(zip(names, share.min(0).round(2), strict=True))
    assert (share < 2.0).all(), dict(zip(names, share.max(0).round(2), strict=True))
    # Of common grazers hunger and hunters take a part, neither of them most.
    died = world.tallies.died[common].sum(0)
    assert 0.02 < died[3] / died.sum() < 0.5
    # Carcasses feed, but hunters kill for themselves.
    lion = world.species.index("lion")
    assert world.tallies.killed[lion].sum() > 0


def test_energy_spent_and_eaten_do_not_depend_on_the_length_of_the_step():
    found = {}
    for dt in (2.0, 24.0):
        world = small("savanna", area_share=0.015, dt_h=dt)
        for _ in range(round(24 * 30 / dt)):
            step(world)
        found[dt] = world.tallies.respired_kj, world.tallies.grazed_kj.sum(1)
    for short, long in zip(*found.values(), strict=True):
        many = world.counts() >= 30
        assert long[many] == pytest.approx(short[many], rel=0.12)


def test_the_packs_of_the_island_feed_themselves_and_leave_moose():
    _, ends, world = lived("island", 3, area_share=1.0, dt_h=24.0)
    moose, wolf = (world.species.index(name) for name in ("moose", "grey wolf"))
    assert (ends[:, wolf] >= 8).all()
    assert (ends[:, moose] >= 300).all()
    assert world.tallies.introduced[wolf] == 0
    # A wolf has its share of at most ten moose a year.
    assert world.tallies.killed[wolf, moose] < 10 * 3 * ends[:, wolf].mean()


def test_finches_keep_their_numbers_and_their_beaks_where_it_rains():
    _, ends, world = lived("galapagos", 2, area_share=1.0, dt_h=6.0)
    fortis, scandens, magnirostris = ends.T
    assert (fortis > 300).all()
    assert (scandens > 60).all()
    assert (magnirostris > 10).all()
    assert (ends < 1000).all()
    a = world.agents
    beaks = a.traits[a.slots()[a.species[a.slots()] == 0], 0]
    assert abs(beaks.mean() - 9.2) < 0.25
    assert 0.6 < beaks.std() < 0.9


def test_ants_on_the_post_are_foragers_of_a_nest_outside_and_eat_nobody_s_crumbs_away():
    world = small("post", area_share=1.0, dt_h=1.0)
    ant = world.species.index("black garden ant")
    for _ in range(1500):
        step(world)
    assert world.tallies.born[ant] == 0
    assert world.tallies.died[ant, 1] == 0
    assert world.tallies.introduced[ant] > 0
    assert 5 <= world.counts()[ant] <= 40
    assert (world.counts()[:2] > (400, 10)).all()


@pytest.mark.parametrize("name", list_bundled_worlds())
def test_what_was_adjusted_says_so(name):
    data = load_world(name)
    keys = ["settings.catch_margin", "settings.half_plants", "settings.hunger", "settings.meal"]
    keys += [f"animals.{one}.arrivals_per_y" for one, animal in data.animals.items() if animal.arrivals_per_y]
    for key in keys:
        assert data.grades.get(key, data.grade).startswith("tuned"), key


def grazed(years, *, rain=1.0, times=1.0):
    """Wildebeest of the savanna at the start and after `years`.

    `rain` is the share of the usual rain in the second year; `times` multiplies the number at the start.
    """
    world = build_world("savanna", seed=5, area_share=0.02, dt_h=24.0)
    kind = world.species.index("wildebeest")
    usual = int(world.counts()[kind])
    if rain < 1:
        drought = {"kind": "drought", "rain": rain, "from_year": 1, "to_year": 2}
        attach(world, parse_scenario({"version": 1, "intervention": [drought]}), 1e9)
    if times > 1:
        introduce(world, "wildebeest", int((times - 1) * usual))
    while world.now_h < years * HOURS_A_YEAR:
        step(world)
    return usual, int(world.counts()[kind])


def test_a_dry_year_costs_grazers_a_part_and_not_all():
    _, usual = grazed(2.5)
    _, dry = grazed(2.5, rain=0.6)
    assert 0.5 * usual < dry < usual


def test_too_many_grazers_fall_back_to_about_what_the_ground_feeds():
    usual, left = grazed(2.0, times=3.0)
    assert 0.4 * usual < left < 2.0 * usual
