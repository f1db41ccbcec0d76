"""Cost of a training step of the two towers: operations and bytes, counted from the shapes, without torch.

Useful operations are those that the result needs: tokens without padding, the last block for the pooled token, every
product once forward and once for the gradient of each of its two factors. Recomputation to save memory is counted
separately.

Letters in formulas: w width, h hidden width of a block, t tokens of a sequence, n sequences, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.model.graphs.vision_transformer import CHANNELS, VisionConfig

Config = VisionConfig | TextConfig
Towers = tuple[VisionConfig, TextConfig]
# The gradient of a product costs one product for each factor.
FORWARD_AND_BACKWARD = 3
# Weights, gradients and the two moments of AdamW, all in float32.
BYTES_WEIGHT, BYTES_GRADIENT, BYTES_MOMENTS = 4, 4, 8
# Bytes of a number in products, in the residual stream of images and in that of texts.
BYTES = {"fp32": (4, 4, 4), "bf16": (2, 2, 4)}


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """What the cost of sequences depends on: their number, the sum of their lengths and that of the squared lengths."""

    n: float
    tokens: float
    squares: float

    @classmethod
    def of(cls, lengths: Iterable[int]) -> Sequences:
        """Make sequences of these lengths."""
        lengths = list(lengths)
        return cls(n=len(lengths), tokens=sum(lengths), squares=sum(t * t for t in lengths))

    def times(self, factor: float) -> Sequences:
        """Return `factor` times as many such sequences."""
        return Sequences(n=self.n * factor, tokens=self.tokens * factor, squares=self.squares * factor)

    def __add__(self, other: Sequences) -> Sequences:
        return Sequences(n=self.n + other.n, tokens=self.tokens + other.tokens, squares=self.squares + other.squares)


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """What one rank computes per step."""

    vision: VisionConfig
    text: TextConfig
    pairs: int
    "organisms of this rank"
    replayed: int = 0
    "replayed pairs of this rank"
    texts: Sequences
    "distinct texts of organisms and replayed pairs"
    n_ranks: int = 1
    micro_batch: int = 0
    "pairs whose activations are in memory at once; 0 for all"
    checkpointing: bool = False
    "whether blocks keep only their inputs"
    precision: str = "fp32"
    "precision of the products"
    sharded: bool = False
    "whether weights, gradients and moments are sharded (FSDP)"
    tile: int = 1024
    "side of the tiles of the loss"
    part: int = 512
    "images per part with activation checkpointing"
    teacher: Towers | None = None
    "teacher towers, which see only the organisms"
    taught: Sequences | None = None
    "distinct texts of the organisms, if there is a teacher"

    @property
    def images(self) -> Sequences:
        """The images of this rank, organisms and replayed, as sequences of patches."""
        t = self.vision.n_tokens
        return Sequences.of([t]).times(self.pairs + self.replayed)

    @property
    def held(self) -> float:
        """The share of the batch whose activations are in memory at once."""
        every = self.pairs + self.replayed
        return min(1.0, self.micro_batch / every) if self.micro_batch else 1.0


def count_block_parameters(config: Config) -> int:
    """Count the parameters of one block."""
    w, h = config.width, int(config.width * config.mlp_ratio)
    return 4 * w + (3 * w * w + 3 * w) + (w * w + w) + (w * h + h) + (h * w + w)


def count_parameters(vision: VisionConfig, text: TextConfig, *, replay: bool = False) -> dict[str, int]:
    """Count the parameters of the image tower, the text tower and the logit scale."""
    v, t = vision.width, text.width
    patches = CHANNELS * vision.patch**2 * v
    images = v + vision.n_tokens * v + patches + 4 * v + (1 + replay) * v * vision.dim
    texts = text.n_tokens * t + text.context * t + 2 * t + t * text.dim
    return {
        "image tower": images + vision.n_layers * count_block_parameters(vision),
        "text tower": texts + text.n_layers * count_block_parameters(text),
        "logit scale": 1,
    }


def _count_one_block(config: Config, sequences: Sequences, *, pooled: bool) -> tuple[float, float]:
    """Count the operations of a block forward, and those of its last product, whose output need not be recomputed.

    A pooled block has all keys and values, but only one query and one output row per sequence.
    """
    w, h = config.width, int(config.width * config.mlp_ratio)
    rows = sequences.n if pooled else sequences.tokens
    keys_and_values = 2 * sequences.tokens * w * 2 * w
    attention = 4 * w * (sequences.tokens if pooled else sequences.squares)
    last = 2 * rows * h * w
    return keys_and_values + 2 * rows * w * w + attention + 2 * rows * w * w + 2 * rows * w * h + last, last


def count_block_flops(config: Config, sequences: Sequences) -> tuple[float, float]:
    """Count the operations of the blocks of a tower: forward, and when recomputed for the gradient."""
    full, full_last = _count_one_block(config, sequences, pooled=False)
    pooled, pooled_last = _count_one_block(config, sequences, pooled=True)
    before = config.n_layers - 1
    return before * full + pooled, before * (full - full_last) + pooled - pooled_last


@dataclass(frozen=True, kw_only=True)
class StepFlops:
    """Floating-point operations of one rank and step. A multiplication and an addition count as two."""

    images: float
    texts: float
    loss: float
    checkpointing: float
    "recomputed blocks"
    loss_again: float
    "recomputed tiles"
    caching: float
    "the first pass of gradient caching"
    teacher: float = 0.0
    "teacher towers, forward only"

    @property
    def useful(self) -> float:
        """Operations that the result needs."""
        return self.images + self.texts + self.loss + self.teacher

    @property
    def computed(self) -> float:
        """All operations."""
        return self.useful + self.checkpointing + self.loss_again + self.caching


def _count_stem(vision: VisionConfig, n_images: float) -> float:
    """Count the operations that project the patches of images."""
    return 2 * n_images * (vision.n_tokens - 1) * CHANNELS * vision.patch**2 * vision.width


def count_forward_flops(vision: VisionConfig, text: TextConfig, n_images: float, texts: Sequences) -> float:
    """Count the forward operations of both towers, from images and distinct texts to vectors."""
    images = Sequences.of([vision.n_tokens]).times(n_images)
    vectors = 2 * n_images * vision.width * vision.dim + 2 * texts.n * text.width * text.dim
    return (
        _count_stem(vision, n_images)
        + count_block_flops(vision, images)[0]
        + count_block_flops(text, texts)[0]
        + vectors
    )


def count_step_flops(shape: StepShape) -> StepFlops:
    """Count the operations of a step of one rank. Only matrix products count, exactly."""
    vision, text, images = shape.vision, shape.text, shape.images
    stem = _count_stem(vision, images.n)
    image_blocks, images_again = count_block_flops(vision, images)
    text_blocks, texts_again = count_block_flops(text, shape.texts)
    image_vectors = 2 * images.n * vision.width * vision.dim
    text_vectors = 2 * shape.texts.n * text.width * text.dim
    # each rank compares its images with the texts of all ranks
    organisms, replayed = (2 * vision.dim * shape.n_ranks * n**2 for n in (shape.pairs, shape.replayed))
    logits, distilled, distilled_again, teacher = organisms + replayed, 0.0, 0.0, 0.0
    if shape.teacher is not None:
        teacher = count_forward_flops(*shape.teacher, shape.pairs, shape.taught)
        teachers = organisms / vision.dim * shape.teacher[0].dim
        # The teacher's logits are needed once. The student's are those of the contrastive loss, but the losses are
        # computed one after the other: sums and gradients again (4), products with the teacher's softmax and gradients
        # (3).
        distilled, distilled_again = teachers, 7 * organisms + 2 * teachers
    return StepFlops(
        # pixels need no gradient
        images=FORWARD_AND_BACKWARD * (image_blocks + image_vectors) + 2 * stem,
        texts=FORWARD_AND_BACKWARD * (text_blocks + text_vectors),
        loss=FORWARD_AND_BACKWARD * logits + distilled,
        checkpointing=(images_again + texts_again) if shape.checkpointing else 0.0,
        loss_again=logits + distilled_again,
        caching=count_forward_flops(vision, text, images.n, shape.texts) if shape.held < 1 else 0.0,
        teacher=teacher,
    )


def _count_block_bytes(config: Config, sequences: Sequences, number: int, stream: int) -> float:
    """Count the bytes that a block keeps for its gradient.

    They are the inputs and outputs of two norms, queries, keys and values, the output of attention, and the hidden
    layer before and after its activation.
    """
    w, h = config.width, int(config.width * config.mlp_ratio)
    hidden = (3 if config.activation == "quick_gelu" else 2) * h
    norm = 4 if number == 2 else stream
    return sequences.tokens * (2 * w * norm + number * (6 * w + hidden))


def count_activation_bytes(shape: StepShape) -> dict[str, float]:
    """Count the peak bytes kept for the gradient: of all blocks, and of the one block that is recomputed."""
    number, image_stream, text_stream = BYTES[shape.precision]
    kept, again = 0.0, 0.0
    images, texts = shape.images.times(shape.held), shape.texts.times(shape.held)
    part = min(1.0, shape.part / images.n)
    for config, sequences, stream, share in (
        (shape.vision, images, image_stream, part),
        (shape.text, texts, text_stream, 1.0),
    ):
        block = _count_block_bytes(config, sequences, number, stream)
        inputs = sequences.tokens * config.width * stream
        kept += config.n_layers * inputs if shape.checkpointing else (config.n_layers - 1) * block
        again = max(again, share * block if shape.checkpointing else 0.0)
    pixels = shape.images.n * shape.held * CHANNELS * shape.vision.size**2 * number
    return {"activations": kept + pixels, "one block again": again}


def count_memory_bytes(shape: StepShape, *, replay: bool = False) -> dict[str, float]:
    """Count the bytes of one rank by purpose. Their sum is the peak of a step, without losses of the allocator."""
    parameters = sum(count_parameters(shape.vision, shape.text, replay=replay).values())
    # Whole on every rank, in float32, without gradients. Its activations are freed before those of the student.
    teacher = sum(count_parameters(*shape.teacher).values()) if shape.teacher else 0
    shared = shape.n_ranks if shape.sharded else 1
    # two blocks at a time: the present one and the next
    blocks = 2 * max(count_block_parameters(shape.vision), count_block_parameters(shape.text))
    at_work = 0
    if shape.sharded:
        at_work = blocks * (BYTES[shape.precision][0] + BYTES_GRADIENT)
    elif shape.precision == "bf16":
        # products keep their weights in bfloat16 for the gradient, except in recomputed blocks
        at_work = 2 * (blocks if shape.checkpointing else parameters - shape.text.n_tokens * shape.text.width)
    every = (shape.pairs + shape.replayed) * shape.n_ranks
    own = shape.pairs + shape.replayed
    # vectors and gradients of own images and of all texts, and a few tiles of logits
    loss = 4 * (shape.vision.dim * (4 * own + 2 * every) + 4 * min(shape.tile, own) * min(shape.tile, every))
    return {
        "weights": BYTES_WEIGHT * parameters / shared,
        "gradients": BYTES_GRADIENT * parameters / shared,
        "moments": BYTES_MOMENTS * parameters / shared,
        "weights at work": at_work,
        "teacher": BYTES_WEIGHT * teacher,
        **count_activation_bytes(shape),
        "loss": loss,
    }
