import numpy as np
import pytest

from linnaea.twin.engine.herds import FREE
from linnaea.twin.engine.step import step
from linnaea.twin.rules.groups import MoveTerritory, is_taken
from linnaea.twin.rules.immigration import introduce
from linnaea.twin.rules.ranging import net_share
from made_worlds import changed, small


def test_every_animal_belongs_to_a_herd_of_its_species():
    world = small("savanna", area_share=0.1)
    for _ in range(4 * 60):
        step(world)
    a = world.agents
    slots = a.slots()
    assert (world.herds.species[a.herd[slots]] == a.species[slots]).all()
    kept = np.bincount(a.herd[slots], minlength=len(world.herds.size))
    assert (kept[world.herds.species == FREE] == 0).all()


def test_herds_stay_together():
    world = small("savanna", area_share=0.3, dt_h=1.0)
    wildebeest = world.species.index("wildebeest")
    for _ in range(72):
        step(world)
    a = world.agents
    slots = a.slots()
    slots = slots[a.species[slots] == wildebeest]
    middle = world.herds.centre[a.herd[slots]]
    own = np.hypot(a.x[slots] - middle[:, 0], a.y[slots] - middle[:, 1])
    assert np.median(own) < 0.15 * world.space.width_m


def test_new_territories_keep_their_distance_and_lie_within_the_ground():
    world = small(area_share=0.3, dt_h=24.0)
    spacing = world.parameters.groups.spacing_m[0]
    founded = {tuple(home) for home in world.herds.home[world.herds.species == 0]}
    for _ in range(2 * 365):
        step(world)
    homes = world.herds.home[world.herds.species == 0]
    new = np.array([tuple(home) not in founded for home in homes])
    apart = np.sqrt(((homes[:, None] - homes[None]) ** 2).sum(2))
    np.fill_diagonal(apart, np.inf)
    assert new.sum() > 5
    # Founders' homes lie on a jittered grid; all later ones keep the whole distance.
    assert apart[new].min() >= spacing
    assert homes[new].min() >= spacing / 2 and homes[new].max() <= world.space.width_m - spacing / 2


def test_newcomers_turn_away_from_a_taken_territory():
    world = small("savanna", area_share=0.05)
    step(world)
    lion, wildebeest = world.species.index("lion"), world.species.index("wildebeest")
    x, y = world.herds.home[(world.herds.species == lion) & (world.herds.adults >= 2)][0]
    assert is_taken(world, lion, x + 100, y) and not is_taken(world, wildebeest, x, y)
    assert not is_taken(world, lion, x + 2 * world.parameters.groups.spacing_m[lion], y + 2e5)


def half_fenced(passes, days=20, **options):
    """The savanna with a fence across its middle, after some days; wildebeest's herds: goal, middle, home, size."""
    world = small("savanna", area_share=0.03, dt_h=24.0, **options)
    middle = world.space.height_m / 2
    world.arrays.fences = np.array([[-1.0, middle, world.space.width_m + 1, middle, passes]])
    for _ in range(days):
        step(world)
    herds = np.flatnonzero((world.herds.species == world.species.index("wildebeest")) & (world.herds.size > 0))
    return world, middle, herds


def test_no_herd_plans_across_a_closed_fence_and_none_stands_on_both_sides():
    world, middle, herds = half_fenced(0.0)
    goal, at = (places[herds, 1] > middle for places in (world.herds.goal, world.herds.centre))
    assert len(herds) > 10 and (goal == at).all() and 0 < at.sum() < len(at)
    a = world.agents
    slots = a.slots()
    slots = slots[np.isin(a.herd[slots], herds)]
    north = a.y[slots] > middle
    shares = np.bincount(a.herd[slots], north) / np.maximum(np.bincount(a.herd[slots]), 1)
    # those whom it parted this day found a herd of their own only in the evening
    assert np.isin(shares[herds], (0, 1)).mean() > 0.95


