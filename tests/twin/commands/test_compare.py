"""Answers of a comparison: chance over many species, extinction, single pairs; all by hand."""

from dataclasses import replace

import numpy as np
import pytest

from linnaea.twin.reports.comparison_report import format_findings
from linnaea.twin.reports.comparison_text import format_amount, format_caveats, format_comparison
from linnaea.twin.runs.paired_differences import compare_paired, compare_runs, control_false_discoveries
from linnaea.twin.runs.results import load_run
from made_runs import GONE, make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("pairs")
    folders = make_run(home / "base"), make_run(home / "gone", scenario=GONE)
    return tuple(load_run(folder) for folder in folders)


def difference(base, whatif, **changes):
    return replace(compare_paired(base, whatif, 0.9), **changes)


def test_the_rule_over_many_lets_the_k_smallest_stand():
    # Limits at a rate of 0.1 over five: 0.02, 0.04, 0.06, 0.08, 0.1.
    assert control_false_discoveries([0.01, 0.5, 0.05, 0.055, 0.9], 0.1).tolist() == [True, False, True, True, False]
    assert control_false_discoveries([0.03, 0.5, 0.07, 0.09, 0.9], 0.1).tolist() == [False] * 5
    # What is not known is neither a test nor a finding.
    assert control_false_discoveries([np.nan, 0.09], 0.1).tolist() == [False, True]
    assert control_false_discoveries([np.nan], 0.1).tolist() == [False]


def test_of_many_worlds_without_effect_hardly_one_is_told_an_effect():
    rng = np.random.default_rng(0)
    called = []
    for _ in range(100):
        found = [compare_paired(rng.normal(100, 10, 8), rng.normal(100, 10, 8)).p for _ in range(25)]
        called.append(control_false_discoveries(found, 0.1).any())
    # Without correction nine worlds in ten have one: 1 - 0.9 ** 25.
    assert np.mean(called) < 0.2


def test_the_chance_of_a_difference_is_students():
    # Mean 2, s.d. 1, three pairs: t = 2 √3 at two degrees, twice its upper tail.
    t = 2 * np.sqrt(3)
    assert compare_paired([10, 20, 30], [11, 22, 33]).p == pytest.approx(1 - t / np.sqrt(2 + t * t))
    assert np.isnan(compare_paired([1], [2]).p)


def test_pairs_without_spread_have_the_chance_that_all_signs_agree():
    same = compare_paired([5, 5, 5, 5], [4, 4, 4, 4])
    assert same.uniform
    assert same.p == 1 / 8
    assert compare_paired([5, 5, 5, 5], [5, 5, 5, 5]).p == 1


def test_numbers_keep_a_decimal_where_it_matters():
    assert [format_amount(n) for n in (0, 0.0312, 17.04, 99.94, 99.96, 1234.5)] == [
        "0.0",
        "0.03",
        "17.0",
        "99.9",
        "100",
        "1,234",
    ]
    assert [format_amount(n, True) for n in (-1, 2.5, 0)] == ["-1.0", "+2.5", "0.0"]
    assert format_amount(float("nan")) == "–"


def test_a_species_that_dies_out_is_said_to_though_its_mean_hardly_fell():
    hyaena = difference([19.0, 20.2], [17.0, 17.6], start=16, base_end=19, whatif_end=0, base_gone=0, whatif_gone=2)
    found = {"spotted hyaena": hyaena, "lion": difference([5.0, 6.0], [5.0, 6.0])}
    for text in ("\n".join(format_comparison(found, 1.0, 0.9)), "\n".join(format_findings(found, 0.9))):
        assert "extinct in 2 of 2 what-ifs, 0 of 2 baselines" in text
        assert "2 pairs are few" in text
    assert "At the end 19.0 and 0.0" in format_findings(found, 0.9)[0]
    assert format_findings(found, 0.9)[0].startswith("spotted hyaena: 2.3 fewer (-12 %), 19.6 → 17.3")


def test_every_sure_result_is_told_or_counted():
    rng = np.random.default_rng(1)
    found = {
        f"species {i}": difference(rng.normal(50, 1, 8), rng.normal(80, 1, 8), beyond_chance=True) for i in range(15)
    }
    said = format_findings(found, 0.9)
    assert sum(line.startswith("species") for line in said) == 12
    assert "And 3 more, see the table." in said


def test_marks_say_how_many_chance_alone_would_set():
    found = {f"species {i}": compare_paired([10.0] * 4 + [11.0] * 4, [10.0, 11.0] * 4) for i in range(25)}
    assert "in about 2.5 of 25 species; here 0 do" in format_caveats(found, 0.9)[0]
    assert len(format_caveats(found, 0.9)) == 1


def test_one_pair_claims_nothing():
    text = "\n".join(format_comparison({"hare": compare_paired([10], [20]), "fox": compare_paired([3], [3])}, 1.0, 0.9))
    assert "nan" not in text
    assert "*" not in text
    assert "One pair of runs cannot separate an effect from chance" in text


def test_a_run_is_not_compared_with_itself(runs):
    with pytest.raises(ValueError, match="compared with itself"):
        compare_runs(runs[0], runs[0])


def test_ends_and_extinction_are_those_of_the_members(runs):
    base, gone = runs
    fox = compare_runs(base, gone, last_years=0.01)["red fox"]
    row = base.species.index("red fox")
    assert (fox.whatif_end, fox.whatif_gone, fox.base_gone, fox.pairs) == (0, 3, 0, 3)
    assert fox.start == base.records["counts"][:, 0, row].mean()
    assert fox.base_end == base.records["counts"][:, -1, row].mean()
