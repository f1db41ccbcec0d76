import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from linnaea.twin.assembly.world_builder import build_world, check_size
from linnaea.twin.data.world_data import compute_start_counts, find_small_groups, list_values, map_scientific_names
from linnaea.twin.data.world_file import copy_world, list_bundled_worlds, load_world, parse_world
from linnaea.twin.engine.checkpoint import load_checkpoint, save_checkpoint
from linnaea.twin.engine.step import step
from linnaea.twin.scenarios.scenario_file import attach, parse_scenario
from made_worlds import small

NAMES = ("galapagos", "island", "post", "savanna", "tutorial")


def test_five_worlds_come_with_the_program():
    assert tuple(list_bundled_worlds()) == NAMES
    assert all(list_bundled_worlds().values())


def test_the_savanna_has_more_than_twenty_real_species():
    data = load_world("savanna")
    names = {one.scientific_name for one in data.web.species.values()}
    assert len(names) >= 20
    for name in (
        "plains zebra",
        "wildebeest",
        "Thomson's gazelle",
        "African buffalo",
        "African elephant",
        "giraffe",
        "common warthog",
        "lion",
        "spotted hyaena",
        "cheetah",
        "leopard",
        "African wild dog",
        "acacia",
        "termite",
        "dung beetle",
        "white-backed vulture",
    ):
        assert name in data.web.species


def test_every_value_of_every_world_is_graded():
    for name in NAMES:
        data = load_world(name)
        assert data.grade
        assert len(data.unmeasured()) > 0
        assert all(key in list_values(data) for key in data.grades)
    assert "animals.medium ground finch.trait_mean" not in load_world("galapagos").unmeasured()


def test_densities_stay_when_the_world_is_made_larger():
    one, four = build_world("tutorial", dt_h=24.0), build_world("tutorial", dt_h=24.0, area_share=4.0)
    assert four.space.width_m == pytest.approx(2 * one.space.width_m)
    assert np.abs(four.counts() - 4 * one.counts()).max() <= 2
    assert len(build_world("savanna", n_animals=2000).agents) == pytest.approx(2000, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_world_lives_through_its_first_month(name):
    share = {"savanna": 0.05, "tutorial": 0.3, "post": 0.5}.get(name, 1.0)
    world = small(name, area_share=share, dt_h=load_world(name).ground.dt_h if name == "post" else 12.0, strict=True)
    start = world.counts()
    for _ in range(60):
        step(world)
    common = start >= 20
    assert (world.counts()[common] > 0.5 * start[common]).all()
    assert (world.counts()[common] < 4 * start[common]).all()


def test_slots_may_be_shuffled_without_changing_anything():
    one, other = small("savanna", area_share=0.03), small("savanna", area_share=0.03)
    other.resort_every = 0
    rng = np.random.default_rng(0)
    for _ in range(40):
        step(one)
        step(other)
        other.agents.sort(rng.permutation(other.agents.slots()))
    a, b = one.agents, other.agents
    left, right = (w.slots()[np.argsort(w.key[w.slots()])] for w in (a, b))
    assert (a.key[left] == b.key[right]).all()
    for name in ("x", "y", "energy", "mass", "species", "herd", "due_h", "born_h", "until_h"):
        assert (a.arrays[name][left] == b.arrays[name][right]).all(), name
    assert (one.arrays.food == other.arrays.food).all()
    assert (one.tallies.energy_kj == other.tallies.energy_kj).all()


def test_threads_change_nothing():
    # The world says how many threads a step takes; in a small world it takes one in any case.
    code = (
        "import hashlib, numba, sys;"
        "from linnaea.twin.assembly.world_builder import build_world;"
        "from linnaea.twin.engine.step import SMALL_WORLD, step;"
        "w = build_world('savanna', area_share=0.03, dt_h=6.0, seed=5);"
        "w.threads = int(sys.argv[1]); start = len(w.agents);"
        "[step(w) for _ in range(30)];"
        "assert min(start, len(w.agents)) >= SMALL_WORLD; print(numba.get_num_threads());"
        "state = (*w.agents.state_arrays().values(), w.arrays['food']);"
        "print(hashlib.sha256(b''.join(v.tobytes() for v in state)).hexdigest())"
    )
    import numba

    most = min(2, numba.config.NUMBA_NUM_THREADS)
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, str(n)], capture_output=True, text=True, check=True, timeout=300
        ).stdout.split()
        for n in (1, most)
    ]
    assert [threads for threads, _ in printed] == ["1", str(most)]
    assert printed[0][1] == printed[1][1]


