"""The JPEG preview that cameras put into their raw files: CR2, CR3, NEF, ARW, DNG, ORF, RW2, RAF, PEF and SRW.

A raw file is searched for JPEG streams, whatever its container; the largest one is the preview. Nothing of the sensor
data is developed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import BinaryIO

# The shorter side of a preview in pixels; smaller ones are thumbnails of a camera's menu.
LEAST_SIDE = 224
START, END = b"\xff\xd8\xff", b"\xff\xd9"
# Frames that Pillow decodes: baseline, extended and progressive. Lossless frames hold sensor data.
FRAMES = frozenset({0xC0, 0xC1, 0xC2})
# Other frames, and markers that do not stand before the first scan.
STOPS = frozenset({*range(0xC3, 0xD0), *range(0xD0, 0xDA)} - {0xC4, 0xC8, 0xCC})
MAX_SEGMENTS = 200
# The byte order and number at the start of TIFF, and of the containers of Olympus and Panasonic, which differ in the
# number alone.
TIFF_STARTS = {b"II*\0": b"II*\0", b"MM\0*": b"MM\0*", b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"IIU\0": b"II*\0"}
# Bytes at the start of a file that hold its tags.
HEAD_BYTES = 1 << 20


def read_preview(handle: BinaryIO) -> tuple[bytes, bytes]:
    """The largest JPEG in a raw file, and the file's EXIF block; both are empty if there is none."""
    with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        best = max(_find_jpegs(data), key=lambda found: found[0], default=None)
        return (b"" if best is None else data[best[1] : best[2]]), _read_tags(data)


def _find_jpegs(data: mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """Yield pixels, first byte and end of each JPEG stream that is large enough for a preview."""
    start = data.find(START)
    while start >= 0:
        after = start + len(START)
        if (frame := _read_frame(data, start)) is not None:
            width, height, scan = frame
            # Within a scan 0xFF is followed by 0, so this is the end, and thumbnails in the header are passed over.
            if (end := data.find(END, scan)) >= 0:
                after = end + len(END)
                if min(width, height) >= LEAST_SIDE:
                    yield width * height, start, after
        start = data.find(START, after)


def _read_frame(data: mmap.mmap, start: int) -> tuple[int, int, int] | None:
    """Width, height and the place of the first scan of a JPEG stream; None for sensor data and for chance."""
    at, size = start + 2, None
    for _segment in range(MAX_SEGMENTS):
        head = data[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF:
            return None
        marker, length = head[1], int.from_bytes(head[2:4])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return None if size is None else (*size, at + 2 + length)
        if marker in STOPS or length < 2:
            return None
        if marker in FRAMES:
            body = data[at + 4 : at + 10]
            if len(body) < 6 or body[0] != 8 or body[5] not in (1, 3):
                return None
            size = int.from_bytes(body[3:5]), int.from_bytes(body[1:3])
        at += 2 + length
    return None


def _read_tags(data: mmap.mmap) -> bytes:
    """The EXIF block of a raw file: the start of one whose container is like TIFF, or the box CMT1 of a CR3."""
    head = data[:HEAD_BYTES]
    if head[:4] not in TIFF_STARTS:
        box = head.find(b"CMT1") if head[4:8] == b"ftyp" else -1
        head = head[box + 4 :] if box >= 0 else b""
    start = TIFF_STARTS.get(head[:4])
    return b"" if start is None else b"Exif\0\0" + start + head[4:]
