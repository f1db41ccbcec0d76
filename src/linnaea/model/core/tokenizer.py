"""Tokenizers: any tokenizer in the `tokenizers` JSON format, and CLIP's own.

Shape suffixes: n texts, t tokens.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

END = "<end>"
CLIP_START, CLIP_END, CLIP_WORD_END = "<start_of_text>", "<end_of_text>", "</w>"
CLIP_MERGES = Path(__file__).parents[1] / "clip_vocabulary" / "merges.txt.bz2"
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
# ftfy and html.unescape change nothing in printable ASCII without an ampersand.
_PLAIN = re.compile(r"[ -%'-~]*")


class Tokenizer:
    """Token ids of texts, each with the end-of-text token. A text longer than the context is cut before that token."""

    def __init__(self, path: Path, context: int):
        from tokenizers import Tokenizer as Backend

        self._backend = Backend.from_file(str(path))
        self._end = self._backend.token_to_id(END)
        self._context = context
        if self._end is None:
            raise ValueError(f"{path} has no {END} token; it belongs to another model")

    def ids(self, texts: list[str], *, start: bool = True, end: bool = True) -> list[list[int]]:
        """The ids of each text, with `end` followed by the end-of-text token. `start` has no effect."""
        room = self._context - end
        tail = [self._end] if end else []
        return [encoding.ids[:room] + tail for encoding in self._backend.encode_batch_fast(texts)]

    def padded(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 [n, t] padded with zeros, and lengths int64 [n], the end-of-text token included."""
        return pad(self.ids(texts))


class ClipTokenizer:
    """CLIP's token ids of texts, equal to open_clip's SimpleTokenizer: a start token, the text, an end token.

    Texts are repaired (ftfy), HTML entities resolved, spaces joined and letters lowered. Then they are split into runs
    of letters, single digits and runs of other characters. A text longer than the context is cut before the end token.
    """

    def __init__(self, context: int = 77):
        self._backend = _build_clip_backend()
        self._context = context
        self.start = self._backend.token_to_id(CLIP_START)
        self.end = self._backend.token_to_id(CLIP_END)

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return self._backend.get_vocab_size()

    def ids(self, texts: list[str], *, start: bool = True, end: bool = True) -> list[list[int]]:
        """The ids of each text. `start` and `end` control the start and the end token.

        Leave `start` out for the rest of a text whose beginning is encoded elsewhere, and `end` for such a beginning.
        """
        head = [self.start] if start else []
        tail = [self.end] if end else []
        room = self._context - len(head) - len(tail)
        encodings = self._backend.encode_batch_fast([clean_text(text) for text in texts])
        return [head + encoding.ids[:room] + tail for encoding in encodings]


class PaddedTokenizer:
    """The token ids of a tokenizer of transformers, from its `tokenizer.json`, cut or padded to the context.

    Texts are repaired, HTML entities resolved and spaces joined, as open_clip does before such a tokenizer. With
    `strip_sep_token`, the separator at the end becomes the id 0, as for CLIPA. Raise ValueError for a file that is
    missing or not a tokenizer.
    """

    def __init__(self, path: Path, context: int, *, strip_sep_token: bool = False):
        from tokenizers import Tokenizer as Backend

        if not path.is_file():
            raise ValueError(f"{path} does not exist; put the tokenizer.json of the model beside its weights")
        try:
            self._backend = Backend.from_file(str(path))
        except Exception:  # noqa: BLE001 (the library raises the bare class)
            raise ValueError(f"{path} is not a tokenizer in the JSON format; download it again") from None
        pad = next((token for token in ("[PAD]", "<pad>") if self._backend.token_to_id(token) is not None), "[PAD]")
        self._backend.enable_truncation(context)
        self._backend.enable_padding(length=context, pad_id=self._backend.token_to_id(pad) or 0, pad_token=pad)
        self._separator = self._backend.token_to_id("[SEP]") if strip_sep_token else None

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return self._backend.get_vocab_size()

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text, as many as the context has."""
        encodings = self._backend.encode_batch_fast([clean_text(text, lower=False) for text in texts])
        return [[0 if token == self._separator else token for token in encoding.ids] for encoding in encodings]


def clean_text(text: str, *, lower: bool = True) -> str:
    """A text as CLIP's tokenizer reads it: repaired, entities resolved, spaces joined, in lower case if `lower`."""
    if not _PLAIN.fullmatch(text):
        import html

        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    joined = " ".join(text.split())
    return joined.lower() if lower else joined


def _build_clip_backend():
    """OpenAI's byte-pair encoding with 49,408 tokens, built from its merges."""
    import bz2

    from tokenizers import Regex, models
    from tokenizers import Tokenizer as Backend
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    lines = bz2.decompress(CLIP_MERGES.read_bytes()).decode("utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines]
    # Printable bytes come first, as themselves; the other bytes are characters from 256 on.
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    signs = [chr(byte) for byte in printing] + [chr(256 + n) for n in range(256 - len(printing))]
    tokens = signs + [sign + CLIP_WORD_END for sign in signs] + [a + b for a, b in merges] + [CLIP_START, CLIP_END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Backend(models.BPE(vocabulary, merges, end_of_word_suffix=CLIP_WORD_END))
    split = Split(Regex(CLIP_WORDS), "removed", invert=True)
    backend.pre_tokenizer = Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    return backend


def pad(ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of ids as int64 [n, t] padded with zeros, and their lengths int64 [n]."""
    lengths = np.array([len(row) for row in ids], np.int64)
    tokens = np.zeros((len(ids), max(1, lengths.max(initial=0))), np.int64)
    tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = [token for row in ids for token in row]
    return tokens, lengths


def fit_tokenizer(texts, n_tokens: int, path: Path) -> None:
    """Fit a lower-case byte-level BPE with `n_tokens` tokens to an iterator of texts and write it as JSON.

    Words are split at spaces first and keep their space. The tokens of a text therefore start with those of every
    prefix that ends at a word, so names can share the computation of their lineage.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.save(str(path))
