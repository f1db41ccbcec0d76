import pytest

from linnaea.standards.table_reading.column_names import clean_header, find_column, make_key, match_columns


def test_a_name_is_found_before_its_synonyms():
    assert find_column(["lat", "Decimal Latitude"], "decimalLatitude") == "Decimal Latitude"
    assert find_column(["lat", "n"], "decimalLatitude") == "lat"
    assert find_column(["n"], "decimalLatitude", "n") == "n"
    assert find_column(["x"], "decimalLatitude") is None


@pytest.mark.parametrize("column", ["observed_on", "Observed On", "eventStart", "dwc:eventDate"])
def test_dates_of_other_programs_are_found(column):
    assert find_column(["id", column], "eventDate") == column


def test_an_exact_column_is_preferred_to_another_spelling():
    assert match_columns(["File", "file", "N"], ("file", "n")) == {"file": "file", "N": "n"}
    assert match_columns(["File"], ("file",)) == {"File": "file"}


def test_headings_become_distinct():
    assert clean_header(["a", "", "a", ' "b" ', "a"]) == ("a", "column 2", "a 2", "b", "a 3")


def test_addresses_and_prefixes_do_not_count():
    assert make_key("http://purl.org/dc/terms/type") == make_key("dcterms:Type") == "type"
    assert make_key("location-lat") == make_key("Location_Lat") == "locationlat"