def test_a_run_goes_on_from_a_checkpoint_bit_by_bit(tmp_path):
    whole = small("savanna", area_share=0.03)
    for _ in range(30):
        step(whole)
    save_checkpoint(whole, tmp_path / "half")
    for _ in range(30):
        step(whole)
    again = small("savanna", area_share=0.03)
    load_checkpoint(again, tmp_path / "half")
    for _ in range(30):
        step(again)
    for name, values in whole.agents.state_arrays().items():
        assert (values == again.agents.state_arrays()[name]).all(), name
    assert (whole.arrays.food == again.arrays.food).all()
    assert (whole.tallies.died == again.tallies.died).all()
    # A layer and its place in the stack are one memory, after loading as well.
    assert np.shares_memory(again.fields["tall grass"], again.arrays.food)


def test_bad_worlds_are_refused_in_one_line():
    good = {"format": 1, "name": "tutorial", "grade": "unverified", "ground": {"width_km": 1.0, "height_km": 1.0}}
    assert compute_start_counts(parse_world(good)) == {"rabbit": 200, "red fox": 2}
    for change, says in (
        ({"format": 2}, "format 2"),
        ({"moon": 1}, "'moon' is unknown"),
        ({"grade": "sure"}, "grade 'sure'"),
        ({"ground": {"width_km": -1.0, "height_km": 1.0}}, "width_km -1"),
        ({"ground": {"width_km": 1.0}}, "height_km"),
        ({"pools": ["clover"]}, "pool 'clover' must be an animal"),
        ({"animals": {"unicorn": {}}}, "'unicorn' is not in the food web"),
        ({"animals": {"rabbit": {"count": -3.0}}}, "count -3"),
        ({"animals": {"rabbit": {"half": 0.0}}}, "half 0 is impossible"),
        ({"animals": {"rabbit": {"legs": 4}}}, "animals.rabbit.legs is unknown"),
        ({"settings": {"fat_share": -0.1}}, "fat_share -0.1"),
        ({"landscape": {"rain_mm": [1.0]}}, "rain_mm"),
        ({"grades": {"settings.fat": "measured x"}}, "grades.settings.fat grades no value"),
        ({"name": "atlantis"}, "'atlantis'"),
        (
            {"ground": {"width_km": "three", "height_km": 1.0}},
            "^world: ground.width_km must be a number, not 'three'; write it",
        ),
        ({"ground": {"height_km": 1.0}}, "^world: ground.width_km is missing; write it"),
        ({"landscape": {"rain_mm": 60}}, "^world: landscape.rain_mm must be a list of numbers, not 60; write"),
        (
            {"animals": {"rabbit": {"free_ranging": 1}}},
            "^world: animals.rabbit.free_ranging must be true or false, not 1; write true",
        ),
        ({"animals": 3}, r"^world: animals must be a table, not 3; head it with \[animals\]"),
        ({"foods": {"clover": 2}}, r"^world: foods.clover must be a table, not 2; head it with \[foods.clover\]"),
        ({"pools": "clover"}, "^world: pools must be a list, not 'clover'"),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            parse_world(good | change)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="'atlantis' is not bundled"):
        load_world("atlantis")
    with pytest.raises(FileNotFoundError, match="no world"):
        load_world("nowhere/world.toml")
    with pytest.raises(ValueError, match="n_animals: 0"):
        build_world("tutorial", n_animals=0)


def test_a_world_of_ones_own_has_its_tables_beside_it(tmp_path):
    (tmp_path / "species.csv").write_text(
        "name,scientific_name,diet,body_mass_kg,density_per_km2,grade\nmoss,,grass,1,,unverified\nvole,,grazer,0.03,500,unverified\n"
    )
    (tmp_path / "web.csv").write_text("predator,prey,grade\nvole,moss,unverified\n")
    (tmp_path / "world.toml").write_text(
        'format = 1\nname = "mine"\ngrade = "unverified"\nspecies = "species.csv"\nweb = "web.csv"\n'
        "[ground]\nwidth_km = 0.5\nheight_km = 0.5\nsearch_m = 50.0\n"
    )
    world = build_world(tmp_path / "world.toml")
    step(world)
    assert world.species == ("vole",)
    assert len(world.agents) == 125


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_world_is_that_world(tmp_path, name):
    copy_world(name, tmp_path / "own")
    assert repr(load_world(tmp_path / "own")) == repr(load_world(name))
    with pytest.raises(ValueError, match="exists; choose another --copy"):
        copy_world(name, tmp_path / "own")


