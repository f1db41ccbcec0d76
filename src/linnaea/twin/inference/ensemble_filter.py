"""The loop of assimilation: the ensemble goes on for a span of time, is compared with the counts of it, and is moved.

How large the noise of the members is, nobody knows. They come in several levels of it, each level is filtered by itself,
and the levels are weighed by the probability that they gave to the counts before these were made (Bayes' rule over
levels). Where the web is wrong in a way that no parameter of it can mend, quiet levels forecast badly and lose their
weight; so intervals widen where they must, and only there.

Shape suffixes: d rows of the state, s animals, l levels of noise, m members of a level, w spans of time, g groups of sensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.census.observation_model import Count
from linnaea.twin.data.foodweb import FoodWeb
from linnaea.twin.inference.ensemble_members import DiscreteModelMembers, WorldMembers
from linnaea.twin.inference.filter_step import (
    compute_posterior,
    compute_taper,
    compute_web_distance,
    move_by_regression,
    restore_spread,
)


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
            raise ValueError(
                f"reach {self.reach}, detection {self.detection}, parameter_noise {self.parameter_noise} are "
                f"from 0 up, and kept_spread {self.kept_spread} is a share below 1"
            )


@dataclass(frozen=True, kw_only=True)
class AssimilationResult:
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
    levels: tuple[float, ...]
    "multiples of the noise"
    weight_wl: np.ndarray
    "what the counts up to the end of each span give each level; the members are drawn from the levels by it"


def assimilate(
    members: DiscreteModelMembers | WorldMembers,
    windows: Sequence[Sequence[Count]],
    edges_h: np.ndarray,
    groups: Sequence[str],
    web: FoodWeb,
    config: FilterConfig,
    seed: int = 0,
    forecast: int = 0,
    each: Callable[[int], None] = lambda window: None,
) -> AssimilationResult:
    """The ensemble through all spans and `forecast` more without counts; a run with empty windows is the free run."""
    rng = np.random.Generator(np.random.Philox(seed + 1))
    n_levels, n_members, n = len(members.levels), members.n_members, len(members.names)
    distance, names = compute_web_distance(web), list(web.species)
    near = compute_taper(distance, config.reach)[[names.index(name) for name in members.animals]]
    owner_d = np.array([names.index(name) for name in members.list_state_species()])
    animal_s = np.array([names.index(name) for name in members.animals])
    mean_gs, sd_gs = estimate_unknown_detection(windows, groups, len(members.animals), config.detection)
    drawn_gsm = rng.standard_normal((len(groups), len(members.animals), n_members))
    first_gsm = mean_gs[:, :, None] + sd_gs[:, :, None] * drawn_gsm
    detection_gslm = np.repeat(first_gsm[:, :, None], n_levels, axis=2)
    first_pm = members.get_state()[n:, :n_members]
    log_weight_l = np.zeros(n_levels)
    before, after, surprise, weight = [], [], [], []
    span_h = edges_h[-1] - edges_h[-2]
    edges_h = np.concatenate([edges_h, edges_h[-1] + span_h * np.arange(1, forecast + 1)])
    for window, hours in enumerate(np.diff(edges_h)):
        mean_sk = members.advance(float(hours))
        log_mean_slm = np.log(np.maximum(mean_sk, 1e-12)).reshape(-1, n_levels, n_members)
        before.append(draw_subset(members.get_density(), log_weight_l))
        counts = windows[window] if window < len(windows) else ()
        if counts:
            state_dlm = members.get_state().reshape(-1, n_levels, n_members)
            drift = (
                config.parameter_noise * np.sqrt(hours / 8766) * rng.standard_normal((len(state_dlm) - n, n_members))
            )
            # What all members agree on is taken as known and does not drift.
            state_dlm[n:] += drift[:, None] * (state_dlm[n:].std(2, keepdims=True) > 0)
            share_l = _normalize_weights(log_weight_l)
            parts = state_dlm, log_mean_slm, detection_gslm
            surprise_l, log_chance_l = _correct(
                *parts, counts, list(groups), near[:, owner_d], near[:, animal_s], config
            )
            surprise.append(float(share_l @ surprise_l))
            log_weight_l = log_weight_l + log_chance_l
            members.set_state(state_dlm.reshape(len(state_dlm), -1))
        else:
            surprise.append(np.nan)
        after.append(draw_subset(members.get_density(), log_weight_l))
        weight.append(_normalize_weights(log_weight_l))
        each(window)
    flat_gsk = detection_gslm.reshape(*detection_gslm.shape[:2], -1)
    return AssimilationResult(
        animals=tuple(members.animals),
        edges_h=edges_h,
        before_wsm=np.array(before),
        after_wsm=np.array(after),
        parameters=tuple(members.parameters),
        first_pm=first_pm,
        last_pm=draw_subset(members.get_state()[n:], log_weight_l),
        first_detection_gsm=first_gsm,
        detection_gsm=draw_subset(flat_gsk, log_weight_l),
        surprise_w=np.array(surprise),
        levels=tuple(members.levels),
        weight_wl=np.array(weight),
    )


def _normalize_weights(log_weight_l: np.ndarray) -> np.ndarray:
    """Weights that add up to 1."""
    weight_l = np.exp(log_weight_l - log_weight_l.max())
    return weight_l / weight_l.sum()


def draw_subset(value_xk: np.ndarray, log_weight_l: np.ndarray) -> np.ndarray:
    """As many of the values [x, m] of all levels, level by level [x, l · m], as a level has, by the levels' weights."""
    n_members = value_xk.shape[-1] // len(log_weight_l)
    upto_k = np.cumsum(np.repeat(_normalize_weights(log_weight_l), n_members)) / n_members
    # Evenly spaced through the weights: chance adds nothing, and one level alone comes back as it is.
    places = np.searchsorted(upto_k, (np.arange(n_members) + 0.5) / n_members)
    return value_xk[..., np.minimum(places, len(upto_k) - 1)]


