"""What a training step of the two towers costs: operations and bytes, counted from the shapes alone, without torch.

Useful are the operations that the result needs: true tokens, the last block for the pooled token, every product forward
once and for the gradients of its two sides. What is computed again to save memory is counted apart.

Letters in formulas: w width, h hidden width of a block, t tokens of a sequence, n sequences, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.model.graphs.vision_transformer import CHANNELS, VisionConfig

Config = VisionConfig | TextConfig
Towers = tuple[VisionConfig, TextConfig]
# A product's gradient costs one product for each of its sides.
FORWARD_AND_BACKWARD = 3
# Of AdamW: two moments in float32, as the weights and their gradients are.
BYTES_WEIGHT, BYTES_GRADIENT, BYTES_MOMENTS = 4, 4, 8
# Bytes of a number in products, and of the residual stream of images and of texts.
BYTES = {"fp32": (4, 4, 4), "bf16": (2, 2, 4)}


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Sequences by what their cost depends on: how many, the sum of their lengths, the sum of the lengths' squares."""

    n: float
    tokens: float
    squares: float

    @classmethod
    def of(cls, lengths: Iterable[int]) -> Sequences:
        """Sequences of these lengths."""
        lengths = list(lengths)
        return cls(n=len(lengths), tokens=sum(lengths), squares=sum(t * t for t in lengths))

    def times(self, factor: float) -> Sequences:
        """As many times the same."""
        return Sequences(n=self.n * factor, tokens=self.tokens * factor, squares=self.squares * factor)

    def __add__(self, other: Sequences) -> Sequences:
        return Sequences(n=self.n + other.n, tokens=self.tokens + other.tokens, squares=self.squares + other.squares)


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """What one rank computes in a step."""

    vision: VisionConfig
    text: TextConfig
    pairs: int
    "organisms of this rank"
    replayed: int = 0
    "replayed pairs of this rank"
    texts: Sequences
    "distinct texts of both"
    n_ranks: int = 1
    micro_batch: int = 0
    "pairs whose activations are held at once; 0 holds all"
    checkpointing: bool = False
    "whether blocks keep their inputs alone"
    precision: str = "fp32"
    "of the products"
    sharded: bool = False
    "whether ranks share weights, gradients and moments among them (FSDP)"
    tile: int = 1024
    "side of the loss's squares"
    part: int = 512
    "images that pass the tower together where activations are computed again"
    teacher: Towers | None = None
    "towers that are distilled, which see the organisms alone"
    taught: Sequences | None = None
    "distinct texts of the organisms, where there is a teacher"

    @property
    def images(self) -> Sequences:
        """The images of this rank, organisms and replayed ones, as sequences of patches."""
        t = self.vision.n_tokens
        return Sequences.of([t]).times(self.pairs + self.replayed)

    @property
    def held(self) -> float:
        """The share of the batch whose activations are held at once."""
        every = self.pairs + self.replayed
        return min(1.0, self.micro_batch / every) if self.micro_batch else 1.0


def block_parameters(config: Config) -> int:
    """Parameters of one block."""
    w, h = config.width, int(config.width * config.mlp_ratio)
    return 4 * w + (3 * w * w + 3 * w) + (w * w + w) + (w * h + h) + (h * w + w)


def tower_parameters(vision: VisionConfig, text: TextConfig, *, second: bool = False) -> dict[str, int]:
    """Parameters of the image tower, of the text tower, and the logit scale."""
    v, t = vision.width, text.width
    patches = CHANNELS * vision.patch**2 * v
    images = v + vision.n_tokens * v + patches + 4 * v + (1 + second) * v * vision.dim
    texts = text.n_tokens * t + text.context * t + 2 * t + t * text.dim
    return {
        "image tower": images + vision.n_layers * block_parameters(vision),
        "text tower": texts + text.n_layers * block_parameters(text),
        "logit scale": 1,
    }


def _block_products(config: Config, sequences: Sequences, *, pooled: bool) -> tuple[float, float]:
    """Operations of a block forward, and those of its last product, in which nothing is kept that must be made again.

    A pooled block has one query a sequence, all keys and values, and one row a sequence in all that follows.
    """
    w, h = config.width, int(config.width * config.mlp_ratio)
    rows = sequences.n if pooled else sequences.tokens
    keys_and_values = 2 * sequences.tokens * w * 2 * w
    attention = 4 * w * (sequences.tokens if pooled else sequences.squares)
    last = 2 * rows * h * w
    return keys_and_values + 2 * rows * w * w + attention + 2 * rows * w * w + 2 * rows * w * h + last, last


def blocks_forward(config: Config, sequences: Sequences) -> tuple[float, float]:
    """Operations of a tower's blocks forward, and of making them again for the gradient."""
    full, full_last = _block_products(config, sequences, pooled=False)
    pooled, pooled_last = _block_products(config, sequences, pooled=True)
    before = config.n_layers - 1
    return before * full + pooled, before * (full - full_last) + pooled - pooled_last


@dataclass(frozen=True, kw_only=True)
class StepFlops:
    """Floating-point operations of one rank's step, a multiplication and an addition counted as two."""

    images: float
    texts: float
    loss: float
    checkpointing: float
    "blocks computed again"
    loss_again: float
    "tiles computed again"
    caching: float
    "the first pass of gradient caching"
    teacher: float = 0.0
    "a teacher's towers, forward alone"

    @property
    def useful(self) -> float:
        """What the result needs."""
        return self.images + self.texts + self.loss + self.teacher

    @property
    def computed(self) -> float:
        """All that is computed."""
        return self.useful + self.checkpointing + self.loss_again + self.caching