def test_a_web_of_ones_own_takes_species_that_come_with_the_program(tmp_path):
    (tmp_path / "w.toml").write_text(
        'format = 1\nname = "own"\ngrade = "unverified"\nweb = "web.csv"\n[ground]\nwidth_km = 1\nheight_km = 1\n'
    )
    (tmp_path / "web.csv").write_text("predator,prey,grade\nrabbit,clover,unverified\nred fox,rabbit,unverified\n")
    data = load_world(tmp_path / "w.toml")
    assert compute_start_counts(data) == {"rabbit": 200, "red fox": 2}
    assert map_scientific_names(data)["Vulpes vulpes"] == "red fox"


def test_species_with_less_than_a_group_are_those_that_the_area_has_made_rare():
    data = load_world("savanna")
    assert find_small_groups(data, 1.0) == {}
    found = find_small_groups(data, 0.03)
    assert found["lion"] == compute_start_counts(data, 0.03)["lion"] < data.web.species["lion"].herd_size
    assert "wildebeest" not in found


def test_a_world_without_one_animal_is_refused_and_one_that_is_too_large_too():
    with pytest.raises(ValueError, match="holds not one animal"):
        build_world("tutorial", area_share=1e-9)
    data = load_world("tutorial")
    check_size(data, 1.0, 1e4, 24.0)
    with pytest.raises(ValueError, match=r"animals need about .* GB, this machine has .*; change --area"):
        check_size(data, 1e9, 1e4, 24.0)
    with pytest.raises(ValueError, match="records need about"):
        check_size(data, 1.0, 1e15, 24.0)


@pytest.mark.parametrize(
    ("table", "key", "value", "message"),
    [
        ("settings", "plant_efficiency", 50, "0 to 1"),
        ("landscape", "rain_noise", -1, "0 to 3"),
        ("ground", "dt_h", 1e6, "to 730.5"),
        ("foods.clover", "reserve", 2, "0 to 1"),
        ("animals.rabbit", "green", -0.5, "0 to 1"),
        ("animals.rabbit", "half", 0, "1e-06"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_its_range(table, key, value, message):
    raw = {"format": 1, "name": "tutorial", "grade": "unverified", "ground": {"width_km": 1, "height_km": 1}}
    place = raw
    for part in table.split("."):
        place = place.setdefault(part, {})
    place[key] = value
    with pytest.raises(ValueError, match=r"^world: .* is impossible; choose") as error:
        parse_world(raw)
    assert f"{table}.{key} {value:g} " in str(error.value)
    assert message in str(error.value)


def test_the_world_of_the_documents_lives(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "twin.md").read_text("utf-8")
    for start, name in (("```toml\nformat", "w.toml"), ("```text\npredator", "web.csv")):
        _, _, content = text[text.index(start) :].partition("\n")
        (tmp_path / name).write_text(content[: content.index("```")])
    world = build_world(tmp_path / "w.toml", dt_h=24.0)
    assert world.counts().tolist() == [200, 2]
    step(world)


FINGERPRINTS = {
    "tutorial": "bfdb2018666b654b",
    "savanna": "1046bce3861b422b",
    "island": "ff7f7b96b3eb62fc",
    "galapagos": "177877c8b6152069",
    "post": "ad7dd4270b7c4ae4",
}


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_world_keeps_the_fingerprint_by_which_older_checkpoints_know_it(name):
    area = 0.01 if name == "savanna" else 0.1 if name == "island" else 0.2
    assert build_world(name, seed=3, area_share=area).fingerprint() == FINGERPRINTS[name]


def test_a_scenario_keeps_the_fingerprint_by_which_older_checkpoints_know_it():
    drought = {"kind": "drought", "rain": 0.4, "from_year": 0, "to_year": 1, "box_km": [0, 0, 1, 1]}
    disease = {"kind": "disease", "species": "rabbit", "infections_per_day": 1, "illness_days": 5, "lethality": 0.5}
    scenario = parse_scenario({"version": 1, "intervention": [drought, disease | {"from_year": 0}]})
    world = build_world("tutorial", seed=3, area_share=0.2)
    attach(world, scenario, 8766.0)
    assert world.fingerprint() == "4802956abf88b661"
