"""Pages of sensitivity, calibration and assimilation: whole, and with what their tables hold."""

import re

import numpy as np
import pytest

from linnaea.census.observation_model import Count
from linnaea.twin.data.world_file import load_world
from linnaea.twin.inference.abc_smc import Posterior
from linnaea.twin.inference.ensemble_filter import AssimilationResult
from linnaea.twin.reports.assimilation_report import write_assimilation
from linnaea.twin.reports.study_reports import EffectColumns, write_calibration, write_sensitivity


@pytest.fixture(scope="module")
def data():
    return load_world("tutorial")


def row(species, parameter, size, beside, **more):
    return {
        "species": species,
        "parameter": parameter,
        "low": 1.0,
        "high": 2.0,
        "grade": "unverified",
        "mu_star": size,
        "mu_star_conf": beside,
        "sigma": 0.5,
        "mu": size,
    } | more


def test_sensitivity_names_the_strongest_and_who_is_not_moved(data, tmp_path):
    rows = [
        row("rabbit", "settings.catch_margin", 10.0, 2.0),
        row("rabbit", "settings.plant_efficiency", 3.0, 4.0),
        row("red fox", "settings.catch_margin", 0.5, 0.6),
    ]
    columns = EffectColumns(method="morris", meaning="meaning", size="mu_star", beside="mu_star_conf")
    text = write_sensitivity(tmp_path, data, columns, rows, "about").read_text("utf-8")
    assert "rabbit: most by settings.catch_margin, mu_star 10 ± 2." in text
    assert "1 of 2 species are moved by none" in text
    assert text.count("<svg") == 4


def test_a_calibration_says_what_the_counts_hardly_tell(data, tmp_path):
    rng = np.random.default_rng(0)
    values = np.stack([rng.uniform(3, 9, 200), rng.normal(5, 0.1, 200)], 1)
    posterior = Posterior(
        values_np=values,
        weights_n=np.full(200, 1 / 200),
        distances_n=np.zeros(200),
        tolerances=(1.0, 0.5),
        simulated=400,
    )
    ranges = [("settings.catch_margin", 3.0, 9.0), ("species.rabbit.litter_size", 3.0, 7.0)]
    text = write_calibration(tmp_path, data, ranges, posterior, "counts.csv").read_text("utf-8")
    told = re.findall(r"<p>(settings.catch_margin|species.rabbit.litter_size): ([^<]*)</p>", text)
    assert ["hardly constrain" in sentence for _, sentence in told] == [True, False]
    # Prior and posterior of each, and the pair.
    assert text.count("<svg") == 3


def test_an_assimilation_shows_counts_band_and_forecast(data, tmp_path):
    w, s, m = 3, 2, 20
    before, after = np.full((w, s, m), 4.0), np.full((w, s, m), 2.0)
    done = AssimilationResult(
        animals=("rabbit", "red fox"),
        edges_h=np.arange(4) * 720.0,
        before_wsm=before,
        after_wsm=after,
        parameters=(),
        first_pm=np.zeros((0, m)),
        last_pm=np.zeros((0, m)),
        first_detection_gsm=np.zeros((1, s, m)),
        detection_gsm=np.zeros((1, s, m)),
        surprise_w=np.array([1.0, 1.0, np.nan]),
        levels=(1.0,),
        weight_wl=np.ones((w, 1)),
    )
    count = Count(group="camera", name="rabbit", y=6, per_density_s=np.array([2.0, 0.1]), k=5.0)
    path = write_assimilation(tmp_path, data, done, [(count,), (count,)], "2024-01-01T00:00:00Z", ["a note"], [])
    text = path.read_text("utf-8")
    # Two spans with a count each.
    assert text.count("<title>3</title>") == 2
    assert "30 days later" in text
    assert re.search(r"<td>rabbit</td><td>2</td><td>2 to 2</td><td>4</td><td>4 to 4</td>", text)
    assert "2024-01-01," in text
