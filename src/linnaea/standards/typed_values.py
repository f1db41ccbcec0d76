"""Values from a TOML file, checked against the types of the fields that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field


def is_number(value: object, *, whole: bool = False) -> bool:
    """Whether a value is a number, or one written without a fraction; true and false are none."""
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)


def are_numbers(values: object, count: int | None = None) -> bool:
    """Whether this is a list of numbers, of so many of them."""
    return isinstance(values, list | tuple) and all(map(is_number, values)) and count in (None, len(values))


# What a type accepts, and what is said to who wrote something else.
_KINDS = {
    "float": (is_number, "number; write one without quotation marks"),
    "int": (
        lambda value: is_number(value, whole=True),
        "whole number; write one without a fraction or quotation marks",
    ),
    "bool": (lambda value: isinstance(value, bool), "yes or no; write true or false"),
    "str": (lambda value: isinstance(value, str), "text; put it into quotation marks"),
    "tuple[float, ...]": (are_numbers, "list of numbers; write [1.0, 2.0]"),
    "tuple[float, float]": (lambda value: are_numbers(value, 2), "list of two numbers; write [1.0, 2.0]"),
    "Mapping[str, float]": (
        lambda value: isinstance(value, Mapping) and all(map(is_number, value.values())),
        "table of numbers; write { name = 1.0 }",
    ),
}


def check_type(one: Field, value: object, at: str) -> None:
    """Nothing; ValueError that begins with `at`, the key, for a value that the field's type does not hold."""
    fits, wanted = _KINDS[str(one.type)]
    if not fits(value):
        raise ValueError(f"{at} {value!r} is no {wanted}")
