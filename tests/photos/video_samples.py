"""Short videos: red rises and blue falls from second to second."""

import numpy as np


def make_video(path, seconds=6, fps=10, size=(320, 240), codec="mpeg4", pix_fmt="yuv420p", paint=None, **tags):
    """Write a video whose red is 40 times the second; `paint(second)` returns other pictures [h, w, 3]."""
    import av

    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        for number in range(round(seconds * fps)):
            second = number // fps
            pixels = np.zeros((size[1], size[0], 3), np.uint8)
            pixels[:] = (40 * second, 0, 255 - 40 * second) if paint is None else paint(second)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path
