"""Ensembles: seeds, pairing, stopping and going on, failures; members are the tutorial's world for some days."""

import json
import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest

from linnaea.store import read_manifest
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.checkpoint import save_checkpoint
from linnaea.twin.engine.step import step
from linnaea.twin.engine.workers import hold_lock
from linnaea.twin.runs import ensemble
from linnaea.twin.runs import member as member_module
from linnaea.twin.runs.ensemble import run_member, run_members
from linnaea.twin.runs.member import build_member
from linnaea.twin.runs.plan import RunPlan, choose_record_interval, derive_member_seed, hash_world
from linnaea.twin.runs.results import load_run
from linnaea.twin.runs.run_folder import find_unfinished, get_lock_path, get_member_dir, prepare_run_dir

DAYS = 6
ALONE = {"processes": 1}


def make_plan(**changes) -> RunPlan:
    plan = RunPlan(
        world="tutorial",
        world_hash=hash_world(load_world("tutorial")),
        hours=24 * DAYS,
        members=2,
        every_h=24,
        area_share=0.15,
        followed=3,
    )
    return replace(plan, **changes)


def records(folder, member: int) -> dict[str, np.ndarray]:
    with np.load(get_member_dir(folder, member) / "records.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "run"
    prepare_run_dir(folder, make_plan(), None, False)
    assert run_members(make_plan(), folder, **ALONE) == {}
    return folder


def test_a_members_seed_depends_on_run_and_member_and_on_nothing_else():
    assert derive_member_seed(7, 0) == derive_member_seed(7, 0)
    assert len({derive_member_seed(s, m) for s in range(20) for m in range(20)}) == 400


def test_a_run_has_a_record_a_day_and_one_of_the_start(base):
    run = load_run(base)
    assert run.records["time_h"].tolist() == [[24.0 * day for day in range(DAYS + 1)]] * 2
    assert run.records["counts"].shape == (2, DAYS + 1, 2)
    first = build_member(run.plan, base, 0)[0]
    assert run.records["counts"][0, 0].tolist() == first.counts().tolist()
    assert not (run.records["counts"][0] == run.records["counts"][1]).all()


def test_births_less_deaths_are_the_change_in_numbers(base):
    r = load_run(base).records
    change = r["counts"] - r["counts"][:, :1]
    # Foxes may come from beyond the borders; rabbits do not.
    np.testing.assert_array_equal(change[:, :, 0], (r["born"] - r["died"].sum(3))[:, :, 0])


def test_a_run_stopped_by_a_crash_goes_on_to_the_same_bits(base, tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    plan = make_plan()
    prepare_run_dir(tmp_path / "run", plan, None, False)
    world, record = build_member(plan, tmp_path / "run", 0, threads=1)
    record.write_down(world, 0.0)
    for _ in range(70):
        step(world)
    save_checkpoint(world, tmp_path / "run" / "checkpoints" / "0000")
    with pytest.raises(ValueError, match="--resume"):
        prepare_run_dir(tmp_path / "run", plan, None, False)
    prepare_run_dir(tmp_path / "run", plan, None, True)
    assert run_member(plan, tmp_path / "run", 0) == ""
    assert caplog.messages[0] == "member 1: goes on from 2.917 days"
    ours, theirs = records(tmp_path / "run", 0), records(base, 0)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_finished_run_is_prolonged_to_the_bits_of_one_that_never_stopped(base, tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    folder = tmp_path / "run"
    for days in (2, DAYS):
        plan = make_plan(hours=24 * days)
        prepare_run_dir(folder, plan, None, True)
        assert find_unfinished(folder, plan) == [0, 1]
        caplog.clear()
        assert run_members(plan, folder, **ALONE) == {}
        assert ("member 1: goes on from 2 days" in caplog.messages) == (days == DAYS)
        assert find_unfinished(folder, plan) == []
    for member in (0, 1):
        ours, theirs = records(folder, member), records(base, member)
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    with pytest.raises(
        ValueError, match="is planned for 6 days, more than 2 days; a run can be prolonged, not shortened"
    ):
        prepare_run_dir(folder, make_plan(hours=48), None, True)


def test_a_finished_run_is_deleted_on_request_only_and_kept_when_it_is_the_one_asked_for(base, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(base, folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"finished run \(tutorial, seed 0, 2 members of 6 days\).*--resume.*--replace"
    ):
        prepare_run_dir(folder, make_plan(seed=5), None, False)
    assert find_unfinished(folder, make_plan()) == []
    prepare_run_dir(folder, make_plan(), None, False)
    assert find_unfinished(folder, make_plan()) == []
    prepare_run_dir(folder, make_plan(seed=5), None, False, replace=True)
    assert find_unfinished(folder, make_plan(seed=5)) == [0, 1]


def test_a_folder_that_a_living_process_computes_is_left_alone_and_what_a_dead_one_left_blocks_nothing(base, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(base, folder)
    with hold_lock(get_lock_path(folder, 1)):
        for resume, replace in ((True, False), (False, True)):
            with pytest.raises(ValueError, match=f"being computed by process {os.getpid()}"):
                prepare_run_dir(folder, make_plan(), None, resume, replace)
    get_lock_path(folder, 1).touch()
    prepare_run_dir(folder, make_plan(), None, True)
    assert find_unfinished(folder, make_plan()) == []


def test_a_member_that_another_process_computes_is_waited_for_and_not_computed_again(base, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(base, folder)
    shutil.rmtree(get_member_dir(folder, 0))
    ran, ended = [], []
    monkeypatch.setattr(ensemble, "simulate_member", lambda *rest, **more: ran.append(rest))
    waiting = threading.Thread(target=lambda: ended.append(run_member(make_plan(), folder, 0)))
    with hold_lock(get_lock_path(folder, 0)):
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert not ran
        shutil.copytree(get_member_dir(base, 0), get_member_dir(folder, 0))
    waiting.join(10)
    assert (ran, ended) == ([], [""])


def test_a_finished_member_is_not_run_again(base, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(base, folder)
    plan = make_plan(members=3)
    prepare_run_dir(folder, plan, None, True)
    assert find_unfinished(folder, plan) == [2]
    ran = []
    monkeypatch.setattr(ensemble, "run_member", lambda plan, folder, member, *rest, progress: ran.append(member) or "")
    run_members(plan, folder, **ALONE)
    assert ran == [2]


def test_going_on_with_another_plan_is_refused(base, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(base, folder)
    with pytest.raises(ValueError, match="was begun with --seed 0, not 5"):
        prepare_run_dir(folder, make_plan(seed=5), None, True)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        prepare_run_dir(tmp_path, make_plan(), None, False)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_member_that_fails_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    plan = make_plan(hours=24)
    prepare_run_dir(tmp_path / "run", plan, None, False)
    build = member_module.build_world

    def crowded(data, *, seed, area_share):
        if seed == derive_member_seed(0, 1):
            raise ValueError("too many animals\nfor this machine")
        return build(data, seed=seed, area_share=area_share)

    monkeypatch.setattr(member_module, "build_world", crowded)
    assert run_members(plan, tmp_path / "run", **ALONE) == {1: "too many animals for this machine"}
    run = load_run(tmp_path / "run")
    assert run.members == (0,)
    assert run.failures == {1: "too many animals for this machine"}
    prepare_run_dir(tmp_path / "run", plan, None, True)
    assert find_unfinished(tmp_path / "run", plan) == [1]


def without_numbers(monkeypatch, at: dict[int, int]) -> None:
    """The energy of an animal becomes nan before the step given for each member."""
    whole, seeds = member_module.step, {derive_member_seed(0, member): at_step for member, at_step in at.items()}

    def broken(world):
        if seeds.get(world.seed) == world.step:
            world.agents.energy[world.agents.slots()[0]] = np.nan
        whole(world)

    monkeypatch.setattr(member_module, "step", broken)


def test_a_member_that_fails_late_keeps_its_last_good_state_and_its_records_and_goes_on_from_there(
    base, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO", "linnaea")
    plan, folder = make_plan(), tmp_path / "run"
    prepare_run_dir(folder, plan, None, False)
    with monkeypatch.context() as patch:
        without_numbers(patch, {1: 70})
        # A checkpoint after every step: that of step 71 would hold what is no number.
        (failure,) = run_members(plan, folder, checkpoint_s=1e-9, **ALONE).values()
    assert failure.startswith("step 71: energy of rabbit")
    assert read_manifest(folder / "checkpoints" / "0001")["step"] == 70
    run = load_run(folder)
    assert (run.members, run.failures) == ((0,), {1: failure})
    assert run.broken[1]["time_h"].tolist() == [0, 24, 48]
    for name in ("counts", "mass_kg", "food_kg"):
        np.testing.assert_array_equal(run.broken[1][name], records(base, 1)[name][:3], err_msg=name)
    prepare_run_dir(folder, plan, None, True)
    caplog.clear()
    assert run_members(plan, folder, **ALONE) == {}
    assert caplog.messages[0] == "member 2: goes on from 2.917 days"
    ours, theirs = records(folder, 1), records(base, 1)
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_where_no_member_reached_the_end_means_go_as_far_as_most_years_can_be_used(tmp_path, monkeypatch):
    plan, folder = make_plan(members=3), tmp_path / "run"
    prepare_run_dir(folder, plan, None, False)
    # Looked for in steps 0, 16, 32, …: written down are days 0 to 4, 0 to 3 and 0.
    without_numbers(monkeypatch, {0: 100, 1: 85, 2: 3})
    assert run_members(plan, folder, **ALONE).keys() == {0, 1, 2}
    run = load_run(folder)
    assert [run.lived_h(member) for member in range(3)] == [96, 72, 0]
    assert not run.whole
    assert (run.members, run.hours) == ((0, 1), 72)
    assert run.records["counts"].shape == (2, 4, 2)
    assert len(run.frames["paths_m"]) == 4
    assert [(members, len(one["time_h"][0])) for members, one in run.blocks] == [((0,), 5), ((1,), 4), ((2,), 1)]


def test_nothing_differs_before_the_intervention_and_something_after(base, tmp_path):
    (tmp_path / "gone.toml").write_text(
        'version = 1\n[[intervention]]\nkind = "remove"\nspecies = "rabbit"\nshare = 0.5\nfrom_day = 3\n'
    )
    plan = make_plan(scenario="gone.toml")
    prepare_run_dir(tmp_path / "run", plan, tmp_path / "gone.toml", False)
    run_members(plan, tmp_path / "run", **ALONE)
    ours, theirs = load_run(tmp_path / "run").records, load_run(base).records
    for name in ("counts", "mass_kg", "food_kg", "weather"):
        np.testing.assert_array_equal(ours[name][:, :4], theirs[name][:, :4], err_msg=name)
    assert (ours["counts"][:, 4, 0] < theirs["counts"][:, 4, 0]).all()
    np.testing.assert_array_equal(ours["weather"][:, :, 0], theirs["weather"][:, :, 0])


@pytest.mark.parametrize("over", ["processes", "ray"])
def test_processes_give_what_one_process_gives(base, tmp_path, over):
    if over == "ray":
        pytest.importorskip("ray")
    plan = make_plan()
    prepare_run_dir(tmp_path / "run", plan, None, False)
    run_members(plan, tmp_path / "run", processes=2, over=over)
    for member in (0, 1):
        ours, theirs = records(tmp_path / "run", member), records(base, member)
        assert all((ours[name] == theirs[name]).all() for name in ("counts", "born", "food_kg", "map"))


def test_an_unfinished_run_is_not_read(base, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(base, folder)
    shutil.rmtree(get_member_dir(folder, 1))
    with pytest.raises(ValueError, match="1 of 2 members are not finished"):
        load_run(folder)
    with pytest.raises(FileNotFoundError, match="no run"):
        load_run(tmp_path / "nowhere")


def test_the_plan_and_the_seeds_are_on_disk(base):
    assert json.loads((base / "plan.json").read_text())["members"] == 2
    assert read_manifest(get_member_dir(base, 1))["seed"] == derive_member_seed(0, 1)


def test_records_are_months_or_less_and_never_shorter_than_a_step():
    data = load_world("tutorial")
    assert choose_record_interval(data, 100 * HOURS_A_YEAR) == HOURS_A_YEAR / 12
    assert choose_record_interval(data, HOURS_A_YEAR) == 24.0
    assert choose_record_interval(data, data.ground.dt_h) == data.ground.dt_h


def test_followed_animals_are_where_the_world_has_them(base):
    plan = make_plan()
    world, record = build_member(plan, base, 0)
    record.write_down(world, 0.0)
    kept = load_run(base).frames
    for index, animal in enumerate(kept["followed"]):
        slot = world.agents.find(int(animal))
        assert kept["paths_m"][0, index].tolist() == [world.agents.x[slot], world.agents.y[slot]]
    assert kept["paths_m"].shape == (DAYS + 1, 3, 2)


def test_all_members_share_the_map(base):
    one, other = (build_member(make_plan(), base, member)[0] for member in (0, 1))
    for name in ("elevation_m", "water", "rain_share"):
        np.testing.assert_array_equal(one.fields[name], other.fields[name])
    assert not np.array_equal(one.agents.x[: one.agents.n], other.agents.x[: other.agents.n])
