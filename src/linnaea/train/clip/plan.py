"""`linnaea train --plan RECIPE`: what a recipe will cost, before anything runs: operations, memory, steps, time."""

from __future__ import annotations

import os
import random
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from linnaea.model.formats.open_clip_config import read_config
from linnaea.train.clip.cost_model import Sequences, StepFlops, StepShape, memory_bytes, step_flops, tower_parameters
from linnaea.train.clip.input_checks import check_towers, read_teacher
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig

CPU, USUAL_GPU = "cpu", "h100"
N_TEXTS = 4096
PRODUCT_SIDE, N_COPIED, PRODUCT_TRIES = 2048, 1 << 25, 5
# AdamW reads weight, gradient and both moments, and writes all but the gradient.
BYTES_OF_ADAMW = 28
# Of that product's rate: smaller products, and all that is no product, take their share.
CPU_SHARE = {"fp32": 0.75, "bf16": 0.4}
# The rest is left to the allocator and the libraries.
MOST_MEMORY = 0.94


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A kind of processor: operations a second at most, the share of them that is assumed, bytes of memory, and bytes a
    second that AdamW can read and write (a GPU's are so many that it does not count)."""

    peak: float
    memory: float
    bandwidth: float = float("inf")
    utilisation: float = 0.45
    about: str = "published peak of dense bf16 products"


def _gpu(peak_tflops: float, memory_gb: float) -> Accelerator:
    return Accelerator(peak=peak_tflops * 1e12, memory=memory_gb * 1e9)


# Manufacturers' figures for dense bfloat16 (half of those quoted with sparsity), as torchtitan collects them.
ACCELERATORS = {
    "a100": _gpu(312, 80),
    "h100": _gpu(989, 80),
    "h100-pcie": _gpu(756, 80),
    "h100-nvl": _gpu(835, 94),
    "h200": _gpu(989, 141),
    "b200": _gpu(2250, 180),
    "l40s": _gpu(362, 48),
    "mi300x": _gpu(1300, 192),
}


def measure_cpu(precision: str) -> Accelerator:
    """This machine: the fastest of some matrix products in the recipe's precision and of some copies, its whole memory."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, long = torch.ones(PRODUCT_SIDE, PRODUCT_SIDE, dtype=dtype), torch.ones(N_COPIED)
    copy = torch.empty_like(long)
    product_s = _fastest_s(lambda: a @ a)
    copy_s = _fastest_s(lambda: copy.copy_(long))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else float("inf")
    about = f"fastest {precision} product of {PRODUCT_SIDE}³ here, on {torch.get_num_threads()} threads"
    bandwidth = 2 * long.nbytes / copy_s
    peak, share = 2 * PRODUCT_SIDE**3 / product_s, CPU_SHARE[precision]
    return Accelerator(peak=peak, memory=memory, bandwidth=bandwidth, utilisation=share, about=about)


def _fastest_s(work) -> float:
    seconds = []
    for _ in range(PRODUCT_TRIES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def find_accelerator(name: str, precision: str) -> Accelerator:
    """The kind of that name. Raises ValueError naming the known ones."""
    if name == CPU:
        return measure_cpu(precision)
    if name not in ACCELERATORS:
        raise ValueError(f"unknown gpu-kind {name!r}; choose one of {', '.join((*ACCELERATORS, CPU))}")
    return ACCELERATORS[name]


def default_accelerator(recipe: ClipRecipe, gpus: int) -> str:
    """The kind that is assumed where none is asked for: this machine's processor for a recipe that is meant for one, and for
    trials on drawn pictures."""
    is_trial = bool(recipe.organisms.drawn) and gpus == 1
    return CPU if recipe.device == CPU or is_trial else USUAL_GPU


def draw_texts(samples: SamplesConfig, n: int, seed: int = 0) -> list[str]:
    """Texts as training would see them of n taxa of the default vocabulary, drawn evenly from all species."""
    from linnaea.taxonomy.name_text import taxon_text
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    vocabulary, rng = load_vocabulary(), random.Random(seed)
    taxa = [
        vocabulary.taxon(int(vocabulary.tree.leaf_node_n[rng.randrange(vocabulary.tree.n_leaves)])) for _ in range(n)
    ]
    return [samples.template.format(taxon_text(taxon, rng.choice(samples.types))) for taxon in taxa]


def text_lengths(samples: SamplesConfig, context: int, n: int = N_TEXTS) -> list[int]:
    """Tokens of `draw_texts`, the start and the end counted."""
    from linnaea.model.core.tokenizer import ClipTokenizer

    return [len(ids) for ids in ClipTokenizer(context).ids(draw_texts(samples, n))]


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a recipe costs on some processors."""

    recipe: ClipRecipe
    shape: StepShape
    flops: StepFlops
    kind_name: str
    kind: Accelerator
    utilisation: float
    mean_length: float

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        parameters = sum(tower_parameters(self.shape.vision, self.shape.text, second=self.recipe.second).values())
        adamw_s = BYTES_OF_ADAMW * parameters / self.kind.bandwidth
        return self.flops.computed / (self.utilisation * self.kind.peak) + adamw_s

    @property
    def run_s(self) -> float:
        """Seconds of the run."""
        return self.recipe.steps * self.step_s


def plan_run(
    recipe: ClipRecipe,
    *,
    gpus: int = 1,
    gpu_kind: str = USUAL_GPU,
    utilisation: float = 0.0,
    lengths: Sequence[int] = (),
) -> TrainingPlan:
    """The plan of a recipe on `gpus` processors of a kind.

    `lengths` are tokens of texts like those of the run; without them they are those of drawn lineages. Every text is
    counted as distinct, and a replayed one as long as the context: both are upper bounds.
    """
    if gpus < 1:
        raise ValueError(f"gpus {gpus} is below 1; give at least 1")
    if gpu_kind == CPU and gpus > 1:
        raise ValueError(
            f"gpu-kind cpu is this machine alone, and gpus is {gpus}; leave --gpus at 1, or give a kind of GPU"
        )
    if not 0 <= utilisation <= 1:
        raise ValueError(f"utilisation {utilisation} is not within 0..1; 0.45 is usual")
    towers = read_config(recipe.towers)
    for name in ("batch", "replay_batch"):
        if getattr(recipe, name) % gpus:
            raise ValueError(f"{name} {getattr(recipe, name)} is no multiple of {gpus} gpus; change one of the two")
    lengths = lengths or text_lengths(recipe.organisms, towers.text.context)
    pairs, replayed = recipe.batch // gpus, recipe.replay_batch // gpus
    own, teacher = Sequences.of(lengths).times(pairs / len(lengths)), read_teacher(recipe)
    texts = own + Sequences.of([towers.text.context]).times(replayed)
    shape = StepShape(
        vision=towers.vision,
        text=towers.text,
        pairs=pairs,
        replayed=replayed,
        texts=texts,
        n_ranks=gpus,
        micro_batch=recipe.micro_batch,
        checkpointing=recipe.activation_checkpointing,
        precision=recipe.precision,
        sharded=recipe.parallel == "fsdp",
        tile=recipe.tile,
        teacher=(teacher.vision, teacher.text) if teacher else None,
        taught=own if teacher else None,
    )
    kind = find_accelerator(gpu_kind, recipe.precision)
    return TrainingPlan(
        recipe=recipe,
        shape=shape,
        flops=step_flops(shape),
        kind_name=gpu_kind,
        kind=kind,
        utilisation=utilisation or kind.utilisation,
        mean_length=sum(lengths) / len(lengths),
    )


def show_duration(seconds: float) -> str:
    """Seconds as people read them: "8.2 s", "14 min", "3.5 h", "9.8 days"."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def show_number(value: float) -> str:
    """A number as people read it: 1,509 and 1,509,000 in full, below that three digits: 38.2, 0.411."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def show(plan: TrainingPlan, *, by_default: bool = False) -> list[str]:
    """The plan as lines of text; `by_default` where nobody asked for this kind of processor."""
    recipe, shape, flops, kind = plan.recipe, plan.shape, plan.flops, plan.kind
    each, n = shape.pairs + shape.replayed, shape.n_ranks
    parameters = tower_parameters(shape.vision, shape.text, second=recipe.second)
    of_towers = ", ".join(f"{name} {value / 1e6:,.1f}" for name, value in parameters.items() if value > 1)
    useful = {"images": flops.images, "texts": flops.texts, "loss": flops.loss, "teacher": flops.teacher}
    again = {"blocks": flops.checkpointing, "first pass of caching": flops.caching, "loss": flops.loss_again}
    assumed = f"{plan.utilisation:.0%} of the {kind.about}, {show_number(kind.peak / 1e12)} (assumed; --utilisation)"
    whole = f"{show_duration(plan.run_s)} on {n}" + (f", {show_duration(plan.run_s * n)} on one" if n > 1 else "")
    rows = [
        ("recipe", f"{recipe.name} on {n} x {plan.kind_name}{_show_others(plan.kind_name) if by_default else ''}"),
        ("parameters", f"{sum(parameters.values()) / 1e6:,.1f} M: {of_towers}"),
        *_show_teacher(plan),
        ("a step", f"{recipe.batch:,} organisms and {recipe.replay_batch:,} replayed; {each:,} of them a processor"),
        ("texts", f"{plan.mean_length:.1f} of {shape.text.context} tokens in the mean; padding is never computed"),
        ("useful TFLOP", f"{show_number(flops.useful / 1e12)} a step and processor: {_show_parts(useful, 1e12)}"),
        ("done again", f"{show_number((flops.computed - flops.useful) / 1e12)}: {_show_parts(again, 1e12)}"),
        *_show_memory(plan),
        ("TFLOP/s", f"{show_number(plan.utilisation * kind.peak / 1e12)}: {assumed}"),
        ("useful", f"{plan.utilisation * flops.useful / flops.computed:.0%} of that peak"),
        ("time", f"{show_duration(plan.step_s)} a step, {recipe.steps:,} steps, {whole}"),
        ("photographs", f"{show_number(each / plan.step_s)} a second to be read and decoded for each processor"),
        ("in all", f"{show_number(recipe.steps * recipe.batch / 1e6)} M organisms seen"),
    ]
    if recipe.precision != "bf16" and plan.kind_name != CPU:
        rows.append(("precision", f"{recipe.precision}, but the peak is that of bf16: it takes several times as long"))
    return [f"{name:<13} {text}" for name, text in rows]


def _show_others(kind_name: str) -> str:
    if kind_name == CPU:
        return f", this machine's processor (assumed; --gpu-kind {USUAL_GPU} or another for a GPU)"
    return f" (assumed; --gpu-kind {CPU} for this machine's processor, or another GPU)"


def _show_parts(parts: dict[str, float], unit: float) -> str:
    return ", ".join(f"{name} {show_number(value / unit)}" for name, value in parts.items() if value)


def _show_teacher(plan: TrainingPlan) -> list[tuple[str, str]]:
    """What a teacher adds, where there is one."""
    if plan.shape.teacher is None:
        return []
    parameters = sum(tower_parameters(*plan.shape.teacher).values())
    return [
        ("teacher", f"{plan.recipe.teacher}: {parameters / 1e6:,.1f} M more, forward alone, whole on every processor")
    ]


def _show_memory(plan: TrainingPlan) -> list[tuple[str, str]]:
    """Memory as the recipe has it, part by part, and what the other ways would take."""
    shape, second, most = plan.shape, plan.recipe.second, plan.kind.memory
    parts = memory_bytes(shape, second=second)
    total = sum(parts.values())
    verdict = "fits" if total <= MOST_MEMORY * most else f"DOES NOT FIT; {_show_remedy(plan)}"
    rows = [
        ("memory, GB", f"{show_number(total / 1e9)} a processor, which has {most / 1e9:,.0f}: {verdict}"),
        ("", _show_parts(parts, 1e9)),
    ]
    for name, sharded in (("ddp", False), ("fsdp", True)):
        kept, every = (
            sum(memory_bytes(replace(shape, sharded=sharded, checkpointing=on), second=second).values()) / 1e9
            for on in (True, False)
        )
        rows.append(("", f"{name}: {show_number(kept)} with --activation-checkpointing, {show_number(every)} without"))
    return rows


def largest_micro_batch(plan: TrainingPlan) -> int:
    """The most pairs held at once whose step fits into the processor's memory; 0 if none do."""

    def fits(pairs: int) -> bool:
        parts = memory_bytes(replace(plan.shape, micro_batch=pairs), second=plan.recipe.second)
        return sum(parts.values()) <= MOST_MEMORY * plan.kind.memory

    # Memory grows with the pairs, so all up to some number fit.
    return bisect_left(range(1, plan.shape.pairs + plan.shape.replayed + 1), True, key=lambda pairs: not fits(pairs))


def _show_remedy(plan: TrainingPlan) -> str:
    largest = largest_micro_batch(plan)
    if largest:
        return f"--micro-batch {largest} does, and what is smaller"
    keep = "" if plan.shape.checkpointing else "--activation-checkpointing, "
    return f"no --micro-batch does; {keep}--parallel fsdp on more, or smaller towers"


def _why_none(recipe) -> str:
    """What is known of the time of a recipe without towers, measured on two processor cores."""
    steps = sum(stage.images // config.batch for config in recipe.finetune for stage in config.stages)
    if not steps:
        return "it trains a head alone"
    return f"its {steps:,} steps of 64 crops take 0.6 s each at 160 pixels and 1.2 s at 224, on two processor cores"


def main(recipe: ClipRecipe, *, gpus: int = 1, gpu_kind: str = "", utilisation: float = 0.0) -> int:
    """Prints the plan, of the usual kind of processor where none is given; exit code 0."""
    if not hasattr(recipe, "towers"):
        raise ValueError(f"recipe {recipe.name!r} trains no towers, so it has no plan; {_why_none(recipe)}")
    check_towers(recipe.towers)
    found = plan_run(recipe, gpus=gpus, gpu_kind=gpu_kind or default_accelerator(recipe, gpus), utilisation=utilisation)
    print("\n".join(show(found, by_default=not gpu_kind)))
    return 0
