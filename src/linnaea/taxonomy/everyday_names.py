"""Everyday names of groups and of well-known animals and plants, in six languages; former scientific names.

`tables/everyday_names.csv` is our own list: one row for each group, with its taxa (several for a group that is not one
taxon of the tree, such as monkeys), and its names in English, Spanish, French, German, Portuguese and Swahili.
`tables/former_names.csv` holds former names of moved species with the names of today.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from importlib.resources import files

from linnaea.taxonomy.name_index import name_key

LANGUAGES = ("en", "es", "fr", "de", "pt", "sw")
# Endings of plurals, with what replaces them, in the order in which they are tried. Accents are already removed.
PLURALS = (("ies", "y"), ("ves", "f"), ("oes", "ao"), ("aux", "al"), ("ns", "m"), ("es", ""), ("s", ""), ("x", ""))
GERMAN_PLURALS = (("en", ""), ("er", ""), ("n", ""), ("e", ""))


def _read_table(name: str) -> list[dict[str, str]]:
    text = files("linnaea.taxonomy").joinpath("tables", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def load_groups() -> dict[str, tuple[tuple[str, ...], ...]]:
    """The key of each everyday name -> the groups that it may mean, each a tuple of scientific names.

    A name that English has means what it means in English, whatever it means in other languages.
    """
    found: dict[str, dict[tuple[str, ...], bool]] = {}
    for row in _read_table("everyday_names.csv"):
        taxa = tuple(row["taxa"].split("|"))
        for language in LANGUAGES:
            for name in filter(None, row[language].split(";")):
                groups = found.setdefault(name_key(name), {})
                groups[taxa] = groups.get(taxa, False) or language == "en"
    return {
        key: tuple(taxa for taxa, is_english in groups.items() if is_english or not any(groups.values()))
        for key, groups in found.items()
    }


@functools.cache
def load_former_names() -> dict[str, str]:
    """The key of each former scientific name -> the scientific name of today."""
    return {name_key(row["former"]): row["current"] for row in _read_table("former_names.csv")}


def find_groups(name: str) -> tuple[tuple[str, ...], ...]:
    """The groups that a name in the singular or plural may mean; empty for an unknown name."""
    groups = load_groups()
    return next((groups[key] for key in _list_keys(name) if key in groups), ())


def _list_keys(name: str) -> Iterator[str]:
    """The key of a name, then those of its possible singulars."""
    key = name_key(name)
    yield key
    head, _, word = key.rpartition(" ")
    head += " " if head else ""
    for ending, replacement in (*PLURALS, *GERMAN_PLURALS):
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            yield head + word[: len(word) - len(ending)] + replacement
            if ending == "ves":
                yield head + word[:-3] + "fe"
