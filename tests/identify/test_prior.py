import math

import numpy as np
import pytest

from linnaea.identify import prior
from linnaea.identify.prior import log_prior, occurrence_counts

HERE = (48.0, 11.0)


def write(path, rows, separator=","):
    columns = list(rows[0])
    lines = [separator.join(columns)] + [separator.join(str(row[c]) for c in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(name, lat=48.0, lon=11.0, month=5, **more):
    return {"scientificName": name, "decimalLatitude": lat, "decimalLongitude": lon, "month": month} | more


def test_weights_fall_with_distance_and_season_as_the_formula_says(tmp_path):
    path = write(
        tmp_path / "o.csv",
        [row("Felis catus"), row("Canis lupus", lat=48 + 200 / 111.19493), row("Rosa canina", month=11)],
    )
    counts = occurrence_counts(path, near=HERE, month=5)
    assert counts["Felis catus"] == pytest.approx(1)
    assert counts["Canis lupus"] == pytest.approx(math.exp(-0.5), rel=1e-4)
    assert counts["Rosa canina"] == pytest.approx(math.exp(-2))


def test_december_and_january_are_neighbours_and_so_are_both_sides_of_the_date_line(tmp_path):
    path = write(tmp_path / "o.csv", [row("A a", lat=0, lon=-179.5, month=1)])
    near = occurrence_counts(path, near=(0, 179.5), month=12)["A a"]
    assert near == pytest.approx(math.exp(-(111.19**2) / (2 * 200**2)) * math.exp(math.cos(math.pi / 6) - 1), rel=1e-3)


def test_the_month_may_come_from_the_event_date_or_be_missing(tmp_path):
    rows = [row("A a", month="", eventDate="2021-05-03T10:00:00Z"), row("B b", month="", eventDate="spring")]
    counts = occurrence_counts(write(tmp_path / "o.csv", rows), near=None, month=5)
    assert counts["A a"] == pytest.approx(1) and counts["B b"] == pytest.approx(prior.SEASON_MEAN)


def test_tab_separated_tables_with_quotes_and_parquet_give_the_same(tmp_path):
    import polars as pl

    rows = [row("Felis catus", locality='the "old" mill'), row("", genus="Canis"), row("Canis lupus", lat="north")]
    rows = [{"genus": "", "locality": "", **r} for r in rows]
    tsv = occurrence_counts(write(tmp_path / "o.tsv", rows, "\t"), near=HERE, month=5)
    pl.DataFrame([{k: str(v) for k, v in r.items()} for r in rows]).write_parquet(tmp_path / "o.parquet")
    assert tsv == occurrence_counts(tmp_path / "o.parquet", near=HERE, month=5) == {"Felis catus": 1.0, "Canis": 1.0}


def test_the_prior_is_flat_without_records_and_never_impossible_with_them(vocabulary):
    flat_n, _ = log_prior(vocabulary, {})
    np.testing.assert_allclose(flat_n, 0, atol=1e-6)
    prior_n, n_known = log_prior(vocabulary, {"Felis catus": 100.0, "Nobody knows": 5.0})
    n = vocabulary.tree.n_leaves
    cat = vocabulary.tree.start_k[vocabulary.resolve_one("Felis catus").node]
    assert n_known == 1
    assert prior_n[cat] == pytest.approx(math.log(n * (0.95 + 0.05 / n)), abs=1e-5)
    assert np.delete(prior_n, cat) == pytest.approx(math.log(0.05), abs=1e-5)
    assert np.exp(prior_n).mean() == pytest.approx(1, abs=1e-5)


def test_records_above_species_and_homonyms_are_shared(vocabulary):
    prior_n, n_known = log_prior(vocabulary, {"Felidae": 3.0, "Oenanthe": 2.0})
    assert n_known == 2
    species = [vocabulary.tree.name(int(node)) for node in vocabulary.tree.leaf_node_n]
    likelier = {name for name, value in zip(species, prior_n, strict=True) if value > math.log(0.05) + 0.01}
    assert likelier == {
        "Felis catus",
        "Felis silvestris",
        "Panthera leo",
        "Oenanthe oenanthe",
        "Oenanthe crocata",
    }


def test_among_candidates_the_prior_is_one_over_them(vocabulary):
    leaves = vocabulary.leaves_within(["Felidae"])
    prior_n, _ = log_prior(vocabulary, {"Felis catus": 1.0, "Rosa canina": 50.0}, leaves)
    assert np.exp(prior_n[leaves]).mean() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("columns", "message"),
    [("decimalLatitude,decimalLongitude", "no column of names"), ("scientificName", "decimalLatitude")],
)
def test_a_table_that_lacks_a_column_is_refused_by_name(tmp_path, columns, message):
    (tmp_path / "o.csv").write_text(f"{columns}\n{','.join('1' for _ in columns.split(','))}\n")
    with pytest.raises(ValueError, match=message):
        occurrence_counts(tmp_path / "o.csv", near=HERE, month=None)
    with pytest.raises(FileNotFoundError):
        occurrence_counts(tmp_path / "gone.csv", near=HERE, month=None)


def test_a_record_of_absence_is_no_record_of_what_lives_there(tmp_path):
    rows = [row("A a", occurrenceStatus="ABSENT"), row("B b", occurrenceStatus="present"), row("C c", occurrenceStatus="")]
    assert set(occurrence_counts(write(tmp_path / "o.csv", rows), near=HERE, month=5)) == {"B b", "C c"}
