"""What a plan says of a step is what torch finds in a real one."""

from __future__ import annotations

import importlib.util
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, mm_flop

from linnaea.model.formats.open_clip_config import read_config
from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.model.graphs.vision_transformer import VisionConfig
from linnaea.train.clip.gradient_caching import cached_backward
from linnaea.train.clip.losses import distillation_loss, info_nce, replay_loss
from linnaea.train.clip.planning import accelerators, plan, plan_text
from linnaea.train.clip.planning.cost_model import (
    Sequences,
    StepShape,
    count_activation_bytes,
    count_block_flops,
    count_memory_bytes,
    count_parameters,
    count_step_flops,
)
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.clip.towers import PART, ClipModel, pack_texts

ROOT = Path(__file__).resolve().parents[3]
VISION = VisionConfig(size=32, patch=8, width=64, n_layers=3, n_heads=2, dim=24)
TEXT = TextConfig(n_tokens=100, context=12, width=48, n_layers=2, n_heads=3, mlp_ratio=4, dim=24, activation="gelu")
IDS = [[1, 5, 9, 2], [1, 7, 2], [1, 5, 9, 2], [1, 4, 4, 4, 4, 6, 2], [1, 8, 2]]
REPLAYED_IDS = [[1, 3, 2], [1, 6, 6, 2]]
DISTINCT = [3, 3, 4, 7, 3, 4]  # of both, the same text of one kind once


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def step_of(model, *, replayed=True):
    """The loss of five organisms, and of two replayed pairs."""
    images = torch.zeros(7, 32, 32, 3, dtype=torch.uint8)
    if not replayed:
        return info_nce(*model(images[:5], pack_texts(IDS)))
    return replay_loss(*model(images[:5], pack_texts(IDS), (images[5:], pack_texts(REPLAYED_IDS))))


def shape_of(**more) -> StepShape:
    whole = {"vision": VISION, "text": TEXT, "pairs": 5, "replayed": 2, "texts": Sequences.of(DISTINCT)}
    return StepShape(**(whole | more))


def counted(work) -> int:
    """Operations as torch counts them, attention in its plain form: two products, and four for the gradients.

    torch knows the addition of a product, but not in place.
    """
    in_place = {torch.ops.aten.addmm_: lambda _total, *sides, **_more: mm_flop(*sides)}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("second", [False, True])
def test_planned_parameters_are_those_of_the_model(second):
    model = ClipModel(VISION, TEXT, replay=second)
    planned = count_parameters(VISION, TEXT, replay=second)
    assert planned["image tower"] == sum(p.numel() for p in model.visual.parameters())
    assert sum(planned.values()) == sum(p.numel() for p in model.parameters())


def test_a_block_of_one_token_is_its_matrices():
    one_layer = replace(TEXT, n_layers=1)
    w, h = 48, 192
    forward, _ = count_block_flops(one_layer, Sequences.of([1]))
    assert forward == 2 * (w * 3 * w + w * w + 2 * w * h) + 4 * w


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("replayed", [False, True])
def test_planned_operations_are_those_of_a_real_step(checkpointing, replayed):
    model = ClipModel(VISION, TEXT, replay=replayed)
    model.set_checkpointing(checkpointing)
    if replayed:
        shape = shape_of(checkpointing=checkpointing)
    else:
        shape = shape_of(checkpointing=checkpointing, replayed=0, texts=Sequences.of(DISTINCT[:4]))
    assert counted(lambda: step_of(model, replayed=replayed).backward()) == count_step_flops(shape).computed


def test_planned_operations_of_gradient_caching_are_those_of_a_real_step():
    model = ClipModel(VISION, TEXT)
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    parts = [[[1, 5, 2], [1, 6, 2]], [[1, 7, 8, 2], [1, 2]]]

    def work():
        cached_backward(lambda ids: model(images, pack_texts(ids)), parts, info_nce)

    shape = shape_of(pairs=4, replayed=0, texts=Sequences.of([3, 3, 4, 2]), micro_batch=2)
    assert counted(work) == count_step_flops(shape).computed


# A teacher of one block a tower: four patches of 16 x 16 and the class token, texts of at most 12 tokens.
TEACHER = (
    VisionConfig(size=32, patch=16, width=8, n_layers=1, n_heads=1, dim=6),
    TextConfig(n_tokens=100, context=12, width=4, n_layers=1, n_heads=1, mlp_ratio=4, dim=6, activation="gelu"),
)


def test_a_teachers_operations_and_weights_are_those_of_a_count_by_hand():
    shape = shape_of(replayed=0, texts=Sequences.of([3, 7]), taught=Sequences.of([3, 7]), teacher=TEACHER)
    # of five images: 4 patches of 768 numbers; keys and values of 5 tokens; query, attention, output and two layers of
    # one
    image = 2 * 4 * 768 * 8 + 2 * 5 * 8 * 16 + 2 * 8 * 8 + 4 * 5 * 8 + 2 * 8 * 8 + 2 * 2 * 8 * 32 + 2 * 8 * 6
    # of two texts with 3 and 7 tokens, each once
    text = 2 * 10 * 4 * 8 + 4 * 10 * 4 + 2 * (2 * 4 * 4 + 2 * 4 * 4 + 2 * 2 * 4 * 16 + 2 * 4 * 6)
    assert count_step_flops(shape).teacher == 5 * image + text
    assert count_step_flops(shape_of()).teacher == 0
    towers = ClipModel(*TEACHER)
    planned, plain = count_memory_bytes(shape), count_memory_bytes(shape_of(replayed=0, texts=Sequences.of([3, 7])))
    assert planned["teacher"] == sum(p.nbytes for p in towers.parameters())
    assert planned == plain | {"teacher": planned["teacher"]}


def test_planned_operations_of_a_distillation_are_those_of_a_real_step():
    model, teacher = ClipModel(VISION, TEXT), ClipModel(*TEACHER).requires_grad_(False)
    images, texts = torch.zeros(5, 32, 32, 3, dtype=torch.uint8), pack_texts(IDS)

    def work():
        with torch.no_grad():
            taught = teacher(images, texts)
        vectors = model(images, texts)
        (info_nce(*vectors) + distillation_loss(*vectors, *taught)).backward()

    own = Sequences.of(DISTINCT[:4])
    assert counted(work) == count_step_flops(shape_of(replayed=0, texts=own, taught=own, teacher=TEACHER)).computed


def test_the_plan_says_what_the_teacher_adds(tmp_path):
    towers = ROOT / "recipes" / "towers" / "vit-b-16.json"
    (tmp_path / "open_clip_config.json").write_text(towers.read_text())
    plain, taught = (
        plan.plan_run(small_recipe(tmp_path, **more), lengths=[20]) for more in ({}, {"teacher": tmp_path})
    )
    assert taught.step_s > plain.step_s
    (line,) = [line for line in plan_text.format_plan(taught) if line.startswith("teacher")]
    assert "149.6 M more, forward only" in line
    assert any("teacher 0.598" in line for line in plan_text.format_plan(taught) if "moments" in line)
    assert not any("teacher" in line for line in plan_text.format_plan(plain))
    with pytest.raises(
        FileNotFoundError, match=r"teacher .*gone holds no open_clip_config.json; .* give another folder with --teacher"
    ):
        plan.plan_run(small_recipe(tmp_path, teacher=tmp_path / "gone"), lengths=[20])


def test_useful_operations_do_not_depend_on_what_is_computed_again():
    plain, again = count_step_flops(shape_of()), count_step_flops(shape_of(checkpointing=True, micro_batch=2))
    assert plain.useful == again.useful
    assert plain.computed < again.computed


