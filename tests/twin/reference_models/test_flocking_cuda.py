"""The kernels on CUDA: in numba's simulator against the loop, and as machine code for a device that is not here."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")
cuda = pytest.importorskip("numba.cuda")

import linnaea.twin
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.engine import neighbours
from linnaea.twin.engine.agents import Wishes
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import World
from linnaea.twin.reference_models import flocking_cuda as device
from linnaea.twin.reference_models import flocking_rules
from linnaea.twin.reference_models.birth_death import DeliverLitters, Generation
from linnaea.twin.reference_models.flocking_rules import Align
from linnaea.twin.reference_models.metapopulation import Settle
from linnaea.twin.reference_models.patch_foraging import ChoosePatch, ForagePatches
from linnaea.twin.rules.disease import infect, set_disease
from linnaea.twin.rules.motion import Flee, Move
from twin_worlds import busy_world, found

H100 = (9, 0)
# Both loops over the same worlds; the simulator must be asked for before numba is imported.
BESIDE = """
import json, sys
import numpy as np
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.reference_models.flocking_cuda import CudaFlock
from linnaea.twin.reference_models.flocking_rules import Align, Flock
from linnaea.twin.engine.world import World
from linnaea.twin.engine.step import step
from linnaea.twin.rules.motion import HomeRange, Move, Walk
from twin_worlds import by_key, found

KINDS = {
    "flock": [Flock(radius_m=4.0, speed_m_h=1.0, separation_m=2.0)],
    "align": [Align(radius_m=3.0, speed_m_h=0.5, noise_rad=2.0)],
    "walk": [Walk(speed_m_h=2.0, mean_cosine=0.6, exponential=True), HomeRange(range_m=9.0)],
}

def world(kind, torus):
    space = Space(width_m=20, height_m=14, torus=torus, cell_m=2.5)
    made = World(space=space, rules=[*KINDS[kind], Move()], capacity=8, seed=11)
    slots = found(made, 60, 0)
    made.agents.key[slots] = np.random.default_rng(1).permutation(60) + 1
    made.agents.remove(slots[::7])
    made.agents.x[slots[40:]] = made.agents.y[slots[40:]] = 3.0
    return made

off = {}
for kind in KINDS:
    for torus in (True, False):
        here, there = world(kind, torus), world(kind, torus)
        before = by_key(there)["x"].copy()
        flock = CudaFlock(there)
        flock.step(2)
        flock.step()
        assert (by_key(there)["x"] == before).all()
        assert flock.fetch() is there and there.step == 3
        for _ in range(3):
            step(here)
        a, b = by_key(here), by_key(there)
        parts = []
        for name, length in {"x": 20, "y": 14, "dir_x": 99, "dir_y": 99}.items():
            apart = np.abs(a[name] - b[name])
            parts.append(float(np.minimum(apart, length - apart if torus else apart).max()))
        moved = float(np.abs(b["x"] - before).mean())
        off[f"{kind} {torus}"] = [max(parts), moved]
