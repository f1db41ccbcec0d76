"""Overrides of recipe fields: settings `name=text` from the command line, parsed by the type of the field."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path

from linnaea.options import nearest

ON, OFF = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NOTHING = ("none", "")


def convert_plain_values(config) -> None:
    """Convert text in place of a Path to the path, and text in place of a tuple of texts to a tuple of one."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), _without_none(hints[field.name])
        if isinstance(value, str) and hint is Path:
            object.__setattr__(config, field.name, Path(value))
        elif isinstance(value, str) and hint == tuple[str, ...]:
            object.__setattr__(config, field.name, (value,) if value else ())


def set_fields(recipe, settings: Iterable[str], *, options: Iterable[str] = ()):
    """Return the recipe with each setting `name=text` applied. The fields of a part have a dot: `organisms.balance=1`.

    Commas separate several values. A name alone is a switch: `compile`, or `no-compile` to turn it off. `none` empties
    a field that may be None or empty. A part set to `none` also resets the fields that its metadata lists as
    `takes_along`, and a part that was None is built from the fields that are given.

    Raises ValueError that names the nearest fields (or the nearest of `options`) for an unknown name, or the value
    that does not have the type of its field.
    """
    changes: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        path, negated = name.strip().lstrip("-").replace("-", "_"), False
        known = list_fields(recipe)
        if not equals and path.startswith("no_") and path not in known:
            path, negated = path.removeprefix("no_"), True
        if path not in known:
            raise ValueError(f"recipe {recipe.name!r} has no field {path!r}{_suggest_fields(path, known, options)}")
        if not equals:
            if known[path].kind is not bool:
                raise ValueError(f"{path} needs a value: {path}=…")
            text = OFF[0] if negated else ON[0]
        is_nothing = text.lower() in NOTHING and known[path].nothing is not MISSING
        _store(changes, path, known[path].nothing if is_nothing else _parse(path, text, known[path].kind))
    # All at once, because the checks of the recipe see several fields together.
    return _replace_fields(recipe, changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldType:
    """The type of a field, and the value that `none` stands for, if there is one."""

    kind: object
    nothing: object = MISSING


def list_fields(config, before: str = "") -> dict[str, FieldType]:
    """Return the type of each field by its name, with the fields of parts, also of parts that are None."""
    owner = config if isinstance(config, type) else type(config)
    found: dict[str, FieldType] = {}
    hints = typing.get_type_hints(owner)
    for field in dataclasses.fields(owner):
        name, kind, value = before + field.name, _without_none(hints[field.name]), getattr(config, field.name, None)
        may_be_none = kind is not hints[field.name]
        if may_be_none or not dataclasses.is_dataclass(value):
            empty = field.default if field.default in ("", ()) else MISSING
            found[name] = FieldType(kind=kind, nothing=None if may_be_none else empty)
        if dataclasses.is_dataclass(kind):
            found |= list_fields(value if dataclasses.is_dataclass(value) else kind, f"{name}.")
    return found


def _suggest_fields(name: str, known: Iterable[str], options: Iterable[str]) -> str:
    known = list(known)
    # A field of a part may be given without the name of its part.
    inside = [field for field in known if field.rpartition(".")[2] == name]
    if inside:
        return f"; did you mean {' or '.join(map(_to_flag, inside))}?"
    others = [option for option in dict.fromkeys([*known, *options]) if option != name]
    return nearest(_to_flag(name), map(_to_flag, others))


def _to_flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _store(changes: dict, path: str, value: object) -> None:
    """Store a value under its path. Raise ValueError if a part is both removed and given fields."""
    *parts, last = path.split(".")
    for part in parts:
        changes = changes.setdefault(part, {})
        if changes is None:
            raise ValueError(f"{part} is none, and {path} is given; leave one of the two out")
    inside = next(iter(changes[last])) if isinstance(changes.get(last), dict) else ""
    if inside:
        raise ValueError(f"{path} is none, and {path}.{inside} is given; leave one of the two out")
    changes[last] = value


def _replace_fields(config, changes: dict):
    hints, known = typing.get_type_hints(type(config)), {field.name: field for field in dataclasses.fields(config)}
    values, along = {}, {}
    for name, value in changes.items():
        part = getattr(config, name)
        if isinstance(value, dict):
            value = _replace_fields(part, value) if part is not None else _without_none(hints[name])(**value)
        elif value is None:
            along |= {other: known[other].default for other in known[name].metadata.get("takes_along", ())}
        values[name] = value
    return dataclasses.replace(config, **(along | values))


def _without_none(hint: object) -> object:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(member for member in typing.get_args(hint) if member is not types.NoneType)
    return hint


def _parse(name: str, text: str, hint: object) -> object:
    if typing.get_origin(hint) is tuple:
        return _parse_tuple(name, text, typing.get_args(hint))
    if hint is bool:
        if text.lower() not in (*ON, *OFF):
            raise ValueError(f"{name} {text!r} must be true or false")
        return text.lower() in ON
    if hint in (int, float):
        kind = "a whole number" if hint is int else "a number"
        try:
            return hint(text.replace("_", "") if hint is int else text)
        except ValueError:
            raise ValueError(f"{name} {text!r} must be {kind}") from None
    if hint in (str, Path):
        return hint(text)
    if dataclasses.is_dataclass(hint):
        some = ", ".join(f"--{name}.{field.name.replace('_', '-')}" for field in dataclasses.fields(hint)[:2])
        raise ValueError(f"{name} {text!r} is a part of the recipe, not a value; set its fields ({some} …)")
    raise ValueError(f"{name} cannot be set on the command line; write a recipe of your own for it")


def _parse_tuple(name: str, text: str, items: tuple) -> tuple:
    """Parse values separated by commas; `items` are the types of the values, or (type, ...) for any number."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if items[-1] is Ellipsis:
        return tuple(_parse(name, part, items[0]) for part in parts)
    if len(parts) != len(items):
        raise ValueError(f"{name} {text!r} must be {len(items)} values separated by commas")
    return tuple(_parse(name, part, item) for part, item in zip(parts, items, strict=True))
