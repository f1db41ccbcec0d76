"""The loop of data assimilation: forecast a window of time, compare with its counts, correct the ensemble.

Nobody knows how large the noise of the members is. Members therefore come in several levels of noise. Each level is
filtered by itself, and the levels are weighed by the probability that they gave to the counts before the counts were
made (Bayes' rule over levels). If the food web is wrong in a way that no parameter can correct, levels with little
noise forecast badly and lose their weight. Intervals thus widen where they must, and only there.

Shape suffixes: d rows of the state, s animals, l levels of noise, m members of a level, k members of all levels, w
windows of time, g groups of sensors, p parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.census.observation_model import Count
from linnaea.terminal import Progress
from linnaea.twin.data.foodweb import FoodWeb
from linnaea.twin.engine.agents import HOURS_A_YEAR
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
    "links of the food web beyond which a count does not move a species"
    detection: float = 0.2
    "uncertainty of each sensor's detection of each species: s.d. of its logarithm"
    kept_spread: float = 0.1
    "least share of its spread before a window's counts that a quantity keeps"
    parameter_noise: float = 0.05
    "s.d. of the drift of parameters and detection in a year"

    def __post_init__(self) -> None:
        if not (self.reach >= 0 and self.detection >= 0 and 0 <= self.kept_spread < 1 and self.parameter_noise >= 0):
            raise ValueError(
                f"reach {self.reach}, detection {self.detection}, parameter_noise {self.parameter_noise} must be 0 or "
                f"more, and kept_spread {self.kept_spread} must be a share below 1"
            )


@dataclass(frozen=True, kw_only=True)
class AssimilationResult:
    """The filtered ensemble; windows are those with counts, then those of the forecast."""

    animals: tuple[str, ...]
    "species in the order of s"
    edges_h: np.ndarray
    "hours between the windows [w + 1]"
    before_wsm: np.ndarray
    "density at the end of each window before its counts, animals per km²"
    after_wsm: np.ndarray
    "the same after its counts"
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
    "weight of each level, given the counts up to the end of each window; members are drawn from the levels by it"


class _EnsembleFilter:
    """The state of the filter between windows: the members, the factors of detection, and the levels' weights."""

    def __init__(
        self,
        members: DiscreteModelMembers | WorldMembers,
        windows: Sequence[Sequence[Count]],
        groups: Sequence[str],
        web: FoodWeb,
        config: FilterConfig,
        seed: int,
    ):
        self.members, self.groups, self.config = members, list(groups), config
        self.rng = np.random.Generator(np.random.Philox(seed + 1))
        self.n_levels, self.n_members, n_animals = len(members.levels), members.n_members, len(members.animals)
        names = list(web.species)
        near = compute_taper(compute_web_distance(web), config.reach)[[names.index(name) for name in members.animals]]
        self.near_sd = near[:, np.array([names.index(name) for name in members.list_state_species()])]
        self.near_ss = near[:, np.array([names.index(name) for name in members.animals])]
        mean_gs, sd_gs = estimate_unknown_detection(windows, groups, n_animals, config.detection)
        drawn_gsm = self.rng.standard_normal((len(groups), n_animals, self.n_members))
        self.first_detection_gsm = mean_gs[:, :, None] + sd_gs[:, :, None] * drawn_gsm
        self.detection_gslm = np.repeat(self.first_detection_gsm[:, :, None], self.n_levels, axis=2)
        self.log_weight_l = np.zeros(self.n_levels)

    def get_density(self) -> np.ndarray:
        """Return the density of members drawn from the levels by their weights [s, m]."""
        return draw_subset(self.members.get_density(), self.log_weight_l)

    def get_parameters(self) -> np.ndarray:
        """Return the logarithms of the parameters' factors of members drawn from the levels [p, m]."""
        return draw_subset(self.members.get_state()[len(self.members.names) :], self.log_weight_l)

    def get_detection(self) -> np.ndarray:
        """Return the logarithms of the factors of detection of members drawn from the levels [g, s, m]."""
        flat_gsk = self.detection_gslm.reshape(*self.detection_gslm.shape[:2], -1)
        return draw_subset(flat_gsk, self.log_weight_l)

    def advance(self, hours: float) -> np.ndarray:
        """Let the members go on; return the logarithm of their mean densities [s, l, m]."""
        mean_sk = self.members.advance(hours)
        return np.log(np.maximum(mean_sk, 1e-12)).reshape(-1, self.n_levels, self.n_members)

    def correct(self, counts: Sequence[Count], log_mean_slm: np.ndarray, hours: float) -> float:
        """Correct members, detection and weights with the counts of a window; return their surprise."""
        n = len(self.members.names)
        state_dlm = self.members.get_state().reshape(-1, self.n_levels, self.n_members)
        noise = self.config.parameter_noise * np.sqrt(hours / HOURS_A_YEAR)
        drift = noise * self.rng.standard_normal((len(state_dlm) - n, self.n_members))
        # What all members agree on is taken as known and does not drift.
        state_dlm[n:] += drift[:, None] * (state_dlm[n:].std(2, keepdims=True) > 0)
        share_l = _normalize_weights(self.log_weight_l)
        surprise_l, log_chance_l = self._apply_counts(counts, state_dlm, log_mean_slm)
        self.log_weight_l = self.log_weight_l + log_chance_l
        self.members.set_state(state_dlm.reshape(len(state_dlm), -1))
        return float(share_l @ surprise_l)

    def _apply_counts(
        self, counts: Sequence[Count], state_dlm: np.ndarray, log_mean_slm: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Move state, mean densities and detection, in place, count by count.

        Return the surprise of the window [l] and the logarithm of the probability of its counts [l].
        """
        parts = state_dlm, log_mean_slm, self.detection_gslm
        before = [part.std(-1, ddof=1) for part in parts]
        squares, log_chance_l = [], np.zeros(state_dlm.shape[1])
        for count in counts:
            detection_slm = self.detection_gslm[self.groups.index(count.group)]
            z_lm, share_sl = predict_counts(count, log_mean_slm, detection_slm)
            mean_l = np.exp(z_lm).mean(1)
            squares.append((count.y - mean_l) ** 2 / (mean_l + mean_l**2 / count.k + np.exp(z_lm).var(1)))
            found = [compute_posterior(z_m, count.y, count.k) for z_m in z_lm]
            moved_lm = np.array([places for places, _ in found])
            log_chance_l += [log_chance for _, log_chance in found]
            # A species that hardly shows in the count learns hardly anything from it.
            move_by_regression(state_dlm, z_lm, moved_lm, (share_sl[:, None] * self.near_sd[:, :, None]).max(0))
            move_by_regression(log_mean_slm, z_lm, moved_lm, (share_sl[:, None] * self.near_ss[:, :, None]).max(0))
            move_by_regression(detection_slm, z_lm, moved_lm, share_sl)
        for part, spread in zip(parts, before, strict=True):
            restore_spread(part, spread, self.config.kept_spread)
        return np.mean(squares, axis=0), log_chance_l


def assimilate(
    members: DiscreteModelMembers | WorldMembers,
    windows: Sequence[Sequence[Count]],
    edges_h: np.ndarray,
    groups: Sequence[str],
    web: FoodWeb,
    config: FilterConfig,
    seed: int = 0,
    n_forecast: int = 0,
    progress: Progress | None = None,
) -> AssimilationResult:
    """Filter the ensemble through all windows of counts, and forecast `n_forecast` more.

    A window without counts is not corrected; with empty windows alone this is the free run of the ensemble.
    """
    filtered = _EnsembleFilter(members, windows, groups, web, config, seed)
    first_pm = members.get_state()[len(members.names) :, : members.n_members]
    before, after, surprise, weight = [], [], [], []
    span_h = edges_h[-1] - edges_h[-2]
    edges_h = np.concatenate([edges_h, edges_h[-1] + span_h * np.arange(1, n_forecast + 1)])
    for window, hours in enumerate(np.diff(edges_h)):
        log_mean_slm = filtered.advance(float(hours))
        before.append(filtered.get_density())
        counts = windows[window] if window < len(windows) else ()
        surprise.append(filtered.correct(counts, log_mean_slm, hours) if counts else np.nan)
        after.append(filtered.get_density())
        weight.append(_normalize_weights(filtered.log_weight_l))
        if progress:
            progress.advance(1)
    return AssimilationResult(
        animals=tuple(members.animals),
        edges_h=edges_h,
        before_wsm=np.array(before),
        after_wsm=np.array(after),
        parameters=tuple(members.parameters),
        first_pm=first_pm,
        last_pm=filtered.get_parameters(),
        first_detection_gsm=filtered.first_detection_gsm,
        detection_gsm=filtered.get_detection(),
        surprise_w=np.array(surprise),
        levels=tuple(members.levels),
        weight_wl=np.array(weight),
    )


def _normalize_weights(log_weight_l: np.ndarray) -> np.ndarray:
    """Return weights that add up to 1."""
    weight_l = np.exp(log_weight_l - log_weight_l.max())
    return weight_l / weight_l.sum()


def draw_subset(value_xk: np.ndarray, log_weight_l: np.ndarray) -> np.ndarray:
    """Draw a subset [x, m] of the values of all levels, level by level [x, l · m], in proportion to their weights."""
    n_members = value_xk.shape[-1] // len(log_weight_l)
    upto_k = np.cumsum(np.repeat(_normalize_weights(log_weight_l), n_members)) / n_members
    # Systematic sampling, evenly spaced through the weights: chance adds nothing, and a single level stays as it is.
    places = np.searchsorted(upto_k, (np.arange(n_members) + 0.5) / n_members)
    return value_xk[..., np.minimum(places, len(upto_k) - 1)]


def predict_counts(count: Count, log_mean_slm: np.ndarray, detection_slm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithm of the expected count of each member [l, m], and the share of each species in it [s, l]."""
    part_slm = count.per_density_s[:, None, None] * np.exp(log_mean_slm + detection_slm)
    total_lm = part_slm.sum(0)
    return np.log(np.maximum(total_lm, 1e-12)), (part_slm / np.maximum(total_lm, 1e-300)).mean(2)


def estimate_unknown_detection(
    windows: Sequence[Sequence[Count]], groups: Sequence[str], n_animals: int, detection: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and s.d. [g, s] of the logarithm of the factor by which all counts of a group are off for a species.

    It is not known how well the sensors detect, how far animals walk, and whether sensors stand where more animals live
    than elsewhere. Animals keep to their ranges: a site with many animals has many again, and months do not average it
    away. Sites are right on average, so that most of them have too few animals and some have far too many. Of several
    names, the most informative one for a species is used.
    """
    stays: dict[tuple[int, int], list[float]] = {}
    for counts in windows:
        for group in {one.group for one in counts}:
            names = [one for one in counts if one.group == group]
            per_density_ns = np.array([one.per_density_s for one in names])
            stays_ns = np.array([np.broadcast_to(one.stays_s, n_animals) for one in names])
            for s in np.flatnonzero(per_density_ns.sum(0)):
                stays.setdefault((list(groups).index(group), int(s)), []).append(
                    stays_ns[per_density_ns[:, s].argmax(), s]
                )
    variance_gs = np.zeros((len(groups), n_animals))
    for (g, s), values in stays.items():
        variance_gs[g, s] = np.log1p(np.median(values))
    return -variance_gs / 2, np.sqrt(variance_gs + detection**2)
