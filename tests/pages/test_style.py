"""Colours of reports: text and data stand out from their ground, and data from each other, in both schemes."""

import itertools
import re

import numpy as np
import pytest

from linnaea.pages.style import COLOURS, SERIES, STYLE

# Machado, Oliveira and Fernandes (2009), severity 1: what readers without one kind of cone see, in linear RGB.
VISION = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
TEXT_PAIRS = [
    *((text, ground) for text in ("ink", "soft") for ground in ("card", "ground")),
    *((status, "card") for status in ("green", "amber", "rust")),
    *((status, f"{status}-soft") for status in ("green", "amber", "rust")),
]


def to_linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    dark, light = sorted(float(to_linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (a, b))
    return (light + 0.05) / (dark + 0.05)


def to_lab(linear: np.ndarray) -> np.ndarray:
    x, y, z = np.array(TO_XYZ) @ linear / [0.95047, 1.0, 1.08883]
    f_x, f_y, f_z = (np.cbrt(value) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z))
    return np.array([116 * f_y - 16, 500 * (f_x - f_y), 200 * (f_y - f_z)])


def test_black_on_white_has_the_contrast_of_the_definition():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_from_its_ground_in_both_schemes(scheme):
    for text, ground in TEXT_PAIRS:
        assert contrast(COLOURS[text][scheme], COLOURS[ground][scheme]) >= 4.5, (text, ground)


@pytest.mark.parametrize("scheme", [0, 1])
def test_data_stand_out_from_the_card(scheme):
    for name in SERIES:
        assert contrast(COLOURS[name][scheme], COLOURS["card"][scheme]) >= 3, name


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", [0, 1])
def test_colour_blind_readers_tell_the_colours_of_data_apart(scheme, vision):
    seen = {name: to_lab(np.clip(np.array(VISION[vision]) @ to_linear(COLOURS[name][scheme]), 0, 1)) for name in SERIES}
    for a, b in itertools.combinations(SERIES, 2):
        # A difference of 2 to 3 is just visible side by side.
        assert np.linalg.norm(seen[a] - seen[b]) > 10, (a, b)


def test_light_colours_differ_so_that_each_can_become_its_variable():
    light = [values[0] for values in COLOURS.values()]
    assert len(set(light)) == len(light)


def test_the_style_sheet_has_both_schemes_and_prints_in_light():
    light, dark, printed = re.findall(r":root\{([^}]*)\}", STYLE)
    assert "--ink:#1b211c" in light
    assert "--ink:#eaefe9" in dark
    assert re.findall(r"--[\w-]+:#\w+", printed) == re.findall(r"--[\w-]+:#\w+", light)
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE))
    assert used <= set(COLOURS)
    assert "http" not in STYLE
    assert "url(" not in STYLE
