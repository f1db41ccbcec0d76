"""The peers of twin_speed.py: WolfSheep, Flocking and Segregation on Mesa 3.3, run and timed by Mesa's own Python.

These models are written for this comparison from the published rules (configurations of ABMFrameworksComparison, rules
in `linnaea.twin.reference_models.update_order`). All sheep act, then all wolves, each group in a fresh random order.
Grass grows back by an event of Mesa's simulator. The flock lives on Mesa's continuous torus, the town on a grid with
borders. The script reads one JSON request per line and answers each with one JSON line:

{"model": "WolfSheep", "steps": 100, "seed": 1, "settings": {...}} -> {"seconds": ..., "series": [...]}
"""

import gc
import json
import math
import sys
import time

import numpy as np
from mesa import Model
from mesa.discrete_space import CellAgent, FixedAgent, OrthogonalMooreGrid, OrthogonalVonNeumannGrid
from mesa.experimental.continuous_space import ContinuousSpace, ContinuousSpaceAgent
from mesa.experimental.devs import ABMSimulator


class Grass(FixedAgent):
    """The grass of a cell: grown, or growing back."""

    def __init__(self, model, cell, countdown):
        super().__init__(model)
        self.cell = cell
        self.grown = countdown == 0
        if countdown:
            self.come_back(countdown)

    def come_back(self, delay):
        """Grow back after a number of steps, by an event."""
        self.model.simulator.schedule_event_relative(self.grow, delay)

    def grow(self):
        """Set the grass to grown."""
        self.grown = True


class Animal(CellAgent):
    """Move to a neighbouring cell, pay 1, feed, then die below 0 or split by chance."""

    def __init__(self, model, energy, cell):
        super().__init__(model)
        self.energy = energy
        self.cell = cell

    def step(self):
        """Do one step of an animal's life."""
        self.cell = self.cell.neighborhood.select_random_cell()
        self.energy -= 1
        self.feed()
        if self.energy < 0:
            self.remove()
        elif self.random.random() < self.chance():
            self.energy /= 2
            type(self)(self.model, self.energy, self.cell)


class Sheep(Animal):
    """An animal that eats the grass of its cell."""

    def chance(self):
        """Return the probability of splitting."""
        return self.model.settings["sheep_reproduce"]

    def feed(self):
        """Eat the grass if it is grown."""
        grass = next(other for other in self.cell.agents if isinstance(other, Grass))
        if grass.grown:
            self.energy += self.model.settings["sheep_gain"]
            grass.grown = False
            grass.come_back(self.model.settings["regrowth"])


class Wolf(Animal):
    """An animal that eats a random sheep of its cell."""

    def chance(self):
        """Return the probability of splitting."""
        return self.model.settings["wolf_reproduce"]

    def feed(self):
        """Eat a sheep if there is one."""
        sheep = [other for other in self.cell.agents if isinstance(other, Sheep)]
        if sheep:
            self.energy += self.model.settings["wolf_gain"]
            self.random.choice(sheep).remove()


class WolfSheep(Model):
    """Wolves, sheep and grass on a square grid with borders."""

    def __init__(self, seed, settings):
        super().__init__(seed=seed)
        self.settings = settings
        self.simulator = ABMSimulator()
        self.simulator.setup(self)
        side = settings["side"]
        self.grid = OrthogonalVonNeumannGrid([side, side], torus=False, capacity=math.inf, random=self.random)
        for kind, name in ((Sheep, "sheep"), (Wolf, "wolves")):
            n = settings[f"n_{name}"]
            gain = settings["sheep_gain" if kind is Sheep else "wolf_gain"]
            energy = self.rng.random(n) * 2 * gain
            kind.create_agents(self, n, energy=energy, cell=self.random.choices(self.grid.all_cells.cells, k=n))
        for cell in self.grid:
            grown = self.random.choice([True, False])
            Grass(self, cell, 0 if grown else self.random.randrange(0, settings["regrowth"]))
        self.series = [self.count()]

    def count(self):
        """Return the numbers of sheep and wolves."""
        return [len(self.agents_by_type.get(kind, ())) for kind in (Sheep, Wolf)]

    def step(self):
        """Let all sheep act, then all wolves, in random order."""
        self.agents_by_type[Sheep].shuffle_do("step")
        self.agents_by_type[Wolf].shuffle_do("step")
        self.series.append(self.count())

    def go(self, steps):
        """Run a number of steps, with the events between them."""
        self.simulator.run_for(steps)


