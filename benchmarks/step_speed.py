r"""Compare one training step with open_clip's: both towers, the loss, the gradients, AdamW; same torch, one process.

    python benchmarks/step_speed.py --peers DIR                     # DIR as in benchmarks/peers.py; 5 minutes, 17 GB
    python benchmarks/step_speed.py --peers DIR --precision bf16    # products in bfloat16 on both sides
    python benchmarks/step_speed.py --peers DIR --checkpointing     # activations recomputed on both sides
    python benchmarks/step_speed.py --device cuda --precision bf16 --checkpointing --models ViT-L-14 --batch 2816 \
        --replay 320                                                # a GPU, in an environment with open_clip

Both sides have the same weights, images and texts (names of random species in the five text types) and take turns.
open_clip uses its model, its ClipLoss and the AdamW of its training script; ours uses the fused AdamW. Ratios are taken
within a turn, and each turn has other texts, as training has. torch counts the operations of both on the batch before
the first turn. The page shows the time that `linnaea train --plan` predicts next to the measured one.

On a GPU the batch is reduced until both fit, a large bf16 product gives the ceiling, and a batch of four times the
largest size goes through gradient caching.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

MODELS, BATCHES = ("ViT-B-16", "ViT-L-14"), {"ViT-B-16": 8, "ViT-L-14": 4, "ViT-H-14": 2}
SMALLER, CACHED = 0.875, 4
PRODUCT_SIDE = {"cpu": 2048, "cuda": 8192}


def towers_path(name: str) -> Path:
    """The shape of both towers, and the scaling of pixels."""
    return HERE.parent / "recipes" / "towers" / f"{name.lower()}.json"


# --- The two sides: run in the peers' environment


class Theirs:
    """open_clip's own model, loss and optimizer."""

    def __init__(self, name: str, device: str, checkpointing: bool):
        import open_clip
        import torch
        from open_clip.loss import ClipLoss

        with torch.device(device):
            self.model = open_clip.model.CLIP(**open_clip.get_model_config(name))
        if checkpointing:
            self.model.set_grad_checkpointing(True)
        self.loss = ClipLoss()
        pixels = json.loads(towers_path(name).read_text(encoding="utf-8"))["preprocess_cfg"]
        self.mean, self.std = (torch.tensor(pixels[x], device=device).view(-1, 1, 1) * 255 for x in ("mean", "std"))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.2)

    def forward(self, images_bhwc, texts, pairs: int):
        """Return the loss; the pairs after the first `pairs` are replayed ones."""
        pixels = (images_bhwc.permute(0, 3, 1, 2).float() - self.mean) / self.std
        image, text, scale = self.model(pixels, texts)[:3]
        loss = self.loss(image[:pairs], text[:pairs], scale)
        return loss if pairs == len(image) else loss + self.loss(image[pairs:], text[pairs:], scale)

    @staticmethod
    def texts(ids: list[list[int]], pairs: int, device: str):
        """Return token ids [b, 77], padded."""
        import torch

        padded = torch.zeros(len(ids), 77, dtype=torch.long)
        for row, text in enumerate(ids):
            padded[row, : len(text)] = torch.tensor(text)
        return padded.to(device)


class Ours:
    """Linnaea's model, loss and optimizer, with open_clip's weights."""

    def __init__(self, name: str, device: str, checkpointing: bool, weights: dict | None, second: bool):
        import torch

        from linnaea.train.clip.open_clip_io import make_model

        with torch.device(device):
            self.model = make_model(towers_path(name), replay=second)
        if weights is not None:
            again = {"visual.continual_proj": weights["visual.proj"]} if second else {}
            self.model.load_state_dict(weights | again)
        self.model.set_checkpointing(checkpointing)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.2, fused=True)

    def forward(self, images_bhwc, texts, pairs: int):
        """Return the loss; the pairs after the first `pairs` are replayed ones."""
        return self.loss(*self.encode((images_bhwc, texts, pairs)))

    def encode(self, batch):
        """Return vectors and scale."""
        images, (own, replayed), pairs = batch
        return self.model(images[:pairs], own, (images[pairs:], replayed) if replayed else None)

    @staticmethod
    def loss(*vectors):
        """Return InfoNCE of organisms and, if there are any, of replayed pairs."""
        from linnaea.train.clip.losses import info_nce, replay_loss

        return (info_nce if len(vectors) == 3 else replay_loss)(*vectors)

    @staticmethod
    def texts(ids: list[list[int]], pairs: int, device: str):
        """Return packed texts of organisms and of replayed pairs."""
        from linnaea.train.clip.towers import pack_texts

        replayed = pack_texts(ids[pairs:]).to(device) if len(ids) > pairs else None
        return pack_texts(ids[:pairs]).to(device), replayed


