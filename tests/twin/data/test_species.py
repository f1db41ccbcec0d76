"""The species table: what it says, what it refuses, and how far it is from measured values."""

import csv
import math
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.twin.data.allometry import LAWS
from linnaea.twin.data.evidence import check_grade, is_measured
from linnaea.twin.data.species import BASAL, EATS, NUMERIC, Species, load_bundled_species, parse_species, read_species

DATA = Path(__file__).resolve().parents[4] / "shared/data/ecology"
HEAD = "name,scientific_name,diet,body_mass_kg,litter_size,maturity_y,life_span_y,birth_months,grade"


def table(*rows: str) -> str:
    return "\n".join([HEAD, *rows])


def test_every_value_of_every_bundled_species_says_how_well_it_is_known():
    for species in load_bundled_species().values():
        for name in NUMERIC:
            assert math.isnan(getattr(species, name)) != (name in species.grades), (species.name, name)
        for name, grade in species.grades.items():
            assert check_grade(grade, name) == grade
        # Nothing of the bundled table was taken from a source, and it must not say so.
        assert not [name for name, grade in species.grades.items() if is_measured(grade)]
        assert species.unmeasured() == tuple(species.grades)


def test_a_savanna_of_at_least_twenty_real_animals_is_there():
    animals = {name for name, species in load_bundled_species().items() if not species.basal}
    named = (
        "plains zebra,wildebeest,African buffalo,African elephant,giraffe,common warthog,lion,spotted hyaena,cheetah"
    )
    named += ",leopard,African wild dog,white-backed vulture,termite,dung beetle,Thomson's gazelle,moose,grey wolf"
    assert set(named.split(",")) <= animals
    assert len(animals) >= 30


def test_an_empty_cell_is_computed_from_body_mass_and_says_by_which_formula():
    species = parse_species(table("oryx,Oryx beisa,grazer,180,,,,,unverified"))["oryx"]
    assert species.max_speed_km_h == pytest.approx(25.5 * 180**0.26 * (1 - math.exp(-22 * 180**-0.6)))
    assert species.density_per_km2 == LAWS["density_herbivore"](180)
    assert species.grades["max_speed_km_h"].startswith("allometric 25.5 m^0.26")
    assert species.grades["litter_size"].startswith("unverified default")


def test_a_value_of_its_own_grade_keeps_it():
    text = HEAD + ",litter_size_grade\n" + "oryx,Oryx beisa,grazer,180,1,,,,unverified,measured own count of 30 births"
    species = parse_species(text)["oryx"]
    assert species.grades["litter_size"] == "measured own count of 30 births"
    assert "litter_size" not in species.unmeasured()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("lion,Panthera leo,carnivore,-150,,,,,unverified", ("lion", "body_mass_kg", "-150", "write a value of")),
        ("lion,Panthera leo,meat,150,,,,,unverified", ("lion", "diet", "'meat'", "carnivore")),
        ("lion,Panthera leo,carnivore,150,0,,,,unverified", ("lion", "litter_size", "0", "write a value of")),
        ("lion,Panthera leo,carnivore,heavy,,,,,unverified", ("lion", "body_mass_kg", "'heavy'", "kg")),
        ("lion,Panthera leo,carnivore,,,,,,unverified", ("lion", "body_mass_kg", "empty")),
        ("lion,Panthera leo,carnivore,150,,12,10,,unverified", ("lion", "maturity_y", "12", "life_span_y")),
        ("lion,Panthera leo,carnivore,150,,,,13,unverified", ("lion", "birth_months", "13", "1 to 12")),
        ("lion,Panthera leo,carnivore,150,,,,,guessed", ("lion", "grade", "'guessed'", "unverified")),
        ("lion,Panthera leo,carnivore,150,,,,,measured", ("lion", "measured", "source")),
        ("grass,Poa,grass,0.01,3,,,,unverified", ("grass", "litter_size", "does not apply")),
        ("lion,Panthera leo,carnivore,nan,,,,,unverified", ("lion", "body_mass_kg", "nan")),
    ],
)
def test_an_impossible_value_is_one_line_with_species_field_value_and_remedy(row, words):
    with pytest.raises(ValueError, match=r"^mine\.csv") as error:
        parse_species(table(row), "mine.csv")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("mine.csv")
    assert [word for word in words if word not in message] == []


def test_a_table_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="no species table"):
        read_species(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("name,diet\nhyäne".encode("latin-1"))  # any encoding is read
    with pytest.raises(ValueError, match=r"latin.csv: column 'body_mass_kg' is missing"):
        read_species(tmp_path / "latin.csv")
    with pytest.raises(ValueError, match="row of 'lion' has more cells than columns"):
        parse_species(table("lion,Panthera leo,carnivore,150,,,,,unverified,big, strong"))
    with pytest.raises(ValueError, match="column 'weight' is unknown"):
        parse_species("name,diet,body_mass_kg,grade,weight\n")
    with pytest.raises(ValueError, match="column 'diet' is missing"):
        parse_species("name,body_mass_kg,grade\n")
    with pytest.raises(ValueError, match="'lion' has two rows"):
        parse_species(table(*["lion,Panthera leo,carnivore,150,,,,,unverified"] * 2))
    with pytest.raises(ValueError, match="no species"):
        parse_species(HEAD)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["", "lion", "-1", "0", "1e9", "nan", "inf", "grazer", "dead", "2-4", "0-0", "é", '"']),
        max_size=9,
    )
)
def test_any_row_is_a_species_or_one_line(cells):
    message = ""
    try:
        made = parse_species(table(",".join(cells)))
        assert all(species.body_mass_kg > 0 for species in made.values())
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    assert not message or "; " in message


def test_a_species_made_by_hand_is_checked_as_well():
    with pytest.raises(ValueError, match="ghost: body_mass_kg -1 is impossible"):
        Species(name="ghost", scientific_name="", diet="grazer", body_mass_kg=-1)
    with pytest.raises(ValueError, match="ghost: diet 'souls' is unknown"):
        Species(name="ghost", scientific_name="", diet="souls", body_mass_kg=1)


def test_months_may_pass_the_new_year():
    row = "zebra,Equus quagga,grazer,250,1,3,20,11-2,unverified"
    assert parse_species(table(row))["zebra"].birth_months == (11, 12, 1, 2)


def test_every_field_has_its_help_and_every_diet_its_food():
    kinds = {kind for food in EATS.values() for kind in food}
    assert kinds == {*BASAL, "animal"}
    assert {f.name for f in fields(Species)} > set(NUMERIC)


@pytest.mark.skipif(not (DATA / "SerengetiTraits.csv").exists(), reason="the measured traits are not at hand")
def test_masses_litters_and_life_spans_are_near_measured_traits():
    by_name = {species.scientific_name: species for species in load_bundled_species().values()}
    compared = 0
    with (DATA / "SerengetiTraits.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            species = by_name.get(row["Species"])
            if species is None:
                continue
            compared += 1

            def ratio(value, text):
                return value / float(text) if text not in ("", "NA") else 1.0

            assert 1 / 1.35 < ratio(1000 * species.body_mass_kg, row["Body_mass_g"]) < 1.35, species.name
            assert 1 / 1.3 < ratio(species.litter_size, row["Litter_clutch_size"]) < 1.3, species.name
            assert 1 / 2.6 < ratio(species.maturity_y, _years(row["Maturity_d"])) < 2.6, species.name
            assert 1 / 2.6 < ratio(species.life_span_y, _years(row["Max_longevity_d"])) < 2.1, species.name
    assert compared >= 20


def _years(days: str) -> str:
    return days if days in ("", "NA") else str(float(days) / 365.25)
