"""The trunk's further training on labelled photographs: naming them, without forgetting what the trunk knew.

A projector and one free vector a label stand above the trunk, as in `linnaea.train.bundled.prototypes`; both are thrown away afterwards.
Beside naming there are two teachers: the trunk as it came, whose answers to photographs are kept (learning without forgetting, Li &
Hoiem 2016, arXiv 1606.09282), so that its class rows go on meaning the same classes; and classifiers of species that are not in
the pack (distillation, Hinton et al. 2015, arXiv 1503.02531). The head comes first, then the later parts of the trunk on small
crops, at last on crops of the size that it is used at (Touvron et al. 2019, arXiv 1906.06423). What is kept is the moving average.

Shape suffixes: n photographs, b batch, c channels, h w pixels, d features, l labels, k a teacher's classes.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from linnaea.model.core.preprocessing import FILTERS
from linnaea.train.bundled.batches import ClassLabel, TextSource
from linnaea.train.bundled.losses import MASKED_LOGIT
from linnaea.train.bundled.prototypes import mask_relatives, rate_at
from linnaea.train.bundled.towers import ImageProjector
from linnaea.train.bundled.trunk import FoldedConv, Trunk

LUMA = torch.tensor([0.299, 0.587, 0.114])
SAVE_EVERY_S = 120.0


@dataclass(frozen=True, kw_only=True)
class FinetuneStage:
    """A stretch of the training: how much, at what size, and from which part of the trunk on."""

    images: int
    "crops seen"
    size: int
    "their side in pixels, a multiple of 32"
    first: int
    "first trained part of the trunk: 0 is the stem, 17 the last convolution, 18 none"


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How the trunk is trained further."""

    stages: tuple[FinetuneStage, ...] = field(
        default_factory=lambda: (
            FinetuneStage(images=12_800, size=160, first=18),
            FinetuneStage(images=70_400, size=160, first=7),
            FinetuneStage(images=4_096, size=224, first=7),
        )
    )
    "head alone, later parts on small crops, then at full size"
    batch: int = 64
    "crops a step"
    trunk_rate: float = 0.004
    "peak learning rate of the trunk, times the root mean square of the tensor it moves"
    part_decay: float = 0.9
    "each part learns at this share of the rate of the part above it"
    head_rate: float = 2e-3
    "peak learning rate of projector and prototypes"
    warm_up: int = 100
    "steps of the warm-up, of the head and again of the trunk"
    within_set: float = 0.5
    "weight of naming among the labels of the photograph's own set, beside 1 for all labels"
    keep: float = 0.5
    "weight of answering as the trunk as it came did, on sets that are photographs as usual"
    teach: float = 0.5
    "weight of answering as the teachers do"
    temperature: float = 2.0
    "of both teachers' answers"
    average: float = 0.998
    "share of the old in each step's moving average"
    drawn: tuple[tuple[str, float], ...] = ()
    "sets whose photographs are drawn this many times as often as others"
    least_area: float = 0.35
    "smallest share of a photograph's area in a crop"
    most_aspect: float = 1.33
    "largest stretch of a crop's sides against each other"
    jitter: float = 0.35
    "brightness, contrast and saturation are multiplied by 1 ± this"
    grey: float = 0.05
    "share of crops turned to grey"


@dataclass(frozen=True, kw_only=True)
class TeacherLogits:
    """A teacher's answers: logits [n, k] to photographs of the pack, and their rows there."""

    rows_n: np.ndarray
    logits_nk: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PhotoPack:
    """Photographs with labels and sets; `turned` may lie on any side, `usual` are like those that the trunk was first trained on."""

    files: list[Path]
    labels: list[ClassLabel]
    turned_n: np.ndarray
    usual_n: np.ndarray
    sets: list[str] | None = None


