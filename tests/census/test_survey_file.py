"""Survey files: where their sensors stand, without a simulated world."""

from dataclasses import dataclass

import pytest

from linnaea.census.survey_file import parse_survey, read_survey


@dataclass(frozen=True)
class Extent:
    """A map of 4 by 4 km."""

    width_m: float = 4000.0
    height_m: float = 4000.0


def test_a_grid_has_its_rows_and_columns_and_lines_go_from_south_to_north():
    survey = parse_survey({"version": 1, "camera": [{"grid": [2, 1]}], "count": [{"n_lines": 2}]}, Extent())
    assert survey.cameras[0].places_m == ((2000.0, 1000.0), (2000.0, 3000.0))
    assert survey.counts[0].lines_m == ((1000.0, 0.0, 1000.0, 4000.0), (3000.0, 0.0, 3000.0, 4000.0))


def test_a_survey_is_read_without_a_world(tmp_path):
    (tmp_path / "confusion.csv").write_text("true,hare,unidentified\nhare,3,1\n")
    path = tmp_path / "survey.toml"
    path.write_text(
        'version = 1\nlatitude = -2.3\nconfusion = "confusion.csv"\n'
        "[[camera]]\npoints_km = [[1, 2]]\nrange_m = 9\nsigma_m = 5\nfrom_day = 2\n"
        '[[count]]\nlines_km = [[0, 1, 4, 1]]\nkind = "aerial"\n[[collar]]\nspecies = "hare"\ncount = 3\n'
    )
    survey = read_survey(path, Extent())
    (camera,), (count,), (collar,) = survey.cameras, survey.counts, survey.collars
    assert (camera.places_m, camera.view.range_m, camera.detection.sigma_m, camera.start_h) == (
        ((1000, 2000),),
        9,
        5,
        48,
    )
    assert camera.confusion.share == ((0.75, 0.25),)
    assert (count.kind, count.compute_length_km(0), count.list_hours(24 * 40).tolist()) == ("aerial", 4, [12, 732])
    assert (collar.name, collar.species, collar.count) == ("collar1", "hare", 3)
    assert survey.georeference.latitude == -2.3
    path.write_text("version = 1\n[[camera]]\ngrid = [1, 0]\n")
    with pytest.raises(ValueError, match=r"survey.toml: camera 1: grid \[1, 0\] must be"):
        read_survey(path, Extent())
