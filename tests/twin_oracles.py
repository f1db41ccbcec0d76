"""Plain doubles of the rules of whole worlds: one animal after another, all against all, in Python and float64.

Each takes a rule and a `copy_of` the world in front of it, and changes the copy as the rule's description says.
`judged` lets the real rule act on the real world and compares every column, layer, array and tally, including those
that no rule may touch. Parameters of species and random numbers (`random.blocks`, plain NumPy) are those of the world.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np

from linnaea.twin.engine import rng as philox
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.energy_budget import DECAYED, RESPIRED, TISSUE_KJ_PER_KG
from linnaea.twin.rules.foraging import ALONE, CROWDED, FALL, Eat, Graze
from linnaea.twin.rules.metabolism import Metabolise
from linnaea.twin.rules.predation import ResolveKills, SearchPrey
from linnaea.twin.rules.vegetation import BOLTZMANN_EV, ENZYME_EV


def copy_of(world: World) -> SimpleNamespace:
    """All that a rule may read or change, copied; `a` are the columns, `slots` the live animals."""
    n = world.agents.n
    return SimpleNamespace(
        a=SimpleNamespace(**{name: values[:n].copy() for name, values in world.agents.arrays.items()}),
        slots=world.agents.slots(),
        arrays=copy.deepcopy(world.arrays),
        herds=SimpleNamespace(**{name: values.copy() for name, values in world.herds.arrays._asdict().items()}),
        fields=copy.deepcopy(world.fields),
        tallies=copy.deepcopy(world.tallies),
        p=world.parameters,
        species=world.species,
        traits=world.traits,
        space=world.space,
        cells=(world.space.n_columns, world.space.n_rows),
        dt_h=world.dt_h,
        step=world.step,
        now_h=world.step * world.dt_h,
        seed=world.seed,
    )


def judged(world: World, oracles: Mapping[type[Rule], Callable]) -> dict[type[Rule], int]:
    """Put an oracle before each of these rules; return the number of steps in which each rule changed anything."""
    acted = dict.fromkeys(oracles, 0)
    # Bites are shared in whole parts, 2^-20 of a unit, and dozens share a cell.
    parts = 1e-4 / world.parameters.bite_parts

    def apply(rule: Rule, oracle: Callable) -> None:
        before, expected = copy_of(world), copy_of(world)
        oracle(rule, expected)
        rule.apply(world)
        got = copy_of(world)
        acted[type(rule)] += any(differing(before, got))
        wrong = list(differing(expected, got, parts if isinstance(rule, Eat) else 0.0))
        assert not wrong, f"{type(rule).__name__}, step {world.step}: {', '.join(wrong)}"

    for rules in world.by_phase.values():
        for place, rule in enumerate(rules):
            if type(rule) in oracles:
                oracle = oracles[type(rule)]
                rules[place] = SimpleNamespace(apply=lambda _, rule=rule, oracle=oracle: apply(rule, oracle))
    return acted


def differing(one: SimpleNamespace, other: SimpleNamespace, absolute: float = 0.0):
    """Names of what is not the same in two copies, but for rounding and this difference."""
    for part in ("a", "herds", "arrays", "fields", "tallies"):
        left, right = (getattr(side, part) for side in (one, other))
        left, right = (side if isinstance(side, dict) else vars(side) for side in (left, right))
        assert left.keys() == right.keys()
        for name in left:
            # Masses and places are of single precision, which holds seven digits, and so are some products of them.
            relative = 1e-6 if left[name].dtype == np.float32 else 1e-7
            if not np.allclose(
                left[name], right[name], rtol=relative, atol=absolute, equal_nan=left[name].dtype.kind == "f"
            ):
                yield f"{part}.{name}"


def layer_cell(w: SimpleNamespace, i: int) -> tuple[int, int]:
    """Row and column of the layers' cell under an animal."""
    rows, columns = w.fields.elevation_m.shape
    row, column = int(w.a.y[i] / w.space.height_m * rows), int(w.a.x[i] / w.space.width_m * columns)
    return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)


def activity(w: SimpleNamespace, s: int) -> float:
    """Of a species in a step of an hour, against its mean over the day."""
    assert w.dt_h == 1
    return w.p.movement.activity_by_hour[s, int(w.now_h) % 24]