def test_an_open_line_changes_nothing_but_where_few_pass_plans_are_few():
    across = []
    for passes in (1.0, 0.1, 0.0):
        world, middle, herds = half_fenced(passes, days=12)
        across.append(((world.herds.goal[herds, 1] > middle) != (world.herds.centre[herds, 1] > middle)).mean())
    assert across[0] > across[1] >= across[2] == 0
    free, fenced = small("savanna", area_share=0.02, dt_h=24.0), small("savanna", area_share=0.02, dt_h=24.0)
    fenced.arrays.fences = np.array([[-1.0, 2000.0, 1e5, 2000.0, 1.0]])
    for _ in range(10):
        step(free)
        step(fenced)
    assert (free.agents.x == fenced.agents.x).all() and (free.agents.energy == fenced.agents.energy).all()


def test_a_fence_keeps_animals_on_their_side_and_a_gate_lets_some_through():
    def crossed(share):
        world = small("savanna", area_share=0.1, dt_h=1.0)
        middle = world.space.width_m / 2
        world.arrays.fences = np.array([[middle, -1.0, middle, world.space.height_m + 1, share]])
        a = world.agents
        side = {int(a.id[s]): bool(a.x[s] < middle) for s in a.slots()}
        for _ in range(48):
            step(world)
        return sum(side.get(int(a.id[s]), bool(a.x[s] < middle)) != bool(a.x[s] < middle) for s in a.slots())

    assert crossed(0.0) == 0
    assert crossed(1.0) > crossed(0.2) > 0


