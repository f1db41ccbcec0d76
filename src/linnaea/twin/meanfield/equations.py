"""The food web as differential equations: the mean behaviour of many well-mixed animals.

Nodes grow (logistic, on nutrients, by immigration), eat along links (Holling's types I to III with interference),
respire, die, leave remains, fall ill and diffuse. For density B of predator i on prey j

    eaten_ij = w_ij a_ij B_j^q_ij / (1 + c_i B_i + Σ_k w_ik a_ik h_ik B_k^q_ik)     per unit of predator and time
    dB_i/dt  = growth_i B_i + immigration_i + Σ_j e_ij eaten_ij B_i − Σ_k eaten_ki B_k
               − (metabolism_i + mortality_i) B_i

as in the allometric trophic networks of Brose and Schneider. `integrate` solves the equations. `iterate` is the map
that multiplies each density by the exponential of its rate (Ricker's map if growth is logistic and there is nothing
else), with optional noise.

Shape suffixes: n nodes, s states (nodes, then ill and immune of each disease), l links, c cells of a lattice or members
of an ensemble, t times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from linnaea.twin.meanfield.model import MeanFieldModel


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The solution of a model."""

    model: MeanFieldModel
    "the model that was solved"
    time_t: np.ndarray
    "times [t], in `time_unit`"
    state_tsc: np.ndarray
    "densities of the nodes, then ill and immune of each disease [t, s, c]"
    solution: Callable[[float], np.ndarray] | None = None
    "function of time that returns the states [s, c]; None for a map"
    extinctions: Mapping[str, float] = field(default_factory=dict)
    "node -> time of its extinction"

    def get_density(self, name: str, part: str = "all") -> np.ndarray:
        """Return the density [t] of a node, [t, …] over a lattice or members; `part` is all, ill or immune."""
        return self._arrange(self.state_tsc[:, find_row(self.model, name, part)])

    def interpolate(self, time: float) -> dict[str, np.ndarray]:
        """Return the density of each node at a time between the first and the last."""
        assert self.solution is not None
        state_sc = self.solution(time)
        return {name: self._arrange(state_sc[row][None])[0] for row, name in enumerate(self.model.names)}

    def _arrange(self, value_tc: np.ndarray) -> np.ndarray:
        """Return values [t, c] in the shape of the lattice; a single cell has no axis."""
        space = self.model.space
        if space is not None:
            return value_tc.reshape(len(value_tc), *space.shape)
        return value_tc[:, 0] if value_tc.shape[1] == 1 else value_tc


def find_row(model: MeanFieldModel, name: str, part: str = "all") -> int:
    """Return the row of a node, or of its ill or immune part, in a state. Raise ValueError for an unknown part."""
    if name not in model.names:
        raise ValueError(f"node {name!r} is not in the model; it has {', '.join(model.names)}")
    if part == "all":
        return model.names.index(name)
    hosts = [disease.host for disease in model.diseases]
    if name not in hosts or part not in ("ill", "immune"):
        raise ValueError(
            f"{name!r} has no part {part!r}; ask for all, or for ill or immune of {', '.join(hosts) or 'no host'}"
        )
    return len(model.nodes) + 2 * hosts.index(name) + (part == "immune")