def head_up(herd_size: int) -> float:
    """Share of the time that an animal of a herd of this size looks around."""
    return CROWDED + (ALONE - CROWDED) * math.exp((1 - herd_size) / FALL)


def draws(w: SimpleNamespace, stream: int, key: np.uint64, draw: int = 0) -> tuple[float, float]:
    """The two numbers in [0, 1) of an animal's draw."""
    words = [int(word) for word in philox.blocks(w.seed, w.step, stream, np.array([key]), draw)[0]]
    return tuple(((high >> 5) * 2**26 + (low >> 6)) / 2**53 for high, low in (words[:2], words[2:]))


def plain_graze(rule: Graze, w: SimpleNamespace) -> None:
    """A bite of one food, chosen by preference, amount and fit of the trait; its size follows Holling's response."""
    a, p = w.a, w.p
    bout = max(1, round(rule.bout_h / w.dt_h))
    for i in w.slots:
        s, kg = a.species[i], float(a.mass[i])
        if p.hunting.watches[s]:
            a.head_up[i] = head_up(w.herds.size[a.herd[i]])
        hungry_for = p.bodies.store_kj_kg[s] * kg - a.energy[i]
        if (int(a.key[i]) % 2**20 + w.step) % bout or hungry_for <= 0:
            continue
        cell = layer_cell(w, i)
        foods = p.diet.foods[s, : p.diet.n_foods[s]]
        worth = []
        for f, food in enumerate(foods):
            width, off = p.diet.trait_width[s, f], 0.0
            if width:
                off = (float(a.traits[i, w.traits.index(rule.trait)]) - p.diet.best_trait[s, f]) / width
            worth.append(p.diet.weight[s, f] * w.arrays.food[food][cell] * math.exp(-0.5 * off**2))
        if not sum(worth) > 0:
            continue
        u = draws(w, philox.FEEDING, a.key[i])[0] * sum(worth)
        food = foods[next(f for f in range(len(foods)) if u < sum(worth[: f + 1]))]
        filled = (sum(worth) / p.diet.half_kj[s]) ** p.diet.hill[s]
        per_hour = p.bodies.most_kj_h[s] * kg**0.75 * filled / (1 + filled) * activity(w, s)
        fate = SimpleNamespace(seed=w.seed, step=0)
        per_hour *= 1 + 0.2 * (2 * draws(fate, philox.FEEDING, a.key[i], 1)[0] - 1)
        per_hour *= (1 - float(np.float32(a.head_up[i]))) / p.diet.usual_feeding[s]
        a.bite[i] = np.ravel_multi_index((food, *cell), w.arrays.food.shape)
        a.demand[i] = min(per_hour * bout * w.dt_h, hungry_for) / p.foods.efficiency[food]


def plain_eat(rule: Eat, w: SimpleNamespace) -> None:
    """Of each food in each cell all get what they asked, or the same share of it; of plants the rest is dung."""
    a, p, food = w.a, w.p, w.arrays.food
    names = p.foods.names.tolist()
    a.won[:] = 0
    supply = food.copy()
    for bite in {int(a.bite[i]) for i in w.slots if a.bite[i] >= 0 and a.demand[i] > 0}:
        eaters = [i for i in w.slots if a.bite[i] == bite and a.demand[i] > 0]
        asked = sum(a.demand[i] for i in eaters)
        f, row, column = np.unravel_index(bite, food.shape)
        share = min(1.0, supply[f, row, column] / asked)
        food[f, row, column] -= share * asked
        for i in eaters:
            a.won[i] = share * a.demand[i]
            digested = a.won[i] * p.foods.efficiency[f]
            a.energy[i] += digested
            w.tallies.grazed_kj[a.species[i], f] += a.won[i]
            if "dung" in names and p.foods.is_plant[f]:
                food[names.index("dung"), row, column] += a.won[i] - digested
            else:
                w.tallies.energy_kj[DECAYED] += a.won[i] - digested
    # The layers and the stack are one memory.
    for f, name in enumerate(names):
        w.fields[name][...] = food[f]


def filling(w: SimpleNamespace, i: int) -> float:
    """Of an animal's store, 0 to 1."""
    full = w.p.bodies.store_kj_kg[w.a.species[i]] * float(w.a.mass[i])
    # Of a prey just killed no body is left, what it held lies in the store.
    return w.a.energy[i] / full if full else math.inf