def _stem_forward(vision: VisionConfig, n_images: float) -> float:
    """Operations of cutting images into patches and projecting these."""
    return 2 * n_images * (vision.n_tokens - 1) * CHANNELS * vision.patch**2 * vision.width


def towers_forward(vision: VisionConfig, text: TextConfig, n_images: float, texts: Sequences) -> float:
    """Operations of both towers forward, of some images and distinct texts, to their vectors."""
    images = Sequences.of([vision.n_tokens]).times(n_images)
    vectors = 2 * n_images * vision.width * vision.dim + 2 * texts.n * text.width * text.dim
    return (
        _stem_forward(vision, n_images) + blocks_forward(vision, images)[0] + blocks_forward(text, texts)[0] + vectors
    )


def step_flops(shape: StepShape) -> StepFlops:
    """The operations of a step of one rank, exact for what are matrix products."""
    vision, text, images = shape.vision, shape.text, shape.images
    stem = _stem_forward(vision, images.n)
    image_blocks, images_again = blocks_forward(vision, images)
    text_blocks, texts_again = blocks_forward(text, shape.texts)
    image_vectors = 2 * images.n * vision.width * vision.dim
    text_vectors = 2 * shape.texts.n * text.width * text.dim
    # each rank meets its images with the texts of all; nothing else of the logits is needed
    organisms, replayed = (2 * vision.dim * shape.n_ranks * n**2 for n in (shape.pairs, shape.replayed))
    logits, distilled, distilled_again, teacher = organisms + replayed, 0.0, 0.0, 0.0
    if shape.teacher is not None:
        teacher = towers_forward(*shape.teacher, shape.pairs, shape.taught)
        teachers = organisms / vision.dim * shape.teacher[0].dim
        # The teacher's logits are needed once; the student's are those of the contrast, but the two losses are computed one
        # after the other: sums and gradients again (4), products with the teacher's softmax and their gradients (3).
        distilled, distilled_again = teachers, 7 * organisms + 2 * teachers
    return StepFlops(
        # no gradient reaches the pixels
        images=FORWARD_AND_BACKWARD * (image_blocks + image_vectors) + 2 * stem,
        texts=FORWARD_AND_BACKWARD * (text_blocks + text_vectors),
        loss=FORWARD_AND_BACKWARD * logits + distilled,
        checkpointing=(images_again + texts_again) if shape.checkpointing else 0.0,
        loss_again=logits + distilled_again,
        caching=towers_forward(vision, text, images.n, shape.texts) if shape.held < 1 else 0.0,
        teacher=teacher,
    )


def _block_bytes(config: Config, sequences: Sequences, number: int, stream: int) -> float:
    """Bytes that a whole block keeps for its gradient: two norms' inputs and outputs, queries, keys and values, what
    attention gives, and the hidden layer before and after its activation."""
    w, h = config.width, int(config.width * config.mlp_ratio)
    hidden = (3 if config.activation == "quick_gelu" else 2) * h
    norm = 4 if number == 2 else stream
    return sequences.tokens * (2 * w * norm + number * (6 * w + hidden))


def activation_bytes(shape: StepShape) -> dict[str, float]:
    """Bytes held at once for the gradient, at their peak: what blocks keep, and the one block that is made again."""
    number, image_stream, text_stream = BYTES[shape.precision]
    kept, again = 0.0, 0.0
    images, texts = shape.images.times(shape.held), shape.texts.times(shape.held)
    part = min(1.0, shape.part / images.n)
    for config, sequences, stream, share in (
        (shape.vision, images, image_stream, part),
        (shape.text, texts, text_stream, 1.0),
    ):
        block = _block_bytes(config, sequences, number, stream)
        inputs = sequences.tokens * config.width * stream
        kept += config.n_layers * inputs if shape.checkpointing else (config.n_layers - 1) * block
        again = max(again, share * block if shape.checkpointing else 0.0)
    pixels = shape.images.n * shape.held * CHANNELS * shape.vision.size**2 * number
    return {"activations": kept + pixels, "one block again": again}


def memory_bytes(shape: StepShape, *, second: bool = False) -> dict[str, float]:
    """Bytes of one rank by what they are for; their sum is the step's peak without the allocator's own losses."""
    parameters = sum(tower_parameters(shape.vision, shape.text, second=second).values())
    # Whole on every rank, in float32, and without gradients; its activations are gone before the student's come.
    teacher = sum(tower_parameters(*shape.teacher).values()) if shape.teacher else 0
    shared = shape.n_ranks if shape.sharded else 1
    # two blocks at a time: the one at work and the next
    blocks = 2 * max(block_parameters(shape.vision), block_parameters(shape.text))
    at_work = 0
    if shape.sharded:
        at_work = blocks * (BYTES[shape.precision][0] + BYTES_GRADIENT)
    elif shape.precision == "bf16":
        # products keep their weights in bfloat16 for the gradient, but for those that are made again
        at_work = 2 * (blocks if shape.checkpointing else parameters - shape.text.n_tokens * shape.text.width)
    every = (shape.pairs + shape.replayed) * shape.n_ranks
    own = shape.pairs + shape.replayed
    # vectors and gradients of own images and of all texts, and a few squares of logits
    loss = 4 * (shape.vision.dim * (4 * own + 2 * every) + 4 * min(shape.tile, own) * min(shape.tile, every))
    return {
        "weights": BYTES_WEIGHT * parameters / shared,
        "gradients": BYTES_GRADIENT * parameters / shared,
        "moments": BYTES_MOMENTS * parameters / shared,
        "weights at work": at_work,
        "teacher": BYTES_WEIGHT * teacher,
        **activation_bytes(shape),
        "loss": loss,
    }
