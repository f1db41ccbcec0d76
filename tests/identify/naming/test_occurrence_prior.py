import math

import numpy as np
import pytest

from linnaea.identify.naming.occurrence_prior import compute_log_prior
from linnaea.standards import occurrence_records as occurrences
from linnaea.standards.occurrence_records import HIGHER_RANKS, RecordedName

HERE = (48.0, 11.0)


def count_occurrences(*arguments, **options):
    """By name alone."""
    counts = occurrences.count_occurrences(*arguments, **options)
    assert len({recorded.name for recorded in counts}) == len(counts)
    return {recorded.name: count for recorded, count in counts.items()}


def recorded(**counts):
    return {RecordedName(name.replace("_", " ")): count for name, count in counts.items()}


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
    counts = count_occurrences(path, near=HERE, month=5)
    assert counts["Felis catus"] == pytest.approx(1)
    assert counts["Canis lupus"] == pytest.approx(math.exp(-0.5), rel=1e-4)
    assert counts["Rosa canina"] == pytest.approx(math.exp(-2))


def test_december_and_january_are_neighbours_and_so_are_both_sides_of_the_date_line(tmp_path):
    path = write(tmp_path / "o.csv", [row("A a", lat=0, lon=-179.5, month=1)])
    near = count_occurrences(path, near=(0, 179.5), month=12)["A a"]
    assert near == pytest.approx(math.exp(-(111.19**2) / (2 * 200**2)) * math.exp(math.cos(math.pi / 6) - 1), rel=1e-3)


def test_the_month_may_come_from_the_event_date_or_be_missing(tmp_path):
    rows = [row("A a", month="", eventDate="2021-05-03T10:00:00Z"), row("B b", month="", eventDate="spring")]
    counts = count_occurrences(write(tmp_path / "o.csv", rows), near=None, month=5)
    assert counts["A a"] == pytest.approx(1)
    assert counts["B b"] == pytest.approx(occurrences.SEASON_MEAN)


def test_tab_separated_tables_with_quotes_and_parquet_give_the_same(tmp_path):
    import polars as pl

    rows = [row("Felis catus", locality='the "old" mill'), row("", genus="Canis"), row("Canis lupus", lat="north")]
    rows = [{"genus": "", "locality": "", **r} for r in rows]
    tsv = count_occurrences(write(tmp_path / "o.tsv", rows, "\t"), near=HERE, month=5)
    pl.DataFrame([{k: str(v) for k, v in r.items()} for r in rows]).write_parquet(tmp_path / "o.parquet")
    assert tsv == count_occurrences(tmp_path / "o.parquet", near=HERE, month=5) == {"Felis catus": 1.0, "Canis": 1.0}


def test_the_prior_is_flat_without_records_and_never_impossible_with_them(vocabulary):
    flat_n, _ = compute_log_prior(vocabulary, {})
    np.testing.assert_allclose(flat_n, 0, atol=1e-6)
    prior_n, n_known = compute_log_prior(vocabulary, recorded(Felis_catus=100.0, Nobody_knows=5.0))
    n = vocabulary.tree.n_leaves
    cat = vocabulary.tree.start_k[vocabulary.resolve_one("Felis catus").node]
    assert n_known == 1
    assert prior_n[cat] == pytest.approx(math.log(n * (0.95 + 0.05 / n)), abs=1e-5)
    assert np.delete(prior_n, cat) == pytest.approx(math.log(0.05), abs=1e-5)
    assert np.exp(prior_n).mean() == pytest.approx(1, abs=1e-5)


def likelier(vocabulary, prior_n):
    """The species whose records count."""
    species = [vocabulary.tree.name(int(node)) for node in vocabulary.tree.leaf_node_n]
    return {name for name, value in zip(species, prior_n, strict=True) if value > math.log(0.05) + 0.01}


def test_records_above_species_and_homonyms_are_shared(vocabulary):
    prior_n, n_known = compute_log_prior(vocabulary, recorded(Felidae=3.0, Oenanthe=2.0))
    assert n_known == 2
    assert likelier(vocabulary, prior_n) == {
        "Felis catus",
        "Felis silvestris",
        "Panthera leo",
        "Oenanthe oenanthe",
        "Oenanthe crocata",
    }


def test_among_candidates_the_prior_is_one_over_them(vocabulary):
    leaves = vocabulary.leaves_within(["Felidae"])
    prior_n, _ = compute_log_prior(vocabulary, recorded(Felis_catus=1.0, Rosa_canina=50.0), leaves)
    assert np.exp(prior_n[leaves]).mean() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("columns", "message"),
    [("decimalLatitude,decimalLongitude", "no column of names"), ("scientificName", "decimalLatitude")],
)
def test_a_table_that_lacks_a_column_is_refused_by_name(tmp_path, columns, message):
    (tmp_path / "o.csv").write_text(f"{columns}\n{','.join('1' for _ in columns.split(','))}\n")
    with pytest.raises(ValueError, match=message):
        count_occurrences(tmp_path / "o.csv", near=HERE, month=None)
    with pytest.raises(FileNotFoundError):
        count_occurrences(tmp_path / "gone.csv", near=HERE, month=None)


def test_a_record_of_absence_is_no_record_of_what_lives_there(tmp_path):
    rows = [
        row("A a", occurrenceStatus="ABSENT"),
        row("B b", occurrenceStatus="present"),
        row("C c", occurrenceStatus=""),
    ]
    assert set(count_occurrences(write(tmp_path / "o.csv", rows), near=HERE, month=5)) == {"B b", "C c"}


def above(**names):
    return tuple(names.get(rank, "") for rank in ("kingdom", "phylum", "class_", "order", "family"))