def ease(rule: SearchPrey, w: SimpleNamespace, i: int, j: int) -> float:
    """Weight of prey j for hunter i: preference, mass, age, condition, vigilance of the herd; size for the young."""
    a, p, s, sj = w.a, w.p, w.a.species[i], w.a.species[j]
    age = w.now_h - a.born_h[j]
    stage = 2.5 if age < p.life.mature_h[sj] / 2 else 2.0 if age > 0.75 * p.life.life_h[sj] else p.hunting.prime[sj]
    starved = 2 - min(1.0, max(0.0, 4 * filling(w, j)))
    weight = p.hunting.prey_weight[s, sj] * float(a.mass[j]) / p.bodies.adult_kg[sj] * stage * starved
    if p.hunting.watches[sj]:
        herd = w.herds.size[a.herd[j]]
        weight *= 1 - rule.care * (1 - (1 - head_up(herd)) ** min(herd, 30))
    if a.mass[i] < p.bodies.adult_kg[s] / 2:
        weight *= min(1.0, float(a.mass[i]) / float(a.mass[j]))
    return weight


def plain_seek(rule: SearchPrey, w: SimpleNamespace) -> None:
    """Idle hungry hunters kill at a rate set by the prey around them. The prey is drawn by ease and by abundance."""
    a, p = w.a, w.p
    common = [
        min(3.0, max(0.01, w.arrays.census[s].sum() / p.life.usual_number[s])) ** rule.switching
        for s in range(len(w.species))
    ]
    # Chance counts through the prey in the order of the cells of the search, in each in that of their keys.
    columns, rows = w.cells
    row, column = (
        np.clip((at / length * n).astype(int), 0, n - 1)
        for at, length, n in ((a.y, w.space.height_m, rows), (a.x, w.space.width_m, columns))
    )
    in_order = sorted(w.slots, key=lambda j: (row[j], column[j], int(a.key[j])))
    for i in w.slots:
        s, young = a.species[i], a.mass[i] < p.bodies.adult_kg[a.species[i]] / 2
        if not p.hunting.hunts[s] or a.until_h[i] > w.now_h or (young and p.hunting.feeds_young[s]):
            continue
        if min(filling(w, i), w.herds.fill[a.herd[i]]) > rule.hunger:
            continue
        radius = p.hunting.search_m[s]
        near = [j for j in in_order if j != i and math.dist((a.x[i], a.y[i]), (a.x[j], a.y[j])) <= radius]
        prey = [j for j in near if p.hunting.eats[s, a.species[j]]]
        rivals = sum(a.species[j] == s and a.herd[j] != a.herd[i] for j in near)
        density = sum(ease(rule, w, i, j) for j in prey) / (math.pi * (radius / 1000) ** 2)
        if not density:
            continue
        rate = p.hunting.attack_km2_h[s] * density / (1 + rule.interference * rivals) * activity(w, s)
        if p.hunting.hill[s] > 1:
            rate *= min(3.0, (density / p.hunting.usual_prey_km2[s]) ** (p.hunting.hill[s] - 1))
        if young:
            rate *= (float(a.mass[i]) / p.bodies.adult_kg[s]) ** 0.75
        u, v = draws(w, philox.HUNTING, a.key[i])
        if u < 1 - math.exp(-rate * w.dt_h):
            worth = np.cumsum([ease(rule, w, i, j) * common[a.species[j]] for j in prey])
            a.target[i] = prey[int(np.argmax(worth > v * worth[-1]))]


