"""Drawn pictures are what their names say, and the same at every drawing."""

from collections import Counter

import numpy as np

from linnaea.datasets.synthetic import COLOURS, MARKS, SHAPES, SyntheticSource, draw_picture, synthetic_taxa
from linnaea.train.data.augmentation import decode_bytes


def test_there_is_a_taxon_for_every_shape_colour_and_mark():
    taxa = synthetic_taxa()
    assert len({lineage for lineage, _ in taxa}) == len({common for _, common in taxa}) == 48
    assert len(taxa) == len(SHAPES) * len(COLOURS) * len(MARKS)
    assert taxa[0] == (
        ("Figurae", "Planae", "Rotunda", "Tractales", "Circulidae", "Circulusruber", "Circulusruber simplex"),
        "plain red circulus",
    )


def test_a_picture_is_a_pure_function_of_taxon_and_seed():
    assert draw_picture(3, 7) == draw_picture(3, 7)
    assert draw_picture(3, 7) != draw_picture(3, 8)
    assert draw_picture(3, 7) != draw_picture(4, 7)


def test_a_red_picture_is_redder_than_a_green_one():
    def redness(taxon):
        pixels = np.asarray(decode_bytes(draw_picture(taxon, 1)), float).mean((0, 1))
        return pixels[0] - pixels[1]

    red, green = 0, 2 * len(MARKS)
    assert synthetic_taxa()[red][1] == "plain red circulus"
    assert synthetic_taxa()[green][1] == "plain green circulus"
    assert redness(red) > redness(green) + 20


def test_the_source_gives_each_taxon_its_turn_with_the_text_that_is_asked_for():
    source = SyntheticSource(96)
    assert set(Counter(source.taxa(0).tolist()).values()) == {2}
    sample = source.read(0, 49, "taxonomic")
    lineage, common = synthetic_taxa()[1]
    assert sample.lineage == lineage
    assert sample.text == f"a photo of {' '.join(lineage[:-1])} anulatus."
    assert source.read(0, 49, "common").text == f"a photo of {common}."
    assert source.read(0, 49, "common").data == sample.data
    assert source.read(0, 1, "common").data != sample.data
    assert SyntheticSource(96).fingerprint != SyntheticSource(95).fingerprint
