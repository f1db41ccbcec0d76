"""The encoding of a text file, found from its bytes: byte order marks, UTF-16 without a mark, UTF-8, Windows-1252."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

# UTF-32 first: its little-endian mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 1 << 16
BLOCK_BYTES = 1 << 22
# A larger file is not read to its end for this question.
MOST_BYTES_CHECKED = 1 << 26
N_SAMPLES = 256
# Bytes that Windows-1252 leaves undefined; Latin-1 has control characters there.
UNDEFINED_BYTES = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))


def find_encoding(path: Path, *, whole: bool = False) -> str:
    """Return the Python name of the encoding of a text file; "" if the file is not text.

    A file without a byte order mark that is valid UTF-8 is UTF-8, any other is Windows-1252, as Excel saves it in
    western Europe and the Americas, or Latin-1. Of a large file only samples are read, unless `whole`.
    """
    with path.open("rb") as handle:
        head = handle.read(SAMPLE_BYTES)
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head:
        return _find_wide_encoding(head)
    is_large = path.stat().st_size > MOST_BYTES_CHECKED and not whole
    return "utf-8" if (_samples_are_utf8(path) if is_large else is_utf8(path)) else _find_byte_encoding(path)


def read_text(path: Path) -> str:
    """Return the text of a file in whatever encoding it has. Raise ValueError if it is not text."""
    encoding = find_encoding(path, whole=True)
    if not encoding:
        raise ValueError(f"{path} is not text; save it as text in UTF-8")
    return path.read_text(encoding=encoding, errors="replace").lstrip("\ufeff")


def _find_wide_encoding(head: bytes) -> str:
    """UTF-16 without a mark: letters of western languages have a zero in every second byte."""
    even, odd = head[0::2], head[1::2]
    if odd.count(0) > 0.3 * len(odd) and even.count(0) < 0.05 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.3 * len(even) and odd.count(0) < 0.05 * len(odd):
        return "utf-16-be"
    return ""


def _samples_are_utf8(path: Path) -> bool:
    """Whether samples from all parts of a file are UTF-8, apart from the letters that their ends cut."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        for number in range(N_SAMPLES):
            handle.seek(size * number // N_SAMPLES)
            sample = handle.read(SAMPLE_BYTES)
            start = next((at for at in range(4) if sample[at : at + 1] and not 0x80 <= sample[at] < 0xC0), 0)
            try:
                codecs.getincrementaldecoder("utf-8")().decode(sample[start:])
            except UnicodeDecodeError:
                return False
    return True


def is_utf8(path: Path) -> bool:
    """Return whether a whole file is valid UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in read_blocks(path):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _find_byte_encoding(path: Path) -> str:
    undefined = any(block.translate(None, UNDEFINED_BYTES) != block for block in read_blocks(path))
    return "latin-1" if undefined else "cp1252"


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks."""
    with path.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            yield block