class Bird(ContinuousSpaceAgent):
    """One bird of a flock."""

    def __init__(self, model, space, position, direction):
        super().__init__(space, model)
        self.position = position
        self.direction = direction

    def step(self):
        """Turn by what the bird sees and fly on."""
        s = self.model.settings
        others, distances = self.get_neighbors_in_radius(radius=s["radius"])
        if others:
            delta = self.space.calculate_difference_vector(self.position, agents=others)
            pull = delta.sum(axis=0) * s["cohere"]
            push = delta[distances < s["separation"]].sum(axis=0) * s["separate"]
            along = np.asarray([other.direction for other in others]).sum(axis=0) * s["match"]
            self.direction += (pull - push + along) / len(others)
            self.direction /= np.linalg.norm(self.direction)
        self.position += self.direction * s["speed"]


class Flocking(Model):
    """A flock on a square torus."""

    def __init__(self, seed, settings):
        super().__init__(seed=seed)
        self.settings = settings
        n, side = settings["n_birds"], settings["side"]
        self.space = ContinuousSpace([[0, side], [0, side]], torus=True, random=self.random, n_agents=n)
        angle = self.rng.uniform(0, 2 * np.pi, n)
        Bird.create_agents(
            self,
            n,
            self.space,
            position=self.rng.random((n, 2)) * side,
            direction=np.stack([np.cos(angle), np.sin(angle)], axis=1),
        )
        self.series = []

    def step(self):
        """Let all birds act in random order."""
        self.agents.shuffle_do("step")
        self.series.append(float(np.hypot(*np.mean([bird.direction for bird in self.agents], axis=0))))

    def go(self, steps):
        """Run a number of steps."""
        for _ in range(steps):
            self.step()


class Household(CellAgent):
    """A household that stays if enough neighbours are of its kind, and else moves to a random empty cell."""

    def __init__(self, model, kind, cell):
        super().__init__(model)
        self.kind = kind
        self.cell = cell

    def neighbours(self):
        """Return the numbers of neighbours of the same kind and of all neighbours."""
        others = list(self.cell.get_neighborhood(radius=self.model.settings["radius"]).agents)
        return sum(other.kind == self.kind for other in others), len(others)

    def step(self):
        """Stay or move."""
        if self.neighbours()[0] < self.model.settings["need"]:
            self.cell = self.model.grid.select_random_empty_cell()


class Segregation(Model):
    """Schelling's town."""

    def __init__(self, seed, settings):
        super().__init__(seed=seed)
        self.settings = settings
        side, n = settings["side"], settings["n_households"]
        self.grid = OrthogonalMooreGrid([side, side], torus=False, capacity=1, random=self.random)
        cells = self.random.sample(self.grid.all_cells.cells, n)
        Household.create_agents(self, n, kind=[i % 2 for i in range(n)], cell=cells)
        self.series, self.observing_s = [], 0.0
        self.observe()

    def observe(self):
        """Record the share of content households and the mean share of like neighbours; the clock is stopped."""
        start = time.perf_counter()
        met = [household.neighbours() for household in self.agents]
        content = sum(same >= self.settings["need"] for same, _ in met) / len(met)
        self.series.append([content, float(np.mean([same / total for same, total in met if total]))])
        self.observing_s += time.perf_counter() - start

    def go(self, steps):
        """Run a number of steps, each with all households in random order."""
        for _ in range(steps):
            self.agents.shuffle_do("step")
            self.observe()


def main() -> None:
    """Answer requests until stdin ends."""
    kinds = {"WolfSheep": WolfSheep, "Flocking": Flocking, "Segregation": Segregation}
    for line in sys.stdin:
        request = json.loads(line)
        model = kinds[request["model"]](request["seed"], request["settings"])
        before_s = getattr(model, "observing_s", 0.0)
        gc.collect()
        start = time.perf_counter()
        model.go(request["steps"])
        seconds = time.perf_counter() - start - (getattr(model, "observing_s", 0.0) - before_s)
        print(json.dumps({"seconds": seconds, "series": model.series}), flush=True)


if __name__ == "__main__":
    main()