class Rates:
    """The right-hand side of a model's equations: its arrays are made once, and it is called for every state."""

    def __init__(self, model: MeanFieldModel) -> None:
        row_of = {name: index for index, name in enumerate(model.names)}

        def get_column(items: Sequence, name: str) -> np.ndarray:
            return np.array([getattr(one, name) for one in items], float)[:, None]

        def find_rows(items: Sequence, name: str) -> np.ndarray:
            return np.array([row_of[getattr(one, name)] for one in items], int)

        self.model, self.n = model, len(model.nodes)
        nodes, links = model.nodes, model.links
        self.growth_n1, self.capacity_n1 = get_column(nodes, "growth"), get_column(nodes, "capacity")
        self.immigration_n1, self.interference_n1 = get_column(nodes, "immigration"), get_column(nodes, "interference")
        self.metabolism_n1, self.mortality_n1 = get_column(nodes, "metabolism"), get_column(nodes, "mortality")
        self.turnover_n1, self.supply_n1 = get_column(nodes, "turnover"), get_column(nodes, "supply")
        self.diffusion_n1 = get_column(nodes, "diffusion")
        self.eater_l, self.eaten_l = find_rows(links, "predator"), find_rows(links, "prey")
        self.attack_l1 = get_column(links, "attack") * get_column(links, "preference")
        self.hill_l1, self.handling_l1 = get_column(links, "hill"), get_column(links, "handling")
        self.efficiency_l1 = get_column(links, "efficiency")
        self.wasted_l1 = np.maximum(1 - self.efficiency_l1 - get_column(links, "respired"), 0)
        self.linear = bool((self.hill_l1 == 1).all())
        self.by_eater_nl, self.by_eaten_nl = np.zeros((2, self.n, len(links)))
        self.by_eater_nl[self.eater_l, range(len(links))] = 1
        self.by_eaten_nl[self.eaten_l, range(len(links))] = 1
        self.waste_nl, self.remains_nn = np.zeros((self.n, len(links))), np.zeros((self.n, self.n))
        for index, link in enumerate(links):
            if pool := nodes[row_of[link.predator]].waste:
                self.waste_nl[row_of[pool], index] = 1
        for index, node in enumerate(nodes):
            if node.remains:
                self.remains_nn[row_of[node.remains], index] = 1
        self.pools = bool(self.waste_nl.any() or self.remains_nn.any())
        self.uptakes = [(row_of[u.plant], row_of[u.nutrient], u.half_saturation, u.content) for u in model.uptakes]
        self.hosts = [row_of[disease.host] for disease in model.diseases]

    def make_start(self) -> np.ndarray:
        """Return the state [s, c] at time 0."""
        n_cells = self.model.space.n_cells if self.model.space else 1
        rows = [np.broadcast_to(np.asarray(node.start, float), (n_cells,)) for node in self.model.nodes]
        for disease, host in zip(self.model.diseases, self.hosts, strict=True):
            rows += [disease.ill * rows[host], disease.immune * rows[host]]
        return np.array(rows)

    def compute_feeding(self, density_nc: np.ndarray) -> np.ndarray:
        """Return the flow along each link [l, c], in prey density per time."""
        prey_lc = density_nc[self.eaten_l] if self.linear else density_nc[self.eaten_l] ** self.hill_l1
        reach_lc = self.attack_l1 * prey_lc
        busy_nc = 1 + self.interference_n1 * density_nc + self.by_eater_nl @ (reach_lc * self.handling_l1)
        return reach_lc * (density_nc / busy_nc)[self.eater_l]

    def compute_growth(self, density_nc: np.ndarray) -> np.ndarray:
        """Return the rate of each node's own growth [n, c], per density and time."""
        limit_nc = 1 - density_nc / self.capacity_n1
        least: dict[int, np.ndarray] = {}
        for plant, nutrient, half, _ in self.uptakes:
            share_c = density_nc[nutrient] / (density_nc[nutrient] + half)
            least[plant] = np.minimum(least.get(plant, share_c), share_c)
        for plant, share_c in least.items():
            limit_nc[plant] = share_c
        return self.growth_n1 * limit_nc

    def __call__(self, state_sc: np.ndarray) -> np.ndarray:
        """Return the change of each state per time [s, c].

        Densities below 0, which a solver may produce, count as 0 and return to 0.
        """
        density_nc = np.maximum(state_sc[: self.n], 0)
        grown_nc = self.compute_growth(density_nc) * density_nc
        lost_nc = (self.metabolism_n1 + self.mortality_n1) * density_nc
        change_nc = grown_nc + self.immigration_n1
        if self.turnover_n1.any():
            change_nc += self.turnover_n1 * (self.supply_n1 - density_nc)
        if len(self.eater_l):
            eaten_lc = self.compute_feeding(density_nc)
            change_nc += self.by_eater_nl @ (self.efficiency_l1 * eaten_lc)
            lost_nc = lost_nc + self.by_eaten_nl @ eaten_lc
            if self.pools:
                change_nc += self.waste_nl @ (self.wasted_l1 * eaten_lc)
        if self.pools:
            change_nc += self.remains_nn @ (self.mortality_n1 * density_nc)
        for plant, nutrient, _, content in self.uptakes:
            change_nc[nutrient] -= content * grown_nc[plant]
        change_nc += density_nc - state_sc[: self.n] - lost_nc
        parts = [change_nc, *self._change_disease(state_sc, density_nc, lost_nc, change_nc)]
        change_sc = np.concatenate(parts) if len(parts) > 1 else change_nc
        if self.model.space is not None and self.diffusion_n1.any():
            change_sc = change_sc + self._diffuse(state_sc)
        return change_sc

    def _change_disease(self, state_sc, density_nc, lost_nc, change_nc) -> list[np.ndarray]:
        """Return the changes of ill and immune [2, c] of each disease; subtract its deaths from `change_nc`."""
        parts = []
        for index, (disease, host) in enumerate(zip(self.model.diseases, self.hosts, strict=True)):
            ill_c, immune_c = np.maximum(state_sc[self.n + 2 * index : self.n + 2 * index + 2], 0)
            all_c = density_nc[host]
            safe_c = np.where(all_c > 0, all_c, 1)
            met_c = disease.contact * np.maximum(all_c - ill_c - immune_c, 0) * ill_c
            caught_c = met_c if disease.by_density else met_c / safe_c
            lost_c = lost_nc[host] / safe_c
            change_nc[host] -= disease.mortality * ill_c
            ill_change_c = caught_c - (disease.recovery + disease.mortality + lost_c) * ill_c
            parts.append(np.stack([ill_change_c, disease.recovery * ill_c - (disease.waning + lost_c) * immune_c]))
        return parts

    def _diffuse(self, state_sc: np.ndarray) -> np.ndarray:
        """Return the change of every state [s, c] by diffusion; ill and immune move like their host."""
        space = self.model.space
        rate_s1 = np.concatenate([self.diffusion_n1, *([self.diffusion_n1[[host, host]] for host in self.hosts])])
        grid = state_sc.reshape(len(state_sc), *space.shape)
        total = np.zeros_like(grid)
        for axis in range(1, grid.ndim):
            if space.torus:
                total += np.roll(grid, 1, axis) + np.roll(grid, -1, axis) - 2 * grid
                continue
            step = np.diff(grid, axis=axis)
            head = [slice(None)] * grid.ndim
            tail = [slice(None)] * grid.ndim
            head[axis], tail[axis] = slice(None, -1), slice(1, None)
            total[tuple(head)] += step
            total[tuple(tail)] -= step
        return rate_s1 / space.spacing**2 * total.reshape(state_sc.shape)