def test_migrants_go_where_the_rain_is():
    world = small("savanna", area_share=0.3, dt_h=24.0)
    wildebeest = world.species.index("wildebeest")
    north = world.fields.rain_share * 0
    north[len(north) // 2 :] = 2.0
    world.fields.rain_factor[:] = north
    for _ in range(120):
        step(world)
    a = world.agents
    slots = a.slots()[a.species[a.slots()] == wildebeest]
    assert (a.y[slots] > world.space.height_m / 2).mean() > 0.6


def test_prey_run_from_hunters():
    world = small(area_share=0.1, dt_h=1.0)
    # Slots keep their animals, so that places before and after can be compared.
    world.resort_every = 0
    a = world.agents
    rabbits, foxes = (a.slots()[a.species[a.slots()] == kind] for kind in (0, 1))
    hunted, fox = rabbits[0], foxes[0]
    a.x[fox], a.y[fox] = a.x[hunted] + 10, a.y[hunted]
    near = np.hypot(a.x[rabbits] - a.x[fox], a.y[rabbits] - a.y[fox]) < 0.9 * world.parameters.movement.flight_m[0]
    before = a.x[hunted]
    step(world)
    assert a.moved_m[rabbits][near].min() >= 0.99 * world.parameters.movement.flight_m_h[0]
    assert np.median(a.moved_m[rabbits][~near]) < 0.5 * world.parameters.movement.flight_m_h[0]
    assert a.x[hunted] < before or a.x[hunted] < 1


def test_the_way_of_a_long_step_is_shorter_than_its_path():
    assert net_share(0.01, 3.0) == pytest.approx(1.0, abs=1e-2)
    assert net_share(24.0, 3.0) < 0.5


def test_a_territory_has_room_for_a_group_about_to_divide_and_its_young():
    world = small("savanna", area_share=0.03)
    kind = world.species.index("spotted hyaena")
    # .4 to a square kilometre: a clan of 15 adults, 25 with the young, on 62.5 km2.
    assert world.parameters.groups.spacing_m[kind] == pytest.approx(850 * np.sqrt(15 / 0.6 / 0.4))
    assert world.parameters.groups.spacing_m[world.species.index("wildebeest")] == 0


def test_a_flight_is_over_within_the_hour_however_long_the_step():
    world = small("savanna", area_share=0.05, dt_h=24.0)
    a, p = world.agents, world.parameters
    p.movement.speed_m_h[:] *= 1e-9
    step(world)
    far = a.moved_m[a.slots()]
    kinds = a.species[a.slots()]
    assert (far <= 1.001 * p.movement.flight_m_h[kinds] + 1e-3).all()
    assert (far > 0.99 * p.movement.flight_m_h[kinds])[p.movement.flight_m_h[kinds] > 0].sum() > 10


@pytest.mark.parametrize("dt_h", [24.0, 6.0, 1.0])
def test_herds_are_about_their_goal_and_not_at_its_rim(dt_h):
    world = small("savanna", area_share=0.02, dt_h=dt_h)
    for _ in range(int(20 * 24 / dt_h)):
        step(world)
    a, p = world.agents, world.parameters
    inside = []
    for name in ("impala", "hartebeest", "Grant's gazelle"):
        mine = a.slots()[a.species[a.slots()] == world.species.index(name)]
        goal = world.herds.goal[a.herd[mine]]
        far = np.hypot(a.x[mine] - goal[:, 0], a.y[mine] - goal[:, 1]) / p.movement.goal_m[world.species.index(name)]
        inside.extend(far)
    inside = np.array(inside)
    assert (inside < 0.95).mean() > 0.6
    # A rim of a tenth of the radius is a fifth of the disc's area.
    assert (abs(inside - 1) < 0.05).mean() < 0.15


def neighbours(dt_h):
    """How many rabbits are within 50 m of one, of other groups and of its own, after ten days and more: means."""
    world = small("tutorial", area_share=0.4, dt_h=dt_h)
    others, own = [], []
    for day in range(20):
        for _ in range(int(24 / dt_h)):
            step(world)
        if day >= 10:
            a = world.agents
            mine = a.slots()[a.species[a.slots()] == 0]
            near = np.hypot(a.x[mine][:, None] - a.x[mine], a.y[mine][:, None] - a.y[mine]) < 50
            same = a.herd[mine][:, None] == a.herd[mine]
            others.append((near & ~same).sum() / len(mine))
            own.append((near & same).sum() / len(mine) - 1)
    return np.mean(others), np.mean(own)


def test_animals_meet_as_often_whatever_the_step():
    hourly = neighbours(1.0)
    # Rabbits live in groups: of a dozen in reach most are its own.
    assert hourly[1] > 3 * hourly[0] > 0
    for dt_h in (6.0, 24.0):
        assert neighbours(dt_h) == pytest.approx(hourly, rel=0.5)


def wolves_of(world):
    return world.agents.slots()[world.agents.species[world.agents.slots()] == world.species.index("grey wolf")]


def wandered(filled):
    """(farthest goal from the first home, as a share of the range; way of the home, m) of a pack kept so full for 20 days."""
    data = changed(
        "island", settings={"catch_margin": 0.0}, animals={"moose": {"count": 0.0}, "grey wolf": {"count": 0.0}}
    )
    world = small(data, area_share=0.5, dt_h=24.0)
    world.arrays.arrivals_per_y[:] = 0.0
    introduce(world, "grey wolf", 6, x=4000.0, y=3000.0)
    introduce(world, "moose", 300, x=17000.0, y=3000.0, radius_m=2500.0)
    a, p, wolf = world.agents, world.parameters, 1
    pack = a.herd[wolves_of(world)[0]]
    first, farthest = world.herds.home[pack].copy(), 0.0
    for _ in range(20):
        mine = wolves_of(world)
        a.energy[mine] = filled * p.bodies.store_kj_kg[wolf] * a.mass[mine]
        step(world)
        farthest = max(farthest, np.hypot(*(world.herds.goal[pack] - first)))
    return farthest / p.movement.range_m[wolf], np.hypot(*(world.herds.home[pack] - first))


def test_hungry_hunters_look_beyond_their_range_and_their_territory_follows():
    farthest, moved = wandered(0.3)
    assert farthest > 1 and moved > 100
    farthest, moved = wandered(0.9)
    assert farthest <= 1 and moved == 0


def test_a_territory_does_not_follow_into_another():
    data = changed("island", animals={"grey wolf": {"count": 0.0}})
    world = small(data, area_share=1.0, dt_h=24.0)
    for x in (20000.0, 34000.0):
        introduce(world, "grey wolf", 6, x=x, y=4000.0)
    p, mine = world.parameters, wolves_of(world)
    one, other = (world.agents.herd[mine[k]] for k in (0, 6))
    world.herds.adults[[one, other]] = 4
    far = p.movement.range_m[1] + 4000.0
    world.herds.goal[one] = (20000.0 + far, 4000.0)
    MoveTerritory().apply(world)
    # Four kilometres on it would be nearer than territories lie.
    assert p.groups.spacing_m[1] > 14000 - 4000
    assert world.herds.home[one].tolist() == [20000.0, 4000.0]
    world.herds.goal[one] = (20000.0 - far, 4000.0)
    MoveTerritory().apply(world)
    assert np.allclose(world.herds.home[one], (16000.0, 4000.0))