def predict_counts(count: Count, log_mean_slm: np.ndarray, detection_slm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the expected count of each member [l, m], and the share of each species in it [s, l]."""
    part_slm = count.per_density_s[:, None, None] * np.exp(log_mean_slm + detection_slm)
    total_lm = part_slm.sum(0)
    return np.log(np.maximum(total_lm, 1e-12)), (part_slm / np.maximum(total_lm, 1e-300)).mean(2)


def estimate_unknown_detection(
    windows: Sequence[Sequence[Count]], groups: Sequence[str], n_animals: int, detection: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and s.d. [g, s] of the logarithm of the factor by which a group's counts of a species are off in all spans alike.

    How well its sensors see is not known, nor how far animals walk, nor whether sensors stand where more live than elsewhere:
    animals keep to their ranges, so that a site that counts many counts many again, and months do not average it away. Places
    are right on average, which makes most of them too poor and a few far too rich. The name that tells most of a species speaks
    for it.
    """
    stays: dict[tuple[int, int], list[float]] = {}
    for counts in windows:
        for group in {one.group for one in counts}:
            names = [one for one in counts if one.group == group]
            told_ns = np.array([one.per_density_s for one in names])
            stays_ns = np.array([np.broadcast_to(one.stays_s, n_animals) for one in names])
            for s in np.flatnonzero(told_ns.sum(0)):
                stays.setdefault((list(groups).index(group), int(s)), []).append(stays_ns[told_ns[:, s].argmax(), s])
    variance_gs = np.zeros((len(groups), n_animals))
    for (g, s), values in stays.items():
        variance_gs[g, s] = np.log1p(np.median(values))
    return -variance_gs / 2, np.sqrt(variance_gs + detection**2)


def _correct(
    state_dlm, log_mean_slm, detection_gslm, counts, groups, near_sd, near_ss, config
) -> tuple[np.ndarray, np.ndarray]:
    """Moves state, mean densities and detection, in place, count by count.

    Given back are the surprise of the span [l] and the logarithm of the probability of its counts [l].
    """
    parts = state_dlm, log_mean_slm, detection_gslm
    before = [part.std(-1, ddof=1) for part in parts]
    squares, log_chance_l = [], np.zeros(state_dlm.shape[1])
    for count in counts:
        group = groups.index(count.group)
        z_lm, share_sl = predict_counts(count, log_mean_slm, detection_gslm[group])
        mean_l = np.exp(z_lm).mean(1)
        squares.append((count.y - mean_l) ** 2 / (mean_l + mean_l**2 / count.k + np.exp(z_lm).var(1)))
        found = [compute_posterior(z_m, count.y, count.k) for z_m in z_lm]
        moved_lm = np.array([places for places, _ in found])
        log_chance_l += [log_chance for _, log_chance in found]
        # A species that hardly shows in the count learns hardly anything from it.
        move_by_regression(state_dlm, z_lm, moved_lm, (share_sl[:, None] * near_sd[:, :, None]).max(0))
        move_by_regression(log_mean_slm, z_lm, moved_lm, (share_sl[:, None] * near_ss[:, :, None]).max(0))
        move_by_regression(detection_gslm[group], z_lm, moved_lm, share_sl)
    for part, spread in zip(parts, before, strict=True):
        restore_spread(part, spread, config.kept_spread)
    return np.mean(squares, axis=0), log_chance_l