def integrate(model: MeanFieldModel, until: float, times: Sequence[float] | None = None) -> Trajectory:
    """Return the solution from time 0 to `until` at `times`, by default at 201 evenly spaced times.

    A node whose total density falls below `extinct_below` is set to 0 at that time. Raise ValueError if the solver
    fails. Needs the extra `twin`.
    """
    from scipy.integrate import solve_ivp

    rates = Rates(model)
    time_t = np.linspace(0, until, 201) if times is None else np.asarray(times, float)
    if not until > 0 or time_t.min() < 0 or time_t.max() > until or (np.diff(time_t) <= 0).any():
        raise ValueError(f"until {until:g}: times must increase from 0 or later to a positive end")
    shape = rates.make_start().shape
    alive = rates.make_start()[: rates.n].sum(1) > 0

    def compute_change(_, flat: np.ndarray) -> np.ndarray:
        return rates(flat.reshape(shape)).ravel()

    def compute_margin(_, flat: np.ndarray) -> float:
        total_n = flat.reshape(shape)[: rates.n].sum(1)
        return float((total_n[alive] - model.extinct_below).min()) if alive.any() else 1.0

    compute_margin.terminal, compute_margin.direction = True, -1
    state, now, pieces, extinctions = rates.make_start().ravel(), 0.0, [], {}
    while now < until:
        done = solve_ivp(
            compute_change,
            (now, until),
            state,
            method=model.method,
            rtol=model.rtol,
            atol=model.atol,
            dense_output=True,
            events=compute_margin if model.extinct_below else None,
        )
        if not done.success or not np.isfinite(done.y[:, -1]).all():
            raise ValueError(
                f"no solution past {done.t[-1]:g} {model.time_unit}: {done.message}; try method LSODA or BDF"
            )
        pieces.append((now, done.t[-1], done.sol))
        now, state = float(done.t[-1]), done.y[:, -1].copy()
        if done.status == 1:
            state, gone = _remove_extinct(rates, state.reshape(shape), alive)
            extinctions |= {model.names[index]: now for index in gone}

    def solution(time: float) -> np.ndarray:
        sol = next(sol for start, end, sol in reversed(pieces) if start <= time)
        state_sc = sol(time).reshape(shape)
        for name, when in extinctions.items():
            if time >= when:
                state_sc[find_row(model, name)] = 0
        return state_sc

    return Trajectory(
        model=model,
        time_t=time_t,
        state_tsc=np.array([solution(time) for time in time_t]),
        solution=solution,
        extinctions=extinctions,
    )