def plain_seize(rule: ResolveKills, w: SimpleNamespace) -> None:
    """Of those that chose one prey the one with the highest number of the step kills it, and its group near by eats."""
    a, p = w.a, w.p
    claims = {}
    for i in w.slots:
        if a.target[i] >= 0:
            words = philox.blocks(w.seed, w.step, philox.PRIORITY, a.key[i : i + 1])[0]
            claims.setdefault(int(a.target[i]), []).append((int(words[0]), int(words[1]), int(a.key[i]), int(i)))
    fed = set()
    for victim in sorted(claims, key=lambda j: int(a.key[j])):
        killer = max(claims[victim])[-1]
        sated = a.herd[killer] in fed and filling(w, killer) > rule.hunger
        if a.dying[victim] or a.dying[killer] or sated:
            continue
        fed.add(a.herd[killer])
        s, body = a.species[killer], float(a.mass[victim]) * TISSUE_KJ_PER_KG + a.energy[victim]
        reach = rule.share_ranges * p.movement.range_m[s]
        group = [
            i
            for i in w.slots
            if a.herd[i] == a.herd[killer]
            and not a.dying[i]
            and i != victim
            and math.dist((a.x[i], a.y[i]), (a.x[killer], a.y[killer])) <= reach
        ]
        digested = p.flesh_efficiency
        room = [
            min(
                max(0.0, p.bodies.store_kj_kg[s] * float(a.mass[i]) - a.energy[i]) / digested,
                rule.meal * float(a.mass[i]) * TISSUE_KJ_PER_KG,
            )
            for i in group
        ]
        eaten = min(rule.edible * body, sum(room))
        hours = min(48.0, rule.handling_h * max(0.02, float(a.mass[victim] / a.mass[killer])))
        for i, wish in zip(group, room, strict=True):
            a.energy[i] += digested * eaten * wish / sum(room) if eaten else 0.0
            a.until_h[i] = max(a.until_h[i], w.now_h + w.dt_h / 2 + hours)
        w.tallies.energy_kj[DECAYED] += eaten * (1 - digested)
        w.tallies.killed[s, a.species[victim]] += 1
        w.herds.goal[a.herd[killer]] = a.x[victim], a.y[victim]
        a.won[killer], a.dying[victim] = 1, CAUSE["predation"]
        a.mass[victim], a.energy[victim] = 0, body - eaten


def plain_metabolise(rule: Metabolise, w: SimpleNamespace) -> None:
    """The body costs by its mass to the power .75 and by its way; the young grow from their store, the empty starve."""
    a, p = w.a, w.p
    usual_k = p.usual_temperature_c + 273.15
    for i in w.slots:
        s, kg, cell = a.species[i], float(a.mass[i]), layer_cell(w, i)
        full, share = p.bodies.store_kj_kg[s] * kg, filling(w, i)
        per_hour = p.bodies.maintain_kj_h[s] * kg**0.75
        if p.bodies.cold_blooded[s]:
            per_hour *= math.exp(ENZYME_EV / BOLTZMANN_EV * (1 / usual_k - 1 / (w.fields.temperature_c[cell] + 273.15)))
        elif share < 0.6:
            per_hour *= 0.7 + 0.3 * max(0.0, share / 0.6)
        way_m = float(a.moved_m[i])
        if p.bodies.drink_every_h[s]:
            way_m += 2 * 1000 * min(30.0, w.fields.to_water_km[cell]) * w.dt_h / p.bodies.drink_every_h[s]
        a.spent[i] = min(max(0.0, a.energy[i]), per_hour * w.dt_h + p.bodies.walk_kj_m[s] * kg**0.75 * way_m)
        a.energy[i] -= a.spent[i]
        w.tallies.respired_kj[s] += a.spent[i]
        w.tallies.energy_kj[RESPIRED] += a.spent[i]
        adult = p.bodies.adult_kg[s]
        if kg < adult and a.energy[i] > 0.3 * full:
            gain = min(
                p.bodies.growth_h[s] * (1.02 * adult - kg) * w.dt_h,
                adult - kg,
                (a.energy[i] - 0.3 * full) / TISSUE_KJ_PER_KG,
            )
            a.mass[i] = kg + gain
            a.energy[i] -= (float(a.mass[i]) - kg) * TISSUE_KJ_PER_KG
        lack = max(0.0, 1 - max(0.0, a.energy[i] / full) / 0.3) if full else 0.0
        risk = 1.0 if a.energy[i] <= 0 else 1 - math.exp(-1.4 * lack**2 * per_hour * w.dt_h / full) if full else 0.0
        if not a.dying[i] and draws(w, philox.DEATH, a.key[i], 1)[0] < risk:
            a.dying[i] = CAUSE["starvation"]


ORACLES = {
    Graze: plain_graze,
    Eat: plain_eat,
    SearchPrey: plain_seek,
    ResolveKills: plain_seize,
    Metabolise: plain_metabolise,
}