print(json.dumps(off))
"""


def test_a_flock_in_the_simulator_is_the_loop_s():
    paths = [Path(linnaea.twin.__file__).parents[2], Path(__file__).parents[2]]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run(
        [sys.executable, "-c", BESIDE], capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    off = json.loads(done.stdout.splitlines()[-1])
    assert len(off) == 6
    for name, (most, moved) in off.items():
        assert most < 1e-5, name
        assert moved > 0.1, name


@pytest.fixture
def absent_h100(monkeypatch):
    """Compiling for an H100 as if one were here; skips where that cannot be."""
    if cuda.implementation != "NVIDIA":
        pytest.skip("no compiler for CUDA: pip install 'linnaea[cuda]'")
    dispatcher = importlib.import_module("numba.cuda.dispatcher")
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=H100))
    try:
        cuda.compile_ptx(lambda: None, (), cc=H100)
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"numba-cuda does not compile here: {str(error).splitlines()[0]}")


def empty_world():
    """A world without rules and animals."""
    return World(space=Space(width_m=20, height_m=14, cell_m=2.5), rules=[], capacity=8)


def run_every_kernel():
    """Small worlds that call every kernel on the processor, which tells the types of its arguments."""
    world = build_world("savanna", area_share=0.03, dt_h=6.0, seed=5)
    set_disease(world, {world.species[0]: 1.0}, infection_per_h=0.05, illness_d=10.0, lethality=0.5)
    infect(world, world.agents.slots()[world.agents.species[world.agents.slots()] == 0][:9])
    worlds = [world, busy_world(strict=False)]
    space = Space(width_m=20, height_m=14, cell_m=2.5)
    for rules in (
        [Align(radius_m=3.0, speed_m_h=0.5, noise_rad=2.0), Move()],
        [
            ForagePatches(half_h=1.0, travel_h=1.0),
            Generation(fertility=(1.0,) * 200, survival=(1.0,) * 200),
            DeliverLitters(),
            Settle(),
        ],
    ):
        world = World(space=space, rules=rules, capacity=8, seed=11, traits=("stay_h",))
        found(world, 90, 0)
        worlds.append(world)
    patches = empty_world()
    patches.add_field("food", np.ones((2, 3)))
    patches.add_rule(ChoosePatch(layer="food", look_per_h=1.0))
    found(patches, 9, 0)
    for world in (*worlds, patches):
        for _ in range(3):
            step(world)


def every_kernel():
    """Every `@kernel` of the twin, by name."""
    folder = Path(linnaea.twin.__file__).parent
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if "\n@kernel\n" not in path.read_text():
            continue
        module = importlib.import_module(".".join(["linnaea.twin", *path.relative_to(folder).with_suffix("").parts]))
        for name, value in vars(module).items():
            own = hasattr(value, "py_func") and value.__module__ == module.__name__
            if own and value.targetoptions.get("parallel"):
                found[f"{path.stem}.{name}"] = value
    return found


def test_every_kernel_compiles_for_an_h100(absent_h100):
    run_every_kernel()
    kernels = every_kernel()
    assert {"flocking_rules._sum_runs", "motion._move", "birth_death._infect"} <= set(kernels)
    assert len(kernels) > 20
    assert not [name for name, kernel in kernels.items() if not kernel.nopython_signatures], "not called"
    for name, kernel in kernels.items():
        ptx, _ = cuda.compile_ptx(device.lift(kernel).py_func, kernel.nopython_signatures[0].args, cc=H100)
        assert ".target sm_90" in ptx, name
        assert ".entry" in ptx, name
    from numba import typeof, types

    i8, i4, f4, b1 = types.int64, types.int32, types.float32, types.boolean
    grid = typeof(empty_world().cells.grid)
    wishes = typeof(Wishes(*3 * (np.zeros(1, np.float32),)))
    own = {
        device.lift(device._count_cells): (b1[::1], f4[::1], f4[::1], i8, grid, i4[::1], i8[::1], wishes),
        device._add_up_counts: (i8[::1], i8[::1], i8[::1]),
        device.lift(device._fill_cells): (i4[::1], i8, i8[::1], i8[::1]),
    }
    for kernel, arguments in own.items():
        ptx, _ = cuda.compile_ptx(kernel.py_func, arguments, cc=H100)
        assert ".entry" in ptx


def test_a_loop_of_one_thread_is_not_lifted():
    with pytest.raises(ValueError, match="_start_cells is a loop of one thread"):
        device.lift(neighbours._start_cells)


def world_of(*rules):
    world = World(space=Space(width_m=20, height_m=14), rules=list(rules))
    found(world, 5, 0)
    return world


def test_what_does_not_run_on_a_device_is_refused_in_one_line(monkeypatch):
    with pytest.raises(
        ValueError, match=r"^Flee: this rule does not run on a GPU; Flock, Align, Walk, HomeRange, Move do$"
    ):
        device.CudaFlock(world_of(Move(), Flee(prey=(0,), predators=(0,), radius_m=1.0, flight_m_h=1.0)))
    with pytest.raises(ValueError, match="no animals"):
        device.CudaFlock(World(space=Space(width_m=20, height_m=14), rules=[Move()]))
    monkeypatch.setattr(device.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device.cuda, "implementation", "Built-in", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"linnaea\[cuda\]"):
        device.CudaFlock(world_of(Move()))
    monkeypatch.setattr(device.cuda, "implementation", "NVIDIA")
    with pytest.raises(ValueError, match="no CUDA device is at hand"):
        device.CudaFlock(world_of(Move()))


def test_gather_is_lifted_once():
    assert device.lift(flocking_rules.gather) is device.lift(flocking_rules.gather)