def read_pictures(files: Sequence[Path]) -> list[np.ndarray]:
    """Decoded uint8 images [h, w, 3]."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda path: np.asarray(Image.open(path).convert("RGB")), files))


def crop(
    picture: np.ndarray, size: int, rng: np.random.Generator, config: FinetuneConfig, *, turned: bool
) -> np.ndarray:
    """A random crop uint8 [size, size, 3], mirrored or not; half of them squash the picture's proportions, half keep them."""
    height, width = picture.shape[:2]
    frame_w, frame_h = (width, height) if rng.random() < 0.5 else (min(width, height),) * 2
    area = rng.uniform(config.least_area, 1.0)
    aspect = math.exp(rng.uniform(-1, 1) * math.log(config.most_aspect))
    crop_w = min(frame_w, max(1.0, frame_w * math.sqrt(area * aspect)))
    crop_h = min(frame_h, max(1.0, frame_h * math.sqrt(area / aspect)))
    left, top = rng.uniform(0, width - crop_w), rng.uniform(0, height - crop_h)
    box = (left, top, min(left + crop_w, width), min(top + crop_h, height))
    out = np.asarray(Image.fromarray(picture).resize((size, size), FILTERS["bilinear"], box))
    if rng.random() < 0.5:
        out = out[:, ::-1]
    return np.rot90(out, int(rng.integers(4))) if turned else out


def colour_changes(n: int, rng: np.random.Generator, config: FinetuneConfig) -> torch.Tensor:
    """Matrices [n, 3, 3] that change brightness, contrast and saturation of pixels around mid-grey."""
    strength, saturation = (
        torch.from_numpy(rng.uniform(1 - config.jitter, 1 + config.jitter, n)).float()[:, None, None] for _ in range(2)
    )
    saturation[torch.from_numpy(rng.random(n) < config.grey)] = 0.0
    return strength * (saturation * torch.eye(3) + (1 - saturation) * LUMA.expand(3, 3))


class CropLoader:
    """Batches of crops, each a pure function of (seed, step); photographs by one over the root of their class's size.

    `pictures` are the pack's photographs where they have been read already, uint8 [h, w, 3] each.
    """

    def __init__(
        self,
        pack: PhotoPack,
        config: FinetuneConfig,
        mean,
        std,
        seed: int,
        pictures: Sequence[np.ndarray] | None = None,
    ):
        self._pack, self._config, self._seed = pack, config, seed
        self._pictures = read_pictures(pack.files) if pictures is None else pictures
        sizes: dict[ClassLabel, int] = {}
        for label in pack.labels:
            sizes[label] = sizes.get(label, 0) + 1
        often = dict(config.drawn)
        sets = pack.sets or [""] * len(pack.labels)
        weight_n = np.array(
            [often.get(of, 1.0) * sizes[label] ** -0.5 for label, of in zip(pack.labels, sets, strict=True)]
        )
        self._cumulative_n = np.cumsum(weight_n / weight_n.sum())
        self._mean, self._std = (255 * torch.tensor(x)[:, None, None] for x in (mean, std))

    def batch(self, step: int, size: int) -> tuple[np.ndarray, torch.Tensor]:
        """Rows [b] of the pack and normalised pixels [b, 3, size, size] of their crops."""
        config, rng = self._config, np.random.default_rng([self._seed, step])
        rows_b = np.minimum(np.searchsorted(self._cumulative_n, rng.random(config.batch)), len(self._pictures) - 1)
        crops = [crop(self._pictures[row], size, rng, config, turned=bool(self._pack.turned_n[row])) for row in rows_b]
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
        pixels = (pixels - self._mean) / self._std
        shift_b11 = (
            torch.from_numpy(rng.uniform(-config.jitter, config.jitter, config.batch)).float()[:, None, None] / 2
        )
        changed = torch.baddbmm(shift_b11, colour_changes(config.batch, rng, config), pixels.flatten(2)).clamp_(-1, 1)
        return rows_b, changed.view_as(pixels).contiguous(memory_format=torch.channels_last)

    def batches(self, first: int, sizes: Sequence[int]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """The batches of steps `first` to the last of `sizes`, made one ahead of their use."""
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self.batch, step, sizes[step]) for step in range(first, min(first + 2, len(sizes)))]
            for step in range(first, len(sizes)):
                batch = waiting.pop(0).result()
                if step + 2 < len(sizes):
                    waiting.append(pool.submit(self.batch, step + 2, sizes[step + 2]))
                yield batch


