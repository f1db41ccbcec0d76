"""Frames of videos, through PyAV (extra `[video]`), and what a video says about itself."""

from __future__ import annotations

import functools
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

MEDIA_TYPES = {
    ".3gp": "video/3gpp",
    ".asf": "video/x-ms-asf",
    ".avi": "video/x-msvideo",
    ".flv": "video/x-flv",
    ".m2ts": "video/mp2t",
    ".m4v": "video/x-m4v",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".mts": "video/mp2t",
    ".ogv": "video/ogg",
    ".webm": "video/webm",
    ".wmv": "video/x-ms-wmv",
}
VIDEO_SUFFIXES = frozenset(MEDIA_TYPES)
# Only these containers: a playlist would make FFmpeg open other files and addresses.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,flv,asf,ogg"
# Frames that are decoded between a key frame and the one that is wanted.
MAX_DECODED = 2000
NOT_REGULAR = "not a regular file (a pipe, socket or device)"
NO_TRACK = "a video without a picture"
CUT_VIDEO = "truncated: the video ends, or is damaged, before this frame"
# How long the last frame of a video is shown.
MOST_LATE_S = 5.0
DAMAGED_VIDEO = "damaged: no frame of the video can be decoded"
# By the degrees that a frame must be turned counterclockwise.
TURNS = {
    90: Image.Transpose.ROTATE_90,
    -90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    -180: Image.Transpose.ROTATE_180,
}


class VideoError(ValueError):
    """A video gives no frame; the text is the reason."""


@functools.cache
def can_read_videos() -> bool:
    """Whether the extra `[video]` is installed."""
    return find_spec("av") is not None


def is_video(path: str | os.PathLike) -> bool:
    """Whether the name of a file is that of a video."""
    return os.path.splitext(os.fspath(path))[1].lower() in VIDEO_SUFFIXES


def plan_frames(path: str | os.PathLike, most: int) -> list[float]:
    """The times in seconds of at most `most` frames, spread evenly, and at most one for each second that began.

    Raise VideoError or OSError if the video cannot be opened.
    """
    with _open_video(path) as (container, stream):
        duration_s = _find_duration(container, stream)
    n = max(1, min(most, math.ceil(duration_s)))
    return [round(duration_s * (i + 0.5) / n, 2) for i in range(n)]


def read_frame(path: str | os.PathLike, time_s: float | None, most_pixels: int) -> Image.Image:
    """The upright frame that is shown `time_s` after the start; by default that in the middle.

    Raise VideoError, and what PyAV raises for damaged files.
    """
    import av

    with _open_video(path) as (container, stream):
        _check_size(stream.width, stream.height, most_pixels)
        wanted_s = _find_duration(container, stream) / 2 if time_s is None else time_s
        at = (stream.start_time or 0) + int(wanted_s / stream.time_base)
        with suppress(av.FFmpegError, ValueError, OverflowError):  # without an index it is read from the start
            container.seek(at, stream=stream, backward=True)
        frame = _find_frame(container, stream, at)
        _check_size(frame.width, frame.height, most_pixels)
        image, turn = frame.to_image(), TURNS.get(frame.rotation)
    return image if turn is None else image.transpose(turn)


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if not 0 < width * height <= most_pixels:
        raise VideoError(f"too large: {width * height:,} pixels, over the limit of {most_pixels:,}")


def _find_frame(container: InputContainer, stream: VideoStream, at: int) -> VideoFrame:
    """The frame that is shown at a time: the last one that began. Raise VideoError if there is none."""
    import av

    frame, has_next = None, False
    with suppress(av.FFmpegError):
        for number, found in enumerate(container.decode(stream)):
            has_next = frame is not None and (found.pts is None or found.pts > at)
            if has_next or number >= MAX_DECODED:
                break
            frame = found
    if frame is None:
        raise VideoError(DAMAGED_VIDEO)
    late_s = 0.0 if frame.pts is None else float((at - frame.pts) * stream.time_base)
    if not has_next and late_s > MOST_LATE_S:
        raise VideoError(CUT_VIDEO)
    return frame


def read_video_tags(path: str | os.PathLike) -> dict[str, str]:
    """What the container says: `date` and `place` as written, "" if missing, `width` and `height` of the pixels."""
    with _open_video(path) as (container, stream):
        tags = {key.lower(): value for key, value in (container.metadata | stream.metadata).items()}
        tags |= {key.lower(): value for key, value in container.metadata.items()}
        dates = ("com.apple.quicktime.creationdate", "creation_time", "date")
        places = ("com.apple.quicktime.location.iso6709", "location", "location-eng")
        return {
            "date": next((tags[key] for key in dates if tags.get(key)), ""),
            "place": next((tags[key] for key in places if tags.get(key)), ""),
            "width": str(stream.width),
            "height": str(stream.height),
        }


@contextmanager
def _open_video(path: str | os.PathLike) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first picture track. Raise VideoError for what is no video."""
    import av

    if not stat.S_ISREG(os.stat(path).st_mode):
        raise VideoError(NOT_REGULAR)  # to open a pipe would wait for a writer
    with open(path, "rb"):
        pass  # FFmpeg would give the errors of missing files and permissions in its own words
    try:
        container = av.open(os.fspath(path), options={"format_whitelist": CONTAINERS}, metadata_errors="replace")
    except (OSError, ValueError, av.FFmpegError):
        raise VideoError(DAMAGED_VIDEO) from None
    with container:
        if not container.streams.video:
            raise VideoError(NO_TRACK)
        stream = container.streams.video[0]
        # Videos are decoded in threads already.
        stream.thread_type = "NONE"
        yield container, stream


def _find_duration(container: InputContainer, stream: VideoStream) -> float:
    """The duration in seconds, 0 if it is unknown."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    if container.duration:
        return max(0.0, container.duration / 1_000_000)
    return float(stream.frames / stream.average_rate) if stream.frames and stream.average_rate else 0.0
