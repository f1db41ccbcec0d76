"""Write open_clip's answers for tiny random checkpoints and awkward names to tests/golden/open_clip.json.

It takes seconds.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/golden_open_clip.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from random_checkpoint import ARCHITECTURES, PREPROCESS, draw_tensor, tensor_shapes

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "open_clip.json"
MODELS = ("tiny", "tiny-quickgelu", "tiny-tanh")
# Its texts are token ids: the tokenizer is a file of its own.
CLIPA = "tiny-clipa"
SECOND = "visual.continual_proj"
N_IMAGES = 4
TEXTS = (
    "",
    "Rosa",
    "a photo of a Setophaga magnolia.",
    "Animalia Chordata Aves Passeriformes Passeridae Passer domesticus",
    "Animalia Chordata Aves Passeriformes Passeridae Passer montanus",
    "an image of Plantae Tracheophyta Magnoliopsida Rosales Rosaceae Rosa × hybrida with common name Müller's rose.",
    "word " * 100,
)
# The test compares the tokens of each of these names, and of each of the words with each of the endings.
NAMES = (
    "Quercus × hispanica 'Lucombeana'",
    "Rosa ×alba",
    "Señor Ñandú",
    "Ærø’s “blue” tit",
    "naïve café",
    "D’Entrecasteaux",
    "O’Brien's 12-spotted ladybird",
    "Tribulus l. var. α",
    "&lt;i&gt;Felis&lt;/i&gt; catus",
    "Felis &amp;amp; Co",
    "&eacute;toile",
    "&#8217;quote",
    "schÃ¶n",
    "donâ€™t",
    "ﬁsh ﬂy",
    "Ｆｕｌｌ width",
    "日本語 カタカナ 鳥",
    "Воробей домовый",
    "العصفور",
    "हिन्दी गौरैया",
    "🦋 butterfly 🐛🐛",
    "a\tb\nc\r\nd",
    "  lead  trail  ",
    "",
    "…",
    "--- --",
    "50% H2O 10,000",
    "Ⅻ ½ ² ₃",
    "İstanbul ĞŞ",
    "ß ẞ straße",
    "Σίσυφος ς",
    "\u200bzero\u200dwidth",
    "e\u0301 combining",
    "N° 5",
    "\x1b[31mred\x1b[0m",
    "1½ 2¾",
    "it's we're they've I'm he'd she'll o'clock 'S 'T",
    "x_y-z/w\\v|u",
    "#@!$%^&*()",
    "&",
    "&amp",
    "AT&T &c.",
    "a&b;c",
    "<b>bold</b>",
    "ǅ ǆ Ǆ",
    "K (kelvin) Å (angstrom)",
    "ŉ ǰ ΐ",
    "a\u00a0b\u2003c\u3000d",
    "\ufeffbom",
    "\x00null",
    "\x7fdel\x85nel",
    "soft\u00adhyphen",
)
WORDS = (
    "Setophaga",
    "Oenanthe",
    "uva-crispa",
    "Mus musculus",
    "ÅNGSTRÖMIA",
    "n. sp. 12",
    "Salix alba×fragilis",
    "cf. niger",
)
ENDINGS = (
    "",
    " L.",
    " (Linnaeus, 1758)",
    "'s",
    "’s",
    " ssp.",
    " f. α",
    "-like",
    "?",
    "!",
    " 2n=24",
    " & al.",
    "\u0301",
    "®",
    " ×",
    "_x",
    "//",
    " é",
    ".",
    " 100 %",
)


def names() -> list[str]:
    """Return the names whose tokens are compared."""
    return [*NAMES, *(word + ending for word in WORDS for ending in ENDINGS), "Homo sapiens " * 60]


def images(size: int = 224) -> np.ndarray:
    """Return images uint8 [4, size, size, 3]: one of noise, and smooth ones."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N_IMAGES, 7, 7, 3), np.uint8).repeat(size // 7, 1).repeat(size // 7, 2)
    coarse[0] = rng.integers(0, 256, (size, size, 3), np.uint8)
    return coarse


def token_ids(model_cfg: dict) -> np.ndarray:
    """Return random token ids int64 [4, context]."""
    text = model_cfg["text_cfg"]
    return np.random.default_rng(1).integers(0, text["vocab_size"], (4, text["context_length"]))


def vectors(model_cfg: dict, texts: tuple[str, ...] | np.ndarray) -> dict:
    """Return open_clip's unit vectors of the images, with both projectors, and of the texts or token ids."""
    import torch
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

    model = CLIP(**model_cfg).eval()
    state = {
        name: torch.from_numpy(np.asarray(draw_tensor(name, shape))) for name, shape in tensor_shapes(model_cfg).items()
    }
    model.load_state_dict(state)
    mean, std = (torch.tensor(PREPROCESS[key]).view(-1, 1, 1) for key in ("mean", "std"))
    pixels = (torch.from_numpy(images()).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        found = {"images": model.encode_image(pixels, normalize=True)}
        tokens = torch.from_numpy(texts) if isinstance(texts, np.ndarray) else SimpleTokenizer()(list(texts))
        found["texts"] = model.encode_text(tokens, normalize=True)
        model.visual.proj.data = torch.from_numpy(draw_tensor(SECOND, tuple(model.visual.proj.shape)))
        found["second"] = model.encode_image(pixels, normalize=True)
    return {key: np.round(value.numpy().astype(float), 7).tolist() for key, value in found.items()}


def main() -> int:
    """Return 0 after the file is written."""
    from open_clip.tokenizer import SimpleTokenizer

    tokens = SimpleTokenizer()(names()).numpy()
    golden = {name: vectors(ARCHITECTURES[name], TEXTS) for name in MODELS}
    golden[CLIPA] = vectors(ARCHITECTURES[CLIPA], token_ids(ARCHITECTURES[CLIPA]))
    golden["tokens"] = [[int(token) for token in row[: int(row.argmax()) + 1]] for row in tokens]
    GOLDEN.write_text(json.dumps(golden) + "\n", encoding="utf-8")
    print(GOLDEN.name, GOLDEN.stat().st_size, "bytes,", len(tokens), "names")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