class Head(torch.nn.Module):
    """Projector, one vector a label, the logit scale, and a linear layer for each teacher."""

    def __init__(self, n_features: int, n_labels: int, teacher_sizes: Sequence[int], *, dim: int, hidden: int):
        super().__init__()
        self.projector = ImageProjector(n_features, dim, hidden, 0.0)
        self.prototypes = torch.nn.Parameter(0.1 * torch.randn(n_labels, dim))
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(20.0)))
        self.taught = torch.nn.ModuleList(torch.nn.Linear(n_features, size) for size in teacher_sizes)

    def logits(self, features_bd: torch.Tensor) -> torch.Tensor:
        return self.log_scale.exp() * self.projector(features_bd) @ F.normalize(self.prototypes, dim=-1).T


def distillation_divergence(student_bk: torch.Tensor, teacher_bk: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean divergence (nats, times the squared temperature) of the student's answers from the teacher's."""
    teacher = F.log_softmax(teacher_bk / temperature, dim=-1)
    student = F.log_softmax(student_bk / temperature, dim=-1)
    return temperature**2 * F.kl_div(student, teacher, log_target=True, reduction="batchmean")


class Finetuning:
    """The state of a run: trunk, its moving average, head, optimizer, step."""

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        pack: PhotoPack,
        source: TextSource,
        teachers: Sequence[TeacherLogits],
        kept_classes: np.ndarray,
        config: FinetuneConfig,
        *,
        dim: int,
        hidden: int,
        seed: int = 0,
        n_workers: int = 2,
        original: Mapping[str, np.ndarray] | None = None,
    ):
        """`kept_classes` are the rows of the trunk's own classifier whose answers are to stay as they are with the `original` weights.

        Without those, with `weights`, from which the training starts.

        A step's batch is shared among `n_workers` threads of one core each; two share a busy machine better than one of two cores.
        """
        torch.manual_seed(seed)
        self.config, self.pack, self.step = config, pack, 0
        numbers: dict[ClassLabel, int] = {}
        self.label_n = torch.tensor([numbers.setdefault(label, len(numbers)) for label in pack.labels])
        labels = list(numbers)
        self._ignored_ll = torch.from_numpy(mask_relatives(labels, source))
        names = {name: number for number, name in enumerate({label.source: None for label in labels})}
        source_l = torch.tensor([names[label.source] for label in labels])
        self._elsewhere_ll = source_l[:, None] != source_l[None, :]
        self._usual_n = torch.from_numpy(pack.usual_n)
        self._teachers = []
        for teacher in teachers:
            place_n = torch.full((len(pack.labels),), -1)
            place_n[torch.from_numpy(teacher.rows_n)] = torch.arange(len(teacher.rows_n))
            self._teachers.append((place_n, torch.from_numpy(teacher.logits_nk)))
        self._weights = weights
        self._rows_kd = torch.from_numpy(weights["_fc.weight"][kept_classes])
        self._bias_k = torch.from_numpy(weights["_fc.bias"][kept_classes])
        self.trunk = Trunk(weights).to(memory_format=torch.channels_last)
        # in bfloat16 a 5 x 5 filter's own gradient costs more than the rest of its block; the filters stay as they came
        self._fixed = {
            id(m.weight) for m in self.trunk.modules() if isinstance(m, FoldedConv) and m.kernel_size == (5, 5)
        }
        kept = weights if original is None else original
        self.original = Trunk(kept).to(memory_format=torch.channels_last).requires_grad_(False)
        self.mean = copy.deepcopy(self.trunk).requires_grad_(False)
        sizes = [logits_nk.shape[1] for _, logits_nk in self._teachers]
        self.head = Head(self._rows_kd.shape[1], len(labels), sizes, dim=dim, hidden=hidden)
        self._workers = ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,))
        self._n_workers = n_workers
        self.optimizer = self.new_optimizer()
        self.sizes, self.firsts = [], []
        for stage in config.stages:
            n_steps = math.ceil(stage.images / config.batch)
            self.sizes += [stage.size] * n_steps
            self.firsts += [stage.first] * n_steps

    def new_optimizer(self) -> torch.optim.Optimizer:
        """An optimizer whose rates go by the trunk's weights as they are now."""
        config, groups = self.config, []
        for depth, part in enumerate(reversed(self.trunk.parts)):
            for parameter in part.parameters():
                scale = parameter.detach().pow(2).mean().sqrt().item()
                # a bias moves a whole channel: a third of the rate
                share = config.part_decay**depth * scale * (1.0 if parameter.ndim > 1 else 0.3)
                groups.append(
                    {"params": [parameter], "peak": config.trunk_rate * share, "trunk": True, "weight_decay": 0.0}
                )
        matrices = [p for p in self.head.parameters() if p.ndim > 1 and p is not self.head.prototypes]
        others = [p for p in self.head.parameters() if p.ndim <= 1 or p is self.head.prototypes]
        for parameters, decay in ((matrices, 0.05), (others, 0.0)):
            groups.append({"params": parameters, "peak": config.head_rate, "trunk": False, "weight_decay": decay})
        return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99))

    def _prepare(self, first: int) -> None:
        """Learning rates of this step, and which parts learn."""
        config = self.config
        n_head = sum(f >= len(self.trunk.parts) for f in self.firsts)
        past, n = self.step - n_head, len(self.sizes) - n_head
        trunk = rate_at(past, n, config.warm_up) if past >= 0 else 0.0
        head = trunk if past >= config.warm_up else min(1.0, (self.step + 1) / config.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * (trunk if group["trunk"] else head)
        for number, part in enumerate(self.trunk.parts):
            for parameter in part.parameters():
                parameter.requires_grad_(number >= first and id(parameter) not in self._fixed)

    @torch.no_grad()
    def standardise(self, pixels_bchw: torch.Tensor) -> None:
        """Sets the head's standardisation from the features of a batch."""
        with torch.autocast("cpu", torch.bfloat16):
            features_bd = self.trunk(pixels_bchw)
        self.head.projector.mean.copy_(features_bd.mean(0))
        self.head.projector.std.copy_(features_bd.std(0) + 0.1)

    def losses(self, rows_b: np.ndarray, pixels_bchw: torch.Tensor, first: int) -> dict[str, torch.Tensor]:
        """The weighted losses of a batch by name."""
        config, rows = self.config, torch.from_numpy(rows_b)
        usual = self._usual_n[rows]
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                # a few at a time stay in the cache
                early = torch.cat([self.trunk.early(part, first) for part in pixels_bchw.split(8)])
                before_bd = self.original.late(early[usual], first) if first < len(self.trunk.parts) else None
            features_bd = self.trunk.late(early, first)
        label_b = self.label_n[rows]
        logits_bl = self.head.logits(features_bd)
        among_all = logits_bl.masked_fill(self._ignored_ll[label_b], MASKED_LOGIT)
        among_own = logits_bl.masked_fill(self._elsewhere_ll[label_b], MASKED_LOGIT)
        losses = {
            "names": F.cross_entropy(among_all, label_b),
            "own": config.within_set * F.cross_entropy(among_own, label_b),
        }
        if before_bd is not None and len(before_bd):
            answers = [x @ self._rows_kd.T + self._bias_k for x in (features_bd[usual], before_bd)]
            losses["keep"] = (
                config.keep * len(before_bd) / len(rows) * distillation_divergence(*answers, config.temperature)
            )
        for layer, (place_n, logits_nk) in zip(self.head.taught, self._teachers, strict=True):
            place = place_n[rows]
            chosen = place >= 0
            if chosen.any():
                own = distillation_divergence(layer(features_bd[chosen]), logits_nk[place[chosen]], config.temperature)
                losses["teach"] = losses.get("teach", 0.0) + config.teach * chosen.float().mean() * own
        return losses

    def _gradients(
        self, rows_b, pixels_bchw, first: int, learning
    ) -> tuple[dict[str, float], tuple[torch.Tensor | None, ...]]:
        """Losses by name and their sum's gradients, of a part of a batch."""
        losses = self.losses(rows_b, pixels_bchw, first)
        found = torch.autograd.grad(sum(losses.values()), learning, allow_unused=True)
        return {name: loss.item() for name, loss in losses.items()}, found

    def advance(self, rows_b: np.ndarray, pixels_bchw: torch.Tensor) -> dict[str, float]:
        """One optimizer step; the losses by name. Raises FloatingPointError before anything changes if they are not finite."""
        first = self.firsts[self.step]
        self._prepare(first)
        if self.step == 0:
            self.standardise(pixels_bchw)
        learning = [p for p in (*self.trunk.parameters(), *self.head.parameters()) if p.requires_grad]
        halves = np.array_split(np.arange(len(rows_b)), self._n_workers)
        jobs = [self._workers.submit(self._gradients, rows_b[i], pixels_bchw[i], first, learning) for i in halves]
        done = [job.result() for job in jobs]
        shares = [len(i) / len(rows_b) for i in halves]
        names = dict.fromkeys(name for losses, _ in done for name in losses)
        losses = {
            name: sum(share * own.get(name, 0.0) for share, (own, _) in zip(shares, done, strict=True))
            for name in names
        }
        if not math.isfinite(sum(losses.values())):
            raise FloatingPointError(
                f"the losses are {losses} at step {self.step} of the trunk; nothing was changed by them"
            )
        self.optimizer.zero_grad(set_to_none=True)
        for number, parameter in enumerate(learning):
            parts = [
                share * found[number]
                for share, (_, found) in zip(shares, done, strict=True)
                if found[number] is not None
            ]
            parameter.grad = sum(parts[1:], parts[0]) if parts else None
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.head.log_scale.clamp_(max=math.log(60.0))
            if first < len(self.trunk.parts):
                # the average follows quickly at first
                n = self.step - sum(f >= len(self.trunk.parts) for f in self.firsts)
                share = 1 - min(self.config.average, (1 + n) / (10 + n))
                for part in range(first, len(self.trunk.parts)):
                    pairs = zip(self.mean.parts[part].parameters(), self.trunk.parts[part].parameters(), strict=True)
                    for mean, now in pairs:
                        mean.lerp_(now, share)
        self.step += 1
        return losses

    def weights(self) -> dict[str, np.ndarray]:
        """The averaged trunk under the names of the published state dict."""
        return self.mean.published_weights(self._weights)

    def save(self, path: Path) -> None:
        """Writes everything that a resumed run needs; the old file stays until the new one is whole."""
        parts = {name: getattr(self, name).state_dict() for name in ("trunk", "mean", "head", "optimizer")}
        fresh = path.with_suffix(".new")
        torch.save({**parts, "step": self.step, "random": torch.get_rng_state()}, fresh)
        os.replace(fresh, path)

    def load(self, path: Path) -> None:
        """Goes on from a saved run."""
        state = torch.load(path, weights_only=True)
        for name in ("trunk", "mean", "head", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        self.step = state["step"]


def run_finetuning(
    run: Finetuning, crops: CropLoader, saved: Path, *, report: Callable[[str], None] = print, every: int = 50
) -> dict[str, np.ndarray]:
    """Trains to the end, saving now and then into `saved`; returns the averaged weights."""
    if saved.exists():
        run.load(saved)
        report(f"the trunk's training goes on at step {run.step}")
    recent: list[dict[str, float]] = []
    n, started, last_saved = len(run.sizes), time.perf_counter(), time.perf_counter()
    begun_at = run.step
    for batch in crops.batches(run.step, run.sizes):
        recent.append(run.advance(*batch))
        if run.step % every == 0 or run.step == n:
            names = dict.fromkeys(name for losses in recent for name in losses)
            means = "  ".join(f"{name} {np.mean([x.get(name, 0.0) for x in recent]):.3f}" for name in names)
            pace = (time.perf_counter() - started) / (run.step - begun_at)
            report(f"trunk {run.step}/{n} at {run.sizes[run.step - 1]} pixels  {means}  {pace:.2f} s a step")
            recent.clear()
        if time.perf_counter() - last_saved > SAVE_EVERY_S:
            run.save(saved)
            last_saved = time.perf_counter()
    return run.weights()