def autocast(device: str, precision: str):
    """Return the context in which products are in bfloat16, or an empty context."""
    import torch

    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def step(side, ids, images, pairs: int, device: str, precision: str) -> tuple[float, float, float]:
    """Return seconds of loss and gradients, seconds of the optimizer, and the loss.

    The first time includes padding or packing the texts.
    """
    synchronize(device)
    start = time.perf_counter()
    with autocast(device, precision):
        loss = side.forward(images, side.texts(ids, pairs, device), pairs)
    loss.backward()
    synchronize(device)
    middle = time.perf_counter()
    side.optimizer.step()
    side.optimizer.zero_grad()
    synchronize(device)
    return middle - start, time.perf_counter() - middle, loss.item()


def count_flops(name: str, ids: list[list[int]], pairs: int, size: int, checkpointing: bool) -> dict[str, int]:
    """Return the operations of a step of both sides without optimizer, as torch counts them; nothing is computed."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode, mm_flop

    texts, found = {"ours": Ours.texts(ids, pairs, "cpu"), "theirs": Theirs.texts(ids, pairs, "cpu")}, {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        sides = {
            "ours": Ours(name, "cpu", checkpointing, None, pairs < len(ids)),
            "theirs": Theirs(name, "cpu", checkpointing),
        }
        images = torch.zeros(len(ids), size, size, 3, dtype=torch.uint8)
        for who, side in sides.items():
            # Plain attention is two products, and four for the gradients. torch does not count sums in place.
            in_place = {torch.ops.aten.addmm_: lambda _total, *factors, **_more: mm_flop(*factors)}
            with FlopCounterMode(display=False, custom_mapping=in_place) as counter, sdpa_kernel(SDPBackend.MATH):
                side.forward(images, texts[who], pairs).backward()
            found[who] = counter.get_total_flops()
    return found


def product_rate(device: str, precision: str) -> float:
    """Return operations per second of the fastest of some large products."""
    import torch

    side = PRODUCT_SIDE[device]
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        a @ a
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def make_images(n: int, size: int, device: str):
    """Return random images uint8 [n, size, size, 3]."""
    import torch

    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(
        device
    )


def compile_both(theirs: Theirs, ours: Ours) -> None:
    """Compile the blocks of both: all of open_clip's, whose shapes never change, and ours as training does."""
    from linnaea.train.clip.training_model import compile_towers

    for transformer in (theirs.model.visual.transformer, theirs.model.transformer):
        for block in transformer.resblocks:
            block.compile()
    compile_towers(ours.model)


