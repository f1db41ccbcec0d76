"""How a stored image is turned upright, and where a box of the upright image lies in the stored one.

Boxes are (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

from PIL import Image

Turn = Image.Transpose
Size = tuple[int, int]
Sides = tuple[float, float, float, float]
# What each turn does to a stored image: whether it swaps the axes, and before that mirrors x, mirrors y.
TURNS = {
    Turn.FLIP_LEFT_RIGHT: (False, True, False),
    Turn.FLIP_TOP_BOTTOM: (False, False, True),
    Turn.ROTATE_180: (False, True, True),
    Turn.TRANSPOSE: (True, False, False),
    Turn.ROTATE_90: (True, True, False),
    Turn.ROTATE_270: (True, False, True),
    Turn.TRANSVERSE: (True, True, True),
}


def compute_upright_size(size: Size, turn: Turn | None) -> Size:
    """Width and height of an image after the turn."""
    return (size[1], size[0]) if turn is not None and TURNS[turn][0] else size


def map_box_to_stored(box: Sides, size: Size, turn: Turn | None) -> Sides:
    """Where a box of the upright image lies in the stored one, whose width and height are `size`."""
    if turn is None:
        return box
    swap, mirror_x, mirror_y = TURNS[turn]
    left, top, right, bottom = (box[1], box[0], box[3], box[2]) if swap else box
    if mirror_x:
        left, right = size[0] - right, size[0] - left
    if mirror_y:
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom
