"""The loop of assimilation: the ensemble goes on for a span of time, is compared with the counts of it, and is moved.

Legend: d rows of the state, s animals, m members, w spans of time, g groups of sensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.twin.filtering import follow, posterior_places, restore_spread, taper, web_distance
from linnaea.twin.foodweb import FoodWeb
from linnaea.twin.members import MapMembers, WorldMembers
from linnaea.twin.observation_model import Count


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """How counts move the ensemble."""

    reach: float = 2.0
    "links of the food web beyond which a count tells nothing of a species"
    detection: float = 0.2
    "s.d. of the logarithm of what is not known of each sensor's detection of each species"
    kept_spread: float = 0.1
    "share of its spread before a span's counts that a quantity keeps at least"
    parameter_noise: float = 0.05
    "s.d. a year by which parameters and detection may drift"

    def __post_init__(self) -> None:
        if not (self.reach >= 0 and self.detection >= 0 and 0 <= self.kept_spread < 1 and self.parameter_noise >= 0):
            raise ValueError(f"reach {self.reach}, detection {self.detection}, parameter_noise {self.parameter_noise} are "
                             f"from 0 up, and kept_spread {self.kept_spread} is a share below 1")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Assimilated:
    """What came of it; spans are those of the counts, then those of the forecast."""

    animals: tuple[str, ...]
    "species in the order of s"
    edges_h: np.ndarray
    "hours between the spans [w + 1]"
    before_wsm: np.ndarray
    "density at the end of each span before its counts, animals a km²"
    after_wsm: np.ndarray
    "the same after them"
    parameters: tuple[str, ...]
    "names of the parameters"
    first_pm: np.ndarray
    "logarithms of their factors at the beginning"
    last_pm: np.ndarray
    "logarithms of their factors at the end"
    first_detection_gsm: np.ndarray
    "logarithms of the factors of detection at the beginning"
    detection_gsm: np.ndarray
    "the same at the end"
    surprise_w: np.ndarray
    "mean squared standardised difference of counts and forecast; 1 is as expected, nan without counts"


def assimilate(
    members: MapMembers | WorldMembers,
    windows: Sequence[Sequence[Count]],
    edges_h: np.ndarray,
    groups: Sequence[str],
    web: FoodWeb,
    config: FilterConfig,
    seed: int = 0,
    forecast: int = 0,
    each: Callable[[int], None] = lambda window: None,
) -> Assimilated:
    """The ensemble through all spans and `forecast` more without counts; a run with empty windows is the free run."""
    rng = np.random.Generator(np.random.Philox(seed + 1))
    distance, names = web_distance(web), list(web.species)
    owner_d = np.array([names.index(name) for name in members.state_species()])
    animal_s = np.array([names.index(name) for name in members.animals])
    shape = (len(groups), len(members.animals), members.n_members)
    first_detection_gsm = config.detection * rng.standard_normal(shape)
    detection_gsm = first_detection_gsm.copy()
    first_pm = members.state()[len(members.names) :]
    before, after, surprise = [], [], []
    span_h = edges_h[-1] - edges_h[-2]
    edges_h = np.concatenate([edges_h, edges_h[-1] + span_h * np.arange(1, forecast + 1)])
    for window, hours in enumerate(np.diff(edges_h)):
        log_mean_sm = np.log(np.maximum(members.advance(float(hours)), 1e-12))
        before.append(members.density())
        counts = windows[window] if window < len(windows) else ()
        if counts:
            drift = config.parameter_noise * np.sqrt(hours / 8766)
            state = members.state()
            n = len(members.names)
            # What all members agree on is taken as known and does not drift.
            loose_p1 = state[n:].std(1, keepdims=True) > 0
            state[n:] += drift * loose_p1 * rng.standard_normal(state[n:].shape)
            surprise.append(
                _correct(state, log_mean_sm, detection_gsm, counts, list(groups), owner_d, animal_s, distance, config)
            )
            members.put(state)
        else:
            surprise.append(np.nan)
        after.append(members.density())
        each(window)
    return Assimilated(
        animals=tuple(members.animals), edges_h=edges_h, before_wsm=np.array(before), after_wsm=np.array(after),
        parameters=tuple(members.parameters), first_pm=first_pm, last_pm=members.state()[len(members.names) :],
        first_detection_gsm=first_detection_gsm, detection_gsm=detection_gsm, surprise_w=np.array(surprise),
    )  # fmt: skip


def expected(
    count: Count, log_mean_sm: np.ndarray, detection_gsm: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the expected count of each member [m], and the share of each species in it [s]."""
    part_sm = count.per_density_s[:, None] * np.exp(log_mean_sm + detection_gsm[group])
    total_m = part_sm.sum(0)
    return np.log(np.maximum(total_m, 1e-12)), (part_sm / np.maximum(total_m, 1e-300)).mean(1)


def _correct(state, log_mean_sm, detection_gsm, counts, groups, owner_d, animal_s, distance, config) -> float:
    """Moves state, mean densities and detection, in place, count by count; the surprise of the span."""
    n_groups, n_species, n_members = detection_gsm.shape
    flat = detection_gsm.reshape(-1, n_members)
    before = [part.std(1, ddof=1) for part in (state, log_mean_sm, flat)]
    near = taper(distance, config.reach)
    squares = []
    for count in counts:
        group = groups.index(count.group)
        z_m, share_s = expected(count, log_mean_sm, detection_gsm, group)
        mean = float(np.exp(z_m).mean())
        variance = mean + mean**2 / count.k + float(np.exp(z_m).var())
        squares.append((count.y - mean) ** 2 / variance)
        moved_m = posterior_places(z_m, count.y, count.k)
        # A species that hardly shows in the count learns hardly anything from it.
        weight_n = (share_s[:, None] * near[animal_s]).max(0)
        follow(state, z_m, moved_m, weight_n[owner_d])
        follow(log_mean_sm, z_m, moved_m, weight_n[animal_s])
        weight_gs = np.zeros((n_groups, n_species))
        weight_gs[group] = share_s
        follow(flat, z_m, moved_m, weight_gs.ravel())
    for part, spread in zip((state, log_mean_sm, flat), before, strict=True):
        restore_spread(part, spread, config.kept_spread)
    return float(np.mean(squares))