def measure(request: dict) -> dict:
    """Return the times of both sides in turns, at the largest batch that both fit."""
    import torch

    device, precision, name = request["device"], request["precision"], request["name"]
    theirs = Theirs(name, device, request["checkpointing"])
    weights, second = theirs.model.state_dict(), request["replay"] > 0
    ours = Ours(name, device, request["checkpointing"], weights, second)
    if request["compile"]:
        compile_both(theirs, ours)
    pairs, replayed, size = request["batch"], request["replay"], ours.model.visual.config.size
    while True:
        ids = request["ids"][: pairs + replayed]
        images = make_images(len(ids), size, device)
        try:
            first = {
                who: step(side, ids, images, pairs, device, precision)[2]
                for who, side in (("theirs", theirs), ("ours", ours))
            }
            break
        except torch.OutOfMemoryError:
            for side in (theirs, ours):
                side.optimizer.zero_grad()
            pairs, replayed = int(pairs * SMALLER), int(replayed * SMALLER)
            torch.cuda.empty_cache()
    times = {"theirs": [], "ours": []}
    for turn in range(1, request["tries"] + 1):
        turn_ids = request["ids"][turn * len(ids) : (turn + 1) * len(ids)]
        for who, side in (("theirs", theirs), ("ours", ours)):
            times[who].append(step(side, turn_ids, images, pairs, device, precision)[:2])
    found = {
        "times": times,
        "first_loss": first,
        "pairs": pairs,
        "replayed": replayed,
        "lengths": [len(text) for text in ids],
        "distinct": [len(text) for part in (ids[:pairs], ids[pairs:]) for text in {tuple(row) for row in part}],
        "flops": count_flops(name, ids, pairs, size, request["checkpointing"]),
        "plain": count_flops(name, ids, pairs, size, False),
        "rate": product_rate(device, precision),
        "threads": torch.get_num_threads(),
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        found["cached"] = measure_cached(ours, request["ids"], pairs, size, device, precision)
    return found


def measure_cached(ours: Ours, ids, pairs: int, size: int, device: str, precision: str) -> dict:
    """Return pairs per second of a batch of organisms four times as large, through gradient caching."""
    from linnaea.train.clip.gradient_caching import cached_backward

    parts = []
    for k in range(CACHED):
        drawn = (ids * (CACHED * pairs // len(ids) + 1))[k * pairs : (k + 1) * pairs]
        parts.append((make_images(pairs, size, "cpu"), drawn))

    def encode(part):
        images, drawn = part
        with autocast(device, precision):
            image, text, scale = ours.model(images.to(device), ours.texts(drawn, len(drawn), device)[0])
            # without replay the second projector gets no gradient here
            return image.float(), text.float(), scale

    seconds = []
    for _ in range(4):
        synchronize(device)
        start = time.perf_counter()
        cached_backward(encode, parts, ours.loss)
        ours.optimizer.step()
        ours.optimizer.zero_grad()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return {"pairs": CACHED * pairs, "seconds": statistics.median(seconds[1:])}


# --- The project's side


def run_worker(python: Path, request: dict) -> dict:
    """Return the result of a measurement in its own process."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src"), "HF_HUB_OFFLINE": "1"}
    command = [str(python), str(Path(__file__).resolve()), "--worker"]
    done = subprocess.run(
        command, input=json.dumps(request), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr.strip()[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def draw_ids(n: int) -> list[list[int]]:
    """Return token ids of names of random species, in the five text types."""
    from linnaea.model.core.tokenizer import ClipTokenizer
    from linnaea.train.clip.planning.plan import draw_texts
    from linnaea.train.clip.recipe import SamplesConfig

    return ClipTokenizer(77).ids(draw_texts(SamplesConfig(drawn=1), n))


def planned(name: str, found: dict, options) -> tuple[float, float]:
    """Return operations and seconds of the step as `linnaea train --plan` predicts them."""
    from linnaea.train.clip.planning.accelerators import ACCELERATORS
    from linnaea.train.clip.planning.cost_model import Sequences, count_step_flops
    from linnaea.train.clip.planning.plan import plan_run
    from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig

    kind = "cpu"
    if options.device == "cuda":
        kind = next((kind for kind in ACCELERATORS if kind in found["gpu"].lower()), "h100")
    recipe = ClipRecipe(
        name=name,
        towers=towers_path(name),
        organisms=SamplesConfig(drawn=1),
        replay=SamplesConfig(drawn=1) if found["replayed"] else None,
        batch=found["pairs"],
        replay_batch=found["replayed"],
        steps=1,
        precision=options.precision,
        activation_checkpointing=options.checkpointing,
    )
    plan = plan_run(recipe, gpu_kind=kind, lengths=found["lengths"])
    shape = replace(plan.shape, texts=Sequences.of(found["distinct"]))
    plan = replace(plan, shape=shape, flops=count_step_flops(shape))
    return plan.flops.computed, plan.step_s


def spread(values: list[float]) -> str:
    """Return the median with minimum and maximum."""
    return f"{statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def table(name: str, found: dict, options) -> tuple[list[str], float]:
    """Return the lines on one model, and the median ratio."""
    both = {who: [sum(pair) for pair in pairs] for who, pairs in found["times"].items()}
    gradients = {who: [pair[0] for pair in pairs] for who, pairs in found["times"].items()}
    ratios = [a / b for a, b in zip(both["theirs"], both["ours"], strict=True)]
    bare = [a / b for a, b in zip(gradients["theirs"], gradients["ours"], strict=True)]
    n, flops, plain = found["pairs"] + found["replayed"], found["flops"], found["plain"]
    removed = 1 - plain["ours"] / plain["theirs"]
    computed, seconds = planned(name, found, options)
    ours_s = statistics.median(both["ours"])
    lines = ["", f"## {name}, {found['pairs']} + {found['replayed']} pairs", ""]
    lines += ["| | open_clip | ours |", "| --- | ---: | ---: |"]
    for label, of in (("loss and gradients, s", gradients), ("whole step, s", both)):
        lines.append(f"| {label} | {spread(of['theirs'])} | {spread(of['ours'])} |")
    rates = {who: n / statistics.median(times) for who, times in both.items()}
    lines += [
        f"| pairs per second | {rates['theirs']:.2f} | {rates['ours']:.2f} |",
        f"| TFLOP without recomputation | {plain['theirs'] / 1e12:.4f} | {plain['ours'] / 1e12:.4f} |",
        f"| TFLOP of the measured step | {flops['theirs'] / 1e12:.4f} | {flops['ours'] / 1e12:.4f} |",
        "| useful share of the largest product | "
        + " | ".join(
            f"{plain['ours'] / statistics.median(both[who]) / found['rate']:.1%}" for who in ("theirs", "ours")
        )
        + " |",
        f"| loss before the first step | {found['first_loss']['theirs']:.5f} | {found['first_loss']['ours']:.5f} |",
        "",
        f"open_clip / ours, whole step: **{spread(ratios)}**; loss and gradients alone: {spread(bare)}.",
        f"Operations removed: {removed:.1%}; tokens per text: {statistics.mean(found['lengths']):.1f} of 77.",
        f"Planned {computed / 1e12:.4f} TFLOP, counted {flops['ours'] / 1e12:.4f}.",
        f"Planned {seconds:.2f} s, measured {ours_s:.2f} s.",
    ]
    if "cached" in found:
        pairs, cached_s = found["cached"]["pairs"], found["cached"]["seconds"]
        lines.append(
            f"{pairs:,} pairs through gradient caching: {cached_s:.2f} s per step, {pairs / cached_s:,.0f} per second."
        )
    return lines, statistics.median(ratios)


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", type=Path, help="folder of the peers' environment (default: open_clip of this environment)"
    )
    parser.add_argument("--models", default=",".join(MODELS), help="open_clip's names, joined by commas")
    parser.add_argument("--batch", type=int, default=0, help="pairs (default: 8 for ViT-B-16, 4 for ViT-L-14)")
    parser.add_argument("--replay", type=int, default=0, help="number of replayed pairs in addition")
    parser.add_argument("--tries", type=int, default=6, help="turns")
    parser.add_argument("--device", default="cpu", choices=tuple(PRODUCT_SIDE))
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--checkpointing", action="store_true", help="both sides recompute their activations")
    parser.add_argument("--compile", action="store_true", help="both sides compile their blocks")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def result_name(options: argparse.Namespace) -> str:
    """Return the name of a result file; it contains the options in which two runs on one machine and day may differ."""
    switches = [name for name in ("checkpointing", "compile") if getattr(options, name)]
    return "_".join(["step_speed", options.precision, *switches])


def main(argv: list[str] | None = None) -> int:
    """Return 0 if the models were measured and both sides had the same loss."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    if options.worker:
        print(json.dumps(measure(json.load(sys.stdin))))
        return 0
    from hardware import describe_hardware, show_command, write_result
    from peers import peer_python

    python = peer_python(options.peers.absolute()) if options.peers else Path(sys.executable)
    names, lines, agree = options.models.split(","), [], True
    for name in names:
        batch = options.batch or BATCHES[name]
        request = {
            key: getattr(options, key) for key in ("replay", "tries", "device", "precision", "checkpointing", "compile")
        }
        request |= {"name": name, "batch": batch, "ids": draw_ids((batch + options.replay) * (options.tries + 1))}
        found = run_worker(python, request)
        lines += table(name, found, options)[0]
        losses = found["first_loss"]
        agree &= abs(losses["ours"] - losses["theirs"]) < (1e-4 if options.precision == "fp32" else 0.05)
    kept = "activations recomputed" if options.checkpointing else "all activations kept"
    form = "compiled" if options.compile else "eager"
    turns = f"{options.tries} turns, medians with minimum and maximum"
    head = [
        "# A training step, compared with open_clip's",
        "",
        f"- hardware: {describe_hardware()}{', ' + found['gpu'] if 'gpu' in found else ''}",
        f"- made by: `{show_command('step_speed', argv)}`",
        f"- config: {options.device}, {options.precision}, {kept}, {form}; {found['threads']} threads; {turns}",
        (
            f"- ceiling: a product of {PRODUCT_SIDE[options.device]}³ in {options.precision}, "
            f"{found['rate'] / 1e12:.3f} TFLOP/s"
        ),
        "- useful: what the result needs, without padding and recomputation, the same for both sides",
    ]
    write_result(options.results, result_name(options), head + lines)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