@pytest.mark.parametrize(
    ("name", "higher", "species"),
    [
        ("Oenanthe", above(kingdom="Plantae"), {"Oenanthe crocata"}),
        ("Oenanthe", above(kingdom="Metazoa"), {"Oenanthe oenanthe"}),
        ("Oenanthe", above(family="Apiaceae"), {"Oenanthe crocata"}),
        ("Oenanthe", above(kingdom="animalia ", family="Turdidae"), {"Oenanthe oenanthe"}),
        ("Oenanthe", above(), {"Oenanthe crocata", "Oenanthe oenanthe"}),
        ("Oenanthe", above(kingdom="Fungi"), set()),
        ("Rosa canina", above(kingdom="Animalia"), set()),
        ("Rosa canina", above(kingdom="Viridiplantae"), {"Rosa canina"}),
        ("Rosa canina", above(kingdom="Chromista", family="Rosaceae"), {"Rosa canina"}),
        ("Rosa canina", above(phylum="Streptophyta"), {"Rosa canina"}),
        ("Animalia", above(kingdom="Animalia"), None),
        ("Felis silvestris lybica", above(kingdom="Animalia"), {"Felis silvestris"}),
        ("Felis silvestris subsp. lybica Forster, 1780", above(), {"Felis silvestris"}),
        ("Rosa canina var. dumetorum", above(kingdom="Plantae"), {"Rosa canina"}),
        ("Felis cf. silvestris lybica", above(), set()),
        ("Felis nova lybica", above(), set()),
    ],
)
def test_a_record_counts_for_the_taxa_that_its_higher_ranks_agree_with(vocabulary, name, higher, species):
    assert len(higher) == len(HIGHER_RANKS)
    prior_n, n_known = compute_log_prior(vocabulary, {RecordedName(name, higher): 9.0})
    if species is None:  # all animals
        assert n_known == 1
        assert len(likelier(vocabulary, prior_n)) == 7
    else:
        assert n_known == bool(species)
        # Without any record the prior is flat.
        assert species == likelier(vocabulary, prior_n) if species else np.allclose(prior_n, 0, atol=1e-6)


def test_rows_of_one_name_with_different_kingdoms_are_counted_apart(tmp_path, vocabulary):
    rows = [row("Oenanthe", kingdom="Plantae"), row("Oenanthe", kingdom="Plantae"), row("Oenanthe", kingdom="Animalia")]
    counts = occurrences.count_occurrences(write(tmp_path / "o.csv", rows), near=HERE, month=5)
    assert sorted((r.above[0], n) for r, n in counts.items()) == [("Animalia", 1.0), ("Plantae", 2.0)]
    prior_n, n_known = compute_log_prior(vocabulary, counts)
    leaf = {
        name: vocabulary.tree.start_k[vocabulary.resolve_one(name).node]
        for name in ("Oenanthe crocata", "Oenanthe oenanthe")
    }
    assert n_known == 1
    assert prior_n[leaf["Oenanthe crocata"]] > prior_n[leaf["Oenanthe oenanthe"]]


def test_genus_and_epithet_make_a_name_where_no_other_is_given(tmp_path):
    rows = [row("", genus="Felis", specificEpithet="catus"), row("", genus="Canis", specificEpithet="")]
    assert set(count_occurrences(write(tmp_path / "o.csv", rows), near=HERE, month=5)) == {"Felis catus", "Canis"}


@pytest.mark.parametrize("kind", ["archive", "simple", "parquet"])
def test_a_download_of_gbif_is_read_as_it_comes(tmp_path, kind):
    import zipfile

    import polars as pl

    rows = [
        row("Felis catus L.", species="Felis catus", kingdom="Animalia"),
        row("Canis lupus", species="", kingdom=""),
    ]
    table = write(tmp_path / "t.tsv", rows, "\t").read_bytes()
    with zipfile.ZipFile(tmp_path / "0012345-2026.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "archive":
            archive.writestr("verbatim.txt", b"gbifID\tscientificName\n1\tRosa canina\n" * 99)
            archive.writestr("occurrence.txt", table)
            archive.writestr("meta.xml", "<archive/>")
            archive.writestr("citations.txt", "x")
        elif kind == "simple":
            archive.writestr("0012345-2026.csv", table)
        else:
            for number, part in enumerate(rows):
                part = {key.lower(): value for key, value in part.items()}
                pl.DataFrame([part]).write_parquet(tmp_path / "part")
                archive.write(tmp_path / "part", f"occurrence.parquet/00000{number}")
    counts = occurrences.count_occurrences(tmp_path / "0012345-2026.zip", near=HERE, month=5)
    assert counts == {
        RecordedName("Felis catus", above(kingdom="Animalia")): pytest.approx(1.0),
        RecordedName("Canis lupus"): pytest.approx(1.0),
    }


def test_a_zip_without_records_is_refused_by_name(tmp_path):
    import zipfile

    path = tmp_path / "o.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat.jpg", "x")
    with pytest.raises(ValueError, match=r"o\.zip holds no table of occurrences \(it holds cat\.jpg\)"):
        occurrences.count_occurrences(path, near=HERE, month=None)
    path.write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match=r"o\.zip is not a readable zip archive"):
        occurrences.count_occurrences(path, near=HERE, month=None)


def test_terms_with_a_prefix_or_in_lower_case_are_known(tmp_path):
    (tmp_path / "o.csv").write_text("dwc:scientificName,DECIMALLATITUDE,dwc:decimalLongitude\nFelis catus,48,11\n")
    assert count_occurrences(tmp_path / "o.csv", near=HERE, month=None) == {"Felis catus": 1.0}
