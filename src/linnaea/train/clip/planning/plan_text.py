"""The plan of a recipe as lines of text."""

from __future__ import annotations

from dataclasses import replace

from linnaea.train.clip.config import ClipConfig
from linnaea.train.clip.input_checks import check_towers
from linnaea.train.clip.planning.accelerators import CPU, USUAL_GPU, default_accelerator
from linnaea.train.clip.planning.cost_model import count_memory_bytes, count_parameters
from linnaea.train.clip.planning.plan import USABLE_MEMORY, TrainingPlan, find_largest_micro_batch, plan_run


def describe_plan(recipe: ClipConfig, *, gpus: int = 1, gpu_kind: str = "", utilisation: float = 0.0) -> list[str]:
    """Plan a recipe, on the default kind of processor if none is given, and return the plan as lines of text."""
    check_towers(recipe.towers)
    kind = gpu_kind or default_accelerator(recipe, gpus)
    found = plan_run(recipe, gpus=gpus, gpu_kind=kind, utilisation=utilisation)
    return format_plan(found, by_default=not gpu_kind)


def format_duration(seconds: float) -> str:
    """Format seconds for reading: "8.2 s", "14 min", "3.5 h", "9.8 days"."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def format_number(value: float) -> str:
    """Format a number for reading: from 1,000 in full (1,509,000), below with three digits (38.2, 0.411)."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def format_plan(plan: TrainingPlan, *, by_default: bool = False) -> list[str]:
    """Return the plan as lines of text. `by_default` marks a kind of processor that nobody asked for."""
    recipe, shape, flops, kind = plan.recipe, plan.shape, plan.flops, plan.kind
    each, n = shape.pairs + shape.replayed, shape.n_ranks
    parameters = count_parameters(shape.vision, shape.text, replay=recipe.has_replay)
    of_towers = ", ".join(f"{name} {value / 1e6:,.1f}" for name, value in parameters.items() if value > 1)
    useful = {"images": flops.images, "texts": flops.texts, "loss": flops.loss, "teacher": flops.teacher}
    again = {"blocks": flops.checkpointing, "first pass of caching": flops.caching, "loss": flops.loss_again}
    assumed = f"{plan.utilisation:.0%} of the {kind.about}, {format_number(kind.peak / 1e12)} (assumed; --utilisation)"
    whole = f"{format_duration(plan.run_s)} on {n}" + (f", {format_duration(plan.run_s * n)} on one" if n > 1 else "")
    rows = [
        ("recipe", f"{recipe.name} on {n} x {plan.kind_name}{_explain_default(plan.kind_name) if by_default else ''}"),
        ("parameters", f"{sum(parameters.values()) / 1e6:,.1f} M: {of_towers}"),
        *_format_teacher(plan),
        ("a step", f"{recipe.batch:,} organisms and {recipe.replay_batch:,} replayed; {each:,} of them per processor"),
        ("texts", f"{plan.mean_length:.1f} of {shape.text.context} tokens on average; padding is never computed"),
        ("useful TFLOP", f"{format_number(flops.useful / 1e12)} per step and processor: {_format_parts(useful, 1e12)}"),
        ("recomputed", f"{format_number((flops.computed - flops.useful) / 1e12)}: {_format_parts(again, 1e12)}"),
        *_format_memory(plan),
        ("TFLOP/s", f"{format_number(plan.utilisation * kind.peak / 1e12)}: {assumed}"),
        ("useful", f"{plan.utilisation * flops.useful / flops.computed:.0%} of that peak"),
        ("time", f"{format_duration(plan.step_s)} per step, {recipe.steps:,} steps, {whole}"),
        ("photographs", f"{format_number(each / plan.step_s)} per second to be read and decoded for each processor"),
        ("total", f"{format_number(recipe.steps * recipe.batch / 1e6)} M organisms seen"),
    ]
    if recipe.precision != "bf16" and plan.kind_name != CPU:
        rows.append(
            ("precision", f"{recipe.precision}, but the peak is that of bf16: the run takes several times as long")
        )
    return [f"{name:<13} {text}" for name, text in rows]


def _explain_default(kind_name: str) -> str:
    if kind_name == CPU:
        return f", this machine's processor (assumed; --gpu-kind {USUAL_GPU} or another for a GPU)"
    return f" (assumed; --gpu-kind {CPU} for this machine's processor, or another GPU)"


def _format_parts(parts: dict[str, float], unit: float) -> str:
    return ", ".join(f"{name} {format_number(value / unit)}" for name, value in parts.items() if value)


def _format_teacher(plan: TrainingPlan) -> list[tuple[str, str]]:
    """Return the row of the teacher, if there is one."""
    if plan.shape.teacher is None:
        return []
    parameters = sum(count_parameters(*plan.shape.teacher).values())
    return [
        ("teacher", f"{plan.recipe.teacher}: {parameters / 1e6:,.1f} M more, forward only, whole on every processor")
    ]


def _format_memory(plan: TrainingPlan) -> list[tuple[str, str]]:
    """Return the memory of the recipe, part by part, and that of the alternatives."""
    shape, replay, most = plan.shape, plan.recipe.has_replay, plan.kind.memory
    parts = count_memory_bytes(shape, replay=replay)
    total = sum(parts.values())
    verdict = "fits" if total <= USABLE_MEMORY * most else f"DOES NOT FIT; {_suggest_remedy(plan)}"
    rows = [
        ("memory, GB", f"{format_number(total / 1e9)} per processor, which has {most / 1e9:,.0f}: {verdict}"),
        ("", _format_parts(parts, 1e9)),
    ]
    for name, sharded in (("ddp", False), ("fsdp", True)):
        kept, every = (
            sum(count_memory_bytes(replace(shape, sharded=sharded, checkpointing=on), replay=replay).values()) / 1e9
            for on in (True, False)
        )
        rows.append(
            ("", f"{name}: {format_number(kept)} with --activation-checkpointing, {format_number(every)} without")
        )
    return rows


def _suggest_remedy(plan: TrainingPlan) -> str:
    largest = find_largest_micro_batch(plan)
    if largest:
        return f"--micro-batch {largest} or smaller fits"
    keep = "" if plan.shape.checkpointing else "--activation-checkpointing, "
    return f"no --micro-batch fits; use {keep}--parallel fsdp on more processors, or smaller towers"
