"""Values from a TOML file, checked against the types of the dataclass fields that they fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import NamedTuple


def is_number(value: object, *, whole: bool = False) -> bool:
    """Return whether a value is a number, with `whole` an integer; booleans are not numbers."""
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)


def are_numbers(values: object, count: int | None = None) -> bool:
    """Return whether `values` is a list of numbers, of length `count` if given."""
    return isinstance(values, list | tuple) and all(map(is_number, values)) and count in (None, len(values))


class _Kind(NamedTuple):
    """What a type accepts, what it is called in an error, and how to write it."""

    accepts: Callable[[object], bool]
    name: str
    remedy: str


_KINDS = {
    "float": _Kind(is_number, "a number", "write it without quotation marks"),
    "int": _Kind(
        lambda value: is_number(value, whole=True),
        "a whole number",
        "write it without a fraction and without quotation marks",
    ),
    "bool": _Kind(lambda value: isinstance(value, bool), "true or false", "write true or false"),
    "str": _Kind(lambda value: isinstance(value, str), "text", "put it into quotation marks"),
    "tuple[float, ...]": _Kind(are_numbers, "a list of numbers", "write [1.0, 2.0]"),
    "tuple[float, float]": _Kind(lambda value: are_numbers(value, 2), "a list of two numbers", "write [1.0, 2.0]"),
    "Mapping[str, float]": _Kind(
        lambda value: isinstance(value, Mapping) and all(map(is_number, value.values())),
        "a table of numbers",
        "write { name = 1.0 }",
    ),
}


def check_type(one: Field, value: object, at: str) -> None:
    """Raise ValueError, beginning with the key `at`, if the value does not have the type of the field."""
    kind = _KINDS[str(one.type)]
    if not kind.accepts(value):
        raise ValueError(f"{at} must be {kind.name}, not {value!r}; {kind.remedy}")
