"""Assimilation: the update is Bayes', members follow, and an ensemble that is told counts beats one that is not."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from linnaea.census.observation_model import Count
from linnaea.twin.commands.assimilate import AssimilateConfig, main
from linnaea.twin.data.foodweb import load_bundled_web
from linnaea.twin.data.species import load_bundled_species
from linnaea.twin.inference.ensemble_filter import (
    FilterConfig,
    assimilate,
    draw_subset,
    estimate_unknown_detection,
    predict_counts,
)
from linnaea.twin.inference.ensemble_members import NOISE_LEVELS, DiscreteModelMembers, Spread
from linnaea.twin.inference.filter_step import (
    compute_log_likelihood,
    compute_posterior,
    compute_taper,
    compute_web_distance,
    move_by_regression,
    restore_spread,
)
from linnaea.twin.inference.forecast_scores import coverage, crps
from linnaea.twin.meanfield.equations import iterate
from linnaea.twin.meanfield.from_foodweb import build_balanced_model

HOURS = 730.5


@pytest.fixture(scope="module")
def web():
    return load_bundled_web("tutorial", load_bundled_species())


def counts_of(truth, windows, effort_s, rng, k=30.0, mixed=0.05):
    """Monthly counts of a true run, two names mixed up now and then, and the true densities [s, w]."""
    share = np.array([[1 - mixed, mixed], [mixed, 1 - mixed]])
    made, there = [], []
    seen_s = np.exp(FilterConfig().detection * rng.standard_normal(2))
    for _ in range(windows):
        density_s = truth.advance(HOURS)[:, 0]
        there.append(truth.get_density()[:, 0])
        span = []
        for r, name in enumerate(truth.animals):
            per_density_s = effort_s * share[:, r]
            mean = float(per_density_s @ (density_s * seen_s))
            span.append(
                Count(
                    group="g",
                    name=name,
                    y=int(rng.poisson(mean * rng.gamma(k, 1 / k))),
                    per_density_s=per_density_s,
                    k=k,
                )
            )
        made.append(tuple(span))
    return made, np.array(there).T


def test_the_likelihood_is_the_negative_binomial():
    mean, k = 7.0, 3.0
    logs = np.array([math.lgamma(y + k) - math.lgamma(k) - math.lgamma(y + 1) + k * math.log(k) for y in range(400)])
    # The part without the mean is a constant of the count.
    shares = np.exp(
        [compute_log_likelihood(y, math.log(mean), k) - y * 0 + logs[y] - k * math.log(k) for y in range(400)]
    )
    assert shares.sum() == pytest.approx(1, abs=1e-9)
    assert (shares * np.arange(400)).sum() == pytest.approx(mean, abs=1e-6)
    assert (shares * np.arange(400) ** 2).sum() - mean**2 == pytest.approx(mean + mean**2 / k, rel=1e-6)


@pytest.mark.parametrize(("y", "k"), [(0, 2.0), (3, 5.0), (400, 50.0)])
def test_the_update_of_a_count_is_that_of_weighted_particles(y, k):
    rng = np.random.default_rng(0)
    z_m = rng.normal(math.log(20), 0.8, 200_000)
    weight = np.exp(compute_log_likelihood(y, z_m, k) - compute_log_likelihood(y, z_m, k).max())
    mean = (weight * z_m).sum() / weight.sum()
    spread = math.sqrt((weight * (z_m - mean) ** 2).sum() / weight.sum())
    moved, log_chance = compute_posterior(z_m, y, k)
    aim = compute_log_likelihood(y, math.log(max(y, 0.5)), k)
    assert math.exp(log_chance) == pytest.approx(
        np.exp(compute_log_likelihood(y, z_m, k) - aim).mean(), rel=0.03 if y < 100 else 0.2
    )
    # Few particles reach the largest count, hence its wider margin.
    assert moved.mean() == pytest.approx(mean, abs=0.02 if y < 100 else 0.08)
    assert moved.std() == pytest.approx(spread, rel=0.03 if y < 100 else 0.2)
    assert np.array_equal(np.argsort(moved), np.argsort(z_m))


def test_others_follow_by_their_regression_and_stay_where_the_weight_is_nought():
    rng = np.random.default_rng(0)
    z = rng.normal(size=5000)
    state = np.array([2 * z + rng.normal(size=5000), z, rng.normal(size=5000)])
    before = state.copy()
    move_by_regression(state, z, z + 1, np.array([1.0, 0.0, 1.0]))
    assert (state - before).mean(1) == pytest.approx([2, 0, 0], abs=0.05)
    restore_spread(state, before.std(1, ddof=1) * 2, 0.5)
    assert state.std(1, ddof=1) == pytest.approx(1.5 * before.std(1, ddof=1), rel=0.01)


def test_ensembles_side_by_side_are_moved_each_by_itself():
    rng = np.random.default_rng(0)
    state = rng.normal(size=(4, 2, 50))
    z, moved, weight = rng.normal(size=(2, 50)), rng.normal(size=(2, 50)), rng.uniform(size=(4, 2))
    each = [state[:, level].copy() for level in range(2)]
    move_by_regression(state, z, moved, weight)
    restore_spread(state, np.ones((4, 2)), 0.3)
    for level, alone in enumerate(each):
        move_by_regression(alone, z[level], moved[level], weight[:, level])
        restore_spread(alone, np.ones(4), 0.3)
        assert state[:, level] == pytest.approx(alone, rel=1e-12)


def test_members_are_drawn_from_levels_by_their_weights():
    value = np.array([[1.0, 1, 1, 1, 2, 2, 2, 2]])
    assert draw_subset(value, np.log([0.75, 0.25])).tolist() == [[1, 1, 1, 2]]
    assert draw_subset(value, np.array([0.0, -800.0])).tolist() == [[1, 1, 1, 1]]
    one = np.arange(6.0)[None]
    assert np.array_equal(draw_subset(one, np.zeros(1)), one)


def test_the_levels_of_noise_share_their_chance_and_the_first_is_the_run_without_levels(web):
    both = DiscreteModelMembers(web, 5, Spread(), seed=2, levels=(1.0, 2.0))
    alone = DiscreteModelMembers(web, 5, Spread(), seed=2)
    both.advance(HOURS)
    alone.advance(HOURS)
    assert np.array_equal(both.get_density()[:, :5], alone.get_density())
    start = DiscreteModelMembers(web, 5, Spread(), seed=2, levels=(1.0, 2.0)).get_density()
    assert np.array_equal(start[:, :5], start[:, 5:])
    quiet = DiscreteModelMembers(web, 400, Spread(start=0, parameter=0, noise=0.1), levels=(1.0, 2.0))
    quiet.advance(HOURS)
    spread = np.log(quiet.get_density()).reshape(2, 2, 400).std(2)
    assert spread[:, 1] == pytest.approx(2 * spread[:, 0], rel=0.02)


def test_counts_speak_for_the_level_of_noise_of_the_truth(web):
    for factor, likely in ((0.3, 0), (3.0, 2)):
        truth = DiscreteModelMembers(web, 1, Spread(noise=0.4 * factor), seed=9)
        windows, _ = counts_of(truth, 48, np.array([20.0, 2000.0]), np.random.default_rng(1))
        members = DiscreteModelMembers(web, 60, Spread(), seed=1, levels=NOISE_LEVELS)
        done = assimilate(members, windows, HOURS * np.arange(49), ["g"], web, FilterConfig(), 1)
        assert done.weight_wl.sum(1) == pytest.approx(1)
        assert done.weight_wl[-1, likely] > 10 * done.weight_wl[-1, 2 - likely]
        assert done.after_wsm.shape == (48, 2, 60)
        assert done.last_pm.shape == done.first_pm.shape


def test_distances_run_along_the_web_and_weights_end_at_the_reach(web):
    names, far = list(web.species), compute_web_distance(web)
    rabbit, fox, clover = (names.index(n) for n in ("rabbit", "red fox", "clover"))
    assert (far[rabbit, rabbit], far[fox, rabbit], far[clover, fox]) == (0, 1, 2)
    assert compute_taper(np.array([0, 1, 2, 3, math.inf]), 2) == pytest.approx([1, 4 / 9, 1 / 9, 0, 0])


def test_members_without_spread_are_the_map_of_the_web(web):
    members = DiscreteModelMembers(web, 2, Spread(start=0, parameter=0, noise=0))
    members.longest_y = HOURS / 8766 / 10
    mean = members.advance(HOURS)
    steps = math.ceil(HOURS / 8766 / members.longest_y)
    run = iterate(build_balanced_model(web), steps, step=HOURS / 8766 / steps)
    for row, name in enumerate(members.animals):
        assert members.get_density()[row] == pytest.approx(
            run.get_density(name)[-1] / web.species[name].body_mass_kg, rel=1e-9
        )
        assert mean[row] == pytest.approx(web.species[name].density_per_km2, rel=0.01)


def test_a_parameter_of_a_member_is_its_own(web):
    members = DiscreteModelMembers(web, 2, Spread(start=0, parameter=0, noise=0))
    members.factor_pm[members.parameters.index("loss of red fox")] = [0, 1]
    members.advance(HOURS * 12)
    fox, rabbit = members.animals.index("red fox"), members.animals.index("rabbit")
    assert members.get_density()[fox, 1] < 0.8 * members.get_density()[fox, 0]
    assert members.get_density()[rabbit, 1] > members.get_density()[rabbit, 0]


def test_the_expected_count_is_the_sum_over_species_of_what_is_reported_so():
    count = Count(group="g", name="a", y=3, per_density_s=np.array([2.0, 0.5]), k=1)
    z, share = predict_counts(count, np.log([[[3.0]], [[4.0]]]), np.zeros((2, 1, 1)))
    assert np.exp(z) == pytest.approx(np.array([[8]]))
    assert share == pytest.approx(np.array([[0.75], [0.25]]))


@pytest.mark.parametrize("wrong", [0.0, 0.7])
def test_the_filter_beats_the_free_run_and_its_intervals_hold_also_with_a_parameter_wrong(web, wrong):
    scores, held = [], []
    for seed in range(6):
        truth = DiscreteModelMembers(web, 1, Spread(), seed=100 + seed)
        truth.factor_pm[truth.parameters.index("loss of red fox")] += wrong
        windows, there = counts_of(truth, 15, np.array([0.5, 20.0]), np.random.default_rng(seed))
        edges = HOURS * np.arange(16)
        row = []
        for told in (windows, [()] * 15):
            levels = NOISE_LEVELS if told is windows else (1.0,)
            ensemble = DiscreteModelMembers(web, 80, Spread(), seed=seed, levels=levels)
            done = assimilate(ensemble, told, edges, ["g"], web, FilterConfig(), seed)
            members = done.after_wsm.transpose(1, 2, 0)
            row.append(np.mean([crps(np.log(m), np.log(t)).mean() for m, t in zip(members, there, strict=True)]))
            if told is windows:
                held.append(np.mean([coverage(m, t) for m, t in zip(members, there, strict=True)]))
        scores.append(row)
    filtered, free = np.mean(scores, axis=0)
    assert filtered < 0.7 * free
    assert 0.75 < np.mean(held) < 0.99


def test_counts_teach_a_parameter_that_is_wrong(web):
    truth = DiscreteModelMembers(web, 1, Spread(parameter=0), seed=5)
    truth.factor_pm[truth.parameters.index("loss of red fox")] = 0.8
    windows, _ = counts_of(truth, 36, np.array([2.0, 200.0]), np.random.default_rng(0))
    members = DiscreteModelMembers(web, 200, Spread(parameter=0.4), seed=1)
    done = assimilate(members, windows, HOURS * np.arange(37), ["g"], web, FilterConfig(), 1)
    place = done.parameters.index("loss of red fox")
    before, after = done.first_pm[place], done.last_pm[place]
    assert after.mean() > before.mean() + 0.2
    assert after.std() < before.std()


def test_species_that_nothing_counts_and_nothing_joins_to_keep_their_spread():
    web = load_bundled_web("savanna", load_bundled_species())
    runs = []
    for told in (True, False):
        members = DiscreteModelMembers(web, 60, Spread(), seed=3)
        effort = np.where(np.array(members.animals) == "lion", 500.0, 0.0)
        count = Count(group="g", name="lion", y=300, per_density_s=effort, k=100)
        done = assimilate(
            members, [(count,) if told else ()], np.array([0, HOURS]), ["g"], web, FilterConfig(reach=0), 3
        )
        runs.append(done.after_wsm[0])
    lion = members.animals.index("lion")
    changed = ~np.isclose(runs[0], runs[1], rtol=1e-9).all(1)
    assert changed[lion]
    assert changed.sum() == 1
    assert np.median(runs[0][lion]) > 1.5 * np.median(runs[1][lion])


def write_field(folder: Path) -> None:
    """Two cameras of a month each, with a Camtrap DP package by hand."""
    folder.mkdir()
    deployments = ["deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd,detectionDistance"]
    deployments += [f"d{n},here-{n},51,0,2024-01-01T00:00:00Z,2024-01-31T00:00:00Z,12" for n in (1, 2)]
    observations = ["observationID,deploymentID,eventStart,observationLevel,observationType,scientificName,count"]
    observations += [
        f"o{n},d{1 + n % 2},2024-01-{1 + n % 28:02}T12:00:00Z,event,animal,Oryctolagus cuniculus,2" for n in range(60)
    ]
    observations += [
        "x,d9,2024-01-02T12:00:00Z,event,animal,Vulpes vulpes,1",
        "y,d1,2024-01-02T12:00:00Z,event,unknown,,1",
    ]
    (folder / "deployments.csv").write_text("\n".join(deployments) + "\n")
    (folder / "observations.csv").write_text("\n".join(observations) + "\n")


def test_the_command_writes_states_parameters_and_what_it_left_out(tmp_path, capsys):
    write_field(tmp_path / "field")
    config = AssimilateConfig(
        world="tutorial", observations=(tmp_path / "field",), out=tmp_path / "out", ensemble=40, forecast_days=45
    )
    assert main(config) == 0
    printed = capsys.readouterr().out
    assert "2 visits, 121 animals reported, 1 rows left out" in printed
    assert "never validated" in printed
    with (tmp_path / "out" / "states.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"forecast", "corrected"}
    assert [float(row["day"]) for row in rows if row["species"] == "rabbit" and row["stage"] == "forecast"] == [
        30,
        60,
        90,
    ]
    for row in rows:
        assert 0 < float(row["q05"]) <= float(row["q50"]) <= float(row["q95"])
    with (tmp_path / "out" / "parameters.csv").open() as file:
        states = {row["validated"] for row in csv.DictReader(file)}
    assert "never" in states
    assert "'d9' is not among" in (tmp_path / "out" / "rejected.csv").read_text()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["world"] == "tutorial"
    assert any("no confusion table" in note for note in manifest["notes"])
    assert "rabbit.body_mass_kg" in manifest["parameters_without_source"]
    again = AssimilateConfig(
        world="tutorial",
        observations=(tmp_path / "field",),
        out=tmp_path / "again",
        ensemble=40,
        forecast_days=45,
        quiet=True,
    )
    assert main(again) == 0
    assert (tmp_path / "again" / "states.csv").read_bytes() == (tmp_path / "out" / "states.csv").read_bytes()


def test_cameras_for_rabbits_say_nothing_of_foxes(tmp_path, capsys):
    write_field(tmp_path / "field")
    medians = []
    for names in ((), ("rabbit",), ("Leporidae, rabbit",)):
        out = tmp_path / f"out{len(medians)}"
        main(
            AssimilateConfig(
                world="tutorial", observations=(tmp_path / "field",), out=out, ensemble=60, looked_for=names
            )
        )
        assert ("never reported" in capsys.readouterr().out) == (not names)
        with np.load(out / "members.npz") as members:
            medians.append([np.log(np.median(members[f"{stage}_wsm"][-1, 1])) for stage in ("forecast", "corrected")])
    (before, after), *told = medians
    # Sixty camera-days without a fox say that they are few, if one would have been reported.
    assert after < before - 0.1
    for before, after in told:
        assert abs(after - before) < 0.1


def test_what_cannot_be_assimilated_is_said_in_one_line(tmp_path):
    write_field(tmp_path / "field")
    (tmp_path / "empty.csv").write_text("file,status,name,reason,position\nno.jpg,identified,Vulpes vulpes,,1\n")
    for change, words in (
        ({"observations": (tmp_path / "empty.csv",)}, "no visit with an effort can be used; first reason"),
        ({"ensemble": 2}, "--ensemble 2"),
        ({"window_days": 0}, "--window-days 0"),
        ({"looked_for": ("lion",)}, "--looked-for 'lion' must be an animal"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            main(AssimilateConfig(**{"world": "tutorial", "observations": (tmp_path / "field",)} | change))
        assert "\n" not in str(error.value)


def test_worlds_of_animals_take_a_correction_and_go_on(web):
    from linnaea.twin.assembly.world_builder import build_world
    from linnaea.twin.inference.ensemble_members import WorldMembers

    worlds = [build_world("tutorial", seed=seed, n_animals=120) for seed in range(2)]
    members = WorldMembers(worlds, Spread(start=0))
    before = members.get_density()
    assert members.list_state_species() == ("rabbit", "red fox", "clover")
    members.set_state(members.get_state())
    assert np.array_equal(members.get_density(), before)
    state = members.get_state()
    state[0] += math.log(2)
    state[1] = math.log(0.1 / members.area_km2)
    state[2, 0] -= math.log(4)
    food = worlds[0].arrays["food"].sum()
    members.set_state(state)
    assert members.get_density()[0] == pytest.approx(2 * before[0], abs=1 / members.area_km2)
    assert not members.get_density()[1].any()
    assert worlds[0].arrays["food"].sum() == pytest.approx(food / 4)
    assert worlds[0].fields["clover"].sum() == worlds[0].arrays["food"].sum()
    mean = members.advance(6.0)
    assert worlds[1].step == 6
    assert mean[0] == pytest.approx(members.get_density()[0], rel=0.1)
    members.set_state(state)
    count = Count(group="g", name="rabbit", y=9, per_density_s=np.array([0.01, 0]), k=9)
    done = assimilate(members, [(count,)], np.array([0.0, 3.0]), ["g"], web, FilterConfig())
    assert done.after_wsm.shape == (1, 2, 2)
    assert not done.parameters


def test_where_sensors_stand_is_as_uncertain_as_sites_differ():
    def count(group, name, per_density_s, stays):
        return Count(
            group=group,
            name=name,
            y=3,
            per_density_s=np.array(per_density_s),
            k=5.0,
            stays_s=np.array([stays, stays / 2]),
        )

    windows = [
        (
            count("camera", "rabbit", [2.0, 0.1], stays),
            count("camera", "fox", [0.1, 1.0], 0.1),
            count("collar", "fox", [0, 1.0], 0.0),
        )
        for stays in (0.1, 0.12, 0.5)
    ]
    mean_gs, sd_gs = estimate_unknown_detection([(), *windows], ("camera", "collar"), 2, 0.2)
    variance_gs = np.log([[1.12, 1.05], [1, 1]])
    assert sd_gs == pytest.approx(np.sqrt(0.04 + variance_gs))
    # The factor is 1 on average, not its logarithm 0.
    assert np.exp(mean_gs + variance_gs / 2) == pytest.approx(np.ones((2, 2)))