def _remove_extinct(rates: Rates, state_sc: np.ndarray, alive: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return the flat state without the nodes that fell below the threshold, and their rows; update `alive`."""
    total_n = state_sc[: rates.n].sum(1)
    gone = [int(index) for index in np.flatnonzero(alive & (total_n <= rates.model.extinct_below * (1 + 1e-6)))]
    for index in gone:
        alive[index] = False
        state_sc[index] = 0
        for order, host in enumerate(rates.hosts):
            if host == index:
                state_sc[rates.n + 2 * order : rates.n + 2 * order + 2] = 0
    return state_sc.ravel(), gone


def iterate(model: MeanFieldModel, steps: int, n_members: int = 1, seed: int = 0, step: float = 1.0) -> Trajectory:
    """Return `steps` steps of the map B ← B exp(step · rate + noise) + step · immigration.

    The rate is that of `integrate`, per density. Each member has its own noise, of variance step · (noise² +
    demographic² / B). Raise ValueError for nutrients, diseases and a lattice: the map does not have them.
    """
    if model.space or model.diseases or model.uptakes or any(node.turnover for node in model.nodes):
        raise ValueError("a map has no nutrients, diseases or lattice; integrate this model, or leave them out")
    rates = Rates(model)
    rng = np.random.Generator(np.random.Philox(seed))
    noise_n1 = np.array([node.noise for node in model.nodes])[:, None]
    chance_n1 = np.array([node.demographic for node in model.nodes])[:, None]
    noisy = bool(noise_n1.any() or chance_n1.any())
    state_tsc = np.empty((steps + 1, rates.n, n_members))
    state_tsc[0] = rates.make_start()
    for index in range(steps):
        state_sc = state_tsc[index]
        rate_sc = step * compute_per_capita_rates(rates, state_sc)
        if noisy:
            safe_sc = np.where(state_sc > 0, state_sc, 1)
            spread_sc = np.sqrt(step * (noise_n1**2 + chance_n1**2 / safe_sc))
            rate_sc = rate_sc + spread_sc * rng.standard_normal(state_sc.shape)
        next_sc = state_sc * np.exp(rate_sc) + step * rates.immigration_n1
        state_tsc[index + 1] = np.where(next_sc > model.extinct_below, next_sc, 0)
    return Trajectory(model=model, time_t=step * np.arange(steps + 1.0), state_tsc=state_tsc)


def compute_per_capita_rates(rates: Rates, state_sc: np.ndarray) -> np.ndarray:
    """Return the change per density and time [s, c] without immigration; 0 for an absent node."""
    change_sc = rates(state_sc) - rates.immigration_n1
    return np.divide(change_sc, state_sc, out=np.zeros_like(change_sc), where=state_sc > 0)


def compute_flows(model: MeanFieldModel, density: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Return (predator, prey) -> prey density that flows along the link per time, at these densities."""
    value_n1 = np.array([[float(density[name])] for name in model.names])
    eaten_lc = Rates(model).compute_feeding(value_n1) if model.links else np.zeros((0, 1))
    return {(link.predator, link.prey): float(eaten_lc[index, 0]) for index, link in enumerate(model.links)}