def test_planned_weights_gradients_and_moments_are_those_of_the_optimizer():
    model = ClipModel(VISION, TEXT, replay=True)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    step_of(model).backward()
    optimizer.step()
    planned = count_memory_bytes(shape_of(), replay=True)
    assert planned["weights"] == sum(p.nbytes for p in model.parameters())
    assert planned["gradients"] == sum(p.grad.nbytes for p in model.parameters())
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert planned["moments"] == sum(moment.nbytes for moment in moments)


def kept_bytes(model, images, ids, precision) -> int:
    """Bytes that a forward pass holds for the gradient, each piece of memory once, weights left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor is held, so that no place is used twice
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        _kept = model(images, pack_texts(ids))
    return sum(size for size, _ in found.values())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_planned_activations_are_near_those_that_torch_keeps(checkpointing, precision):
    vision = VisionConfig(size=64, patch=8, width=128, n_layers=6, n_heads=2, dim=16)
    text = TextConfig(n_tokens=50, context=40, width=64, n_layers=4, n_heads=2, mlp_ratio=4, dim=16, activation="gelu")
    model = ClipModel(vision, text)
    model.set_checkpointing(checkpointing)
    ids = [[1, *[k] * 30, 2] for k in range(3, 35)]
    images = torch.zeros(32, 64, 64, 3, dtype=torch.uint8)
    shape = StepShape(
        vision=vision,
        text=text,
        pairs=32,
        texts=Sequences.of(map(len, ids)),
        checkpointing=checkpointing,
        precision=precision,
    )
    # in bfloat16 products keep a copy of their weights; of blocks that are made again none is kept
    copied = precision == "bf16" and not checkpointing
    weights_at_work = 2 * sum(p.numel() for p in model.parameters() if p.ndim > 1) if copied else 0
    real = kept_bytes(model, images, ids, precision) - weights_at_work
    assert count_activation_bytes(shape)["activations"] == pytest.approx(real, rel=0.15)


def test_the_plan_knows_how_many_images_are_computed_again_at_a_time():
    assert shape_of().part == PART


def small_recipe(tmp_path, **more) -> ClipRecipe:
    whole = {"name": "small", "towers": ROOT / "recipes" / "towers" / "vit-b-16.json", "batch": 64, "steps": 1000}
    return ClipRecipe(**(whole | {"organisms": SamplesConfig(drawn=8)} | more))


def test_time_is_operations_by_rate(tmp_path):
    found = plan.plan_run(small_recipe(tmp_path), gpus=2, gpu_kind="a100", utilisation=0.5, lengths=[20, 30])
    assert found.step_s == pytest.approx(found.flops.computed / 156e12)
    assert found.run_s == pytest.approx(1000 * found.step_s)
    slow = replace(found, kind=replace(found.kind, bandwidth=28e9))
    n_parameters = 149_620_737
    assert slow.step_s == pytest.approx(found.step_s + n_parameters / 1e9)
    assert found.shape.pairs == 32
    assert found.shape.texts == Sequences(n=32, tokens=800, squares=32 * 650)


def test_sharing_and_keeping_inputs_alone_lower_memory():
    def total(**more):
        return sum(count_memory_bytes(shape_of(n_ranks=4, **more)).values())

    assert total(sharded=True) < total()
    assert total(checkpointing=True) < total()
    assert total(micro_batch=2) < total()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gpu_kind": "h1000"}, "h1000.*h100"),
        ({"gpus": 3}, "batch 64 must be a multiple of 3"),
        ({"gpus": 0}, "gpus 0"),
        ({"gpus": 2, "gpu_kind": "cpu"}, "gpu-kind cpu means only this machine, but gpus is 2"),
        ({"utilisation": 45.0}, "utilisation 45.0"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_line(tmp_path, asked, said):
    with pytest.raises(ValueError, match=said) as error:
        plan.plan_run(small_recipe(tmp_path), lengths=[10], **asked)
    assert "\n" not in str(error.value)


def test_texts_are_drawn_from_real_lineages(inat):
    texts = plan.draw_texts(SamplesConfig(drawn=8, types=("taxonomic",)), 20)
    assert all(text.startswith("a photo of ") and len(text.split()) >= 9 for text in texts)
    assert len(set(texts)) == 20
    lengths = plan.measure_text_lengths(SamplesConfig(drawn=8), 77, n=50)
    assert 5 < sum(lengths) / 50 < 50
    assert max(lengths) <= 77


def test_a_processor_is_measured():
    kind = accelerators.find_accelerator("cpu", "fp32")
    assert kind.peak > 1e8
    assert kind.memory > 1e8


def test_every_recipe_of_bioclip_has_a_plan_on_its_own_gpus():
    recipes = load(ROOT / "recipes" / "bioclip2.py")
    sizes = {"bioclip2_vitl14": 428.4, "bioclip25_vith14": 987.4, "bioclip_vitb16": 149.6}
    assert set(recipes.RECIPES) == set(sizes)
    for name, millions in sizes.items():
        recipe = getattr(recipes, name)()
        found = plan.plan_run(recipe, gpus=32, gpu_kind="h100", lengths=[20, 40])
        lines = plan_text.format_plan(found)
        assert f"{millions} M" in next(line for line in lines if line.startswith("parameters"))
        assert "fits" in next(line for line in lines if line.startswith("memory")), name


def test_the_recipe_of_bioclip_2_is_as_published():
    recipe = load(ROOT / "recipes" / "bioclip2.py").bioclip2_vitl14()
    assert (recipe.batch, recipe.replay_batch) == (90_112, 10_240)
    assert (recipe.learning_rate, recipe.warm_up, recipe.weight_decay) == (1e-4, 1875, 0.2)
    assert recipe.steps * recipe.batch == pytest.approx(30 * 214e6, rel=0.01)
    towers = read_config(recipe.towers)
    assert (towers.vision.n_layers, towers.vision.width, towers.text.width, towers.text.dim) == (24, 1024, 768, 768)


def test_durations_read_as_people_say_them():
    found = [plan_text.format_duration(seconds) for seconds in (0.0312, 8.2, 119, 7100, 90_000, 846_720)]
    assert found == ["0.031 s", "8.2 s", "119 s", "118.3 min", "25.0 h", "9.8 days"]


@pytest.mark.parametrize(
    ("value", "said"), [(0.771, "0.771"), (8.2, "8.2"), (1509.2, "1,509"), (1_234_567.0, "1,234,567"), (5e-5, "5e-05")]
)
def test_numbers_read_as_people_write_them(value, said):
    assert plan_text.format_number(value) == said


def test_a_plan_that_does_not_fit_names_the_largest_micro_batch_that_does(tmp_path):
    def planned(memory, **changes):
        found = plan.plan_run(small_recipe(tmp_path, **changes), lengths=[20])
        return replace(found, kind=replace(found.kind, memory=memory))

    large = planned(5e9, batch=512)
    most = plan.find_largest_micro_batch(large)
    assert f"DOES NOT FIT; --micro-batch {most} or smaller fits" in "\n".join(plan_text.format_plan(large))
    for micro_batch, verdict in ((most, "fits"), (most + 1, "DOES NOT FIT")):
        lines = plan_text.format_plan(planned(5e9, batch=512, micro_batch=micro_batch))
        assert verdict in next(line for line in lines if line.startswith("memory"))
    assert "no --micro-batch fits; use --activation-checkpointing" in "\n".join(plan_text.format_plan(planned(1e9)))


def options_of_train() -> set[str]:
    from linnaea import cli
    from linnaea.options import read_options

    config_class, _ = cli.STAGES["train"].load()
    return {flag for option in read_options(config_class) for flag in option.flags}


def test_the_slurm_script_is_sound_and_its_options_are_those_of_the_command():
    path = ROOT / "launch" / "slurm.sh"
    assert subprocess.run(["bash", "-n", path], check=False, timeout=300).returncode == 0
    call = path.read_text(encoding="utf-8").split("-m linnaea train")[1].split("&")[0]
    used = {word for word in call.split() if word.startswith("--")}
    assert used == {"--resume"}
    assert used <= options_of_train()


def test_the_slurm_script_without_a_recipe_says_how_it_is_called():
    done = subprocess.run(
        ["bash", ROOT / "launch" / "slurm.sh"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    assert "usage: sbatch" in done.stderr


def test_the_ray_script_hands_on_what_it_does_not_know():
    script = load(ROOT / "launch" / "ray_train.py")
    options, arguments = script.parse(["--workers", "32", "bioclip2_vitl14", "--out", "model", "--batch", "64"])
    assert (options.workers, options.cpu_only) == (32, False)
    handed = script.make_command(arguments)
    assert handed == ["train", "bioclip2_vitl14", "--out", "model", "--batch", "64", "--resume"]
    assert {"--out", "--resume"} <= options_of_train()


def test_the_ray_script_without_a_recipe_says_so(capsys):
    with pytest.raises(SystemExit):
        load(ROOT / "launch" / "ray_train.py").parse(["--workers", "2"])
    assert "the recipe is missing" in capsys.readouterr().err


def test_the_tables_of_the_training_document_are_current():
    from linnaea.train.commands.docs_writer import rewrite

    written = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert written == rewrite(written), "run `make docs`"


def test_a_document_without_its_heading_is_not_rewritten():
    from linnaea.train.commands.docs_writer import rewrite

    with pytest.raises(ValueError, match="Every field of a recipe"):
        rewrite("# Training\n")


def test_the_recipe_of_the_training_document_is_one(tmp_path):
    written = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (tmp_path / "flora.py").write_text(written.split("```python\n")[1].split("```")[0], encoding="utf-8")
    recipe = load(tmp_path / "flora.py").flora()
    assert isinstance(recipe, ClipRecipe)
    assert recipe.organisms.split == "train"


def test_a_kind_that_nobody_asked_for_is_the_recipes_own_and_is_said_to_be_assumed(tmp_path, inat):
    shards = small_recipe(tmp_path, organisms=SamplesConfig(shards=("a.tar",)))
    kinds = [
        accelerators.default_accelerator(recipe, gpus)
        for recipe, gpus in ((shards, 1), (replace(shards, device="cpu"), 1))
    ]
    assert kinds == ["h100", "cpu"]
    assert [accelerators.default_accelerator(small_recipe(tmp_path), gpus) for gpus in (1, 2)] == ["cpu", "h100"]
    said = []
    for recipe, asked in ((shards, {}), (small_recipe(tmp_path), {}), (shards, {"gpu_kind": "h100"})):
        said.append(recipe.plan(**asked)[0])
    assert said[0].endswith("small on 1 x h100 (assumed; --gpu-kind cpu for this machine's processor, or another GPU)")
    assert said[1].endswith("on 1 x cpu, this machine's processor (assumed; --gpu-kind h100 or another for a GPU)")
    assert said[2].endswith("on 1 x h100")


def test_a_plan_trains_nothing_and_a_recipe_without_towers_has_none(tmp_path, capsys, inat, monkeypatch):
    from linnaea.train.commands.train import TrainConfig, main

    monkeypatch.chdir(tmp_path)
    asked = {"recipes": ROOT / "recipes", "plan": True, "out": tmp_path / "out"}
    assert main(TrainConfig(recipe="bioclip2_vitl14", gpus=32, gpu_kind="h200", **asked)) == 0
    assert "32 x h200" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has no plan; its 3,164 steps of 64 crops take"):
        main(TrainConfig(recipe="bundled", **asked))
    assert not list(tmp_path.iterdir())
