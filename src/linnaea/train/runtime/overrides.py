"""Fields of a recipe as `name=text`, such as the command line gives them: found, read by their type, put in place."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path

from linnaea.options import find_similar, suggest

ON, OFF = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NOTHING = ("none", "")


def read_plain(config) -> None:
    """Puts in place what a recipe's author wrote simply: text for a path becomes the path, text for several texts the one."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), _without_none(hints[field.name])
        if isinstance(value, str) and hint is Path:
            object.__setattr__(config, field.name, Path(value))
        elif isinstance(value, str) and hint == tuple[str, ...]:
            object.__setattr__(config, field.name, (value,) if value else ())


def set_fields(recipe, settings: Iterable[str], *, options: Iterable[str] = ()):
    """The recipe with each `name=text` put in place; of a part's fields the name has a dot: `organisms.balance=1`.

    Several values are separated by commas. A name alone is a switch: `compile`, or `no-compile` to turn it off. `none` is
    nothing wherever a field may be nothing or empty; a part that is taken out so takes along the fields that its metadata
    names as `takes_along`, and a part that was not there is made of the fields that are given. Raises ValueError naming the
    nearest fields (and `options`, which an unknown name may have meant), or the value that is not of its field's type.
    """
    changes: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        path, negated = name.strip().lstrip("-").replace("-", "_"), False
        known = fields_of(recipe)
        if not equals and path.startswith("no_") and path not in known:
            path, negated = path.removeprefix("no_"), True
        if path not in known:
            raise ValueError(f"recipe {recipe.name!r} has no field {path!r}{_nearest(path, known, options)}")
        if not equals:
            if known[path].kind is not bool:
                raise ValueError(f"{path} needs a value: {path}=…")
            text = OFF[0] if negated else ON[0]
        is_nothing = text.lower() in NOTHING and known[path].nothing is not MISSING
        _put(changes, path, known[path].nothing if is_nothing else _read(path, text, known[path].kind))
    # All at once, as fields may only be right together.
    return _changed(recipe, changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A field by its type, and what `none` stands for, if that is anything."""

    kind: object
    nothing: object = MISSING


def fields_of(config, before: str = "") -> dict[str, Known]:
    """What is known of each field by its name, parts of parts included; those of a part that is not there by its class."""
    owner = config if isinstance(config, type) else type(config)
    found: dict[str, Known] = {}
    hints = typing.get_type_hints(owner)
    for field in dataclasses.fields(owner):
        name, kind, value = before + field.name, _without_none(hints[field.name]), getattr(config, field.name, None)
        may_be_none = kind is not hints[field.name]
        if may_be_none or not dataclasses.is_dataclass(value):
            empty = field.default if field.default in ("", ()) else MISSING
            found[name] = Known(kind=kind, nothing=None if may_be_none else empty)
        if dataclasses.is_dataclass(kind):
            found |= fields_of(value if dataclasses.is_dataclass(value) else kind, f"{name}.")
    return found


def _nearest(name: str, known: Iterable[str], options: Iterable[str]) -> str:
    known = list(known)
    # A part's field may be named without its part.
    inside = [field for field in known if field.rpartition(".")[2] == name]
    others = [option for option in dict.fromkeys([*known, *options]) if option != name]
    near = inside or find_similar(name, others)
    return suggest([f"--{field.replace('_', '-')}" for field in near], f"it has {', '.join(known)}")


def _put(changes: dict, path: str, value: object) -> None:
    """Puts a value where its path says. ValueError where a part is both taken out and given fields."""
    *parts, last = path.split(".")
    for part in parts:
        changes = changes.setdefault(part, {})
        if changes is None:
            raise ValueError(f"{part} is none, and {path} is given; leave one of the two out")
    inside = next(iter(changes[last])) if isinstance(changes.get(last), dict) else ""
    if inside:
        raise ValueError(f"{path} is none, and {path}.{inside} is given; leave one of the two out")
    changes[last] = value


def _changed(config, changes: dict):
    hints, known = typing.get_type_hints(type(config)), {field.name: field for field in dataclasses.fields(config)}
    values, along = {}, {}
    for name, value in changes.items():
        part = getattr(config, name)
        if isinstance(value, dict):
            value = _changed(part, value) if part is not None else _without_none(hints[name])(**value)
        elif value is None:
            along |= {other: known[other].default for other in known[name].metadata.get("takes_along", ())}
        values[name] = value
    return dataclasses.replace(config, **(along | values))


def _without_none(hint: object) -> object:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(member for member in typing.get_args(hint) if member is not types.NoneType)
    return hint


def _read(name: str, text: str, hint: object) -> object:
    if typing.get_origin(hint) is tuple:
        items, parts = typing.get_args(hint), [part.strip() for part in text.split(",") if part.strip()]
        if items[-1] is Ellipsis:
            return tuple(_read(name, part, items[0]) for part in parts)
        if len(parts) != len(items):
            raise ValueError(f"{name} {text!r} is not {len(items)} values separated by commas")
        return tuple(_read(name, part, item) for part, item in zip(parts, items, strict=True))
    if hint is bool:
        if text.lower() not in (*ON, *OFF):
            raise ValueError(f"{name} {text!r} is neither true nor false")
        return text.lower() in ON
    if hint in (int, float):
        kind = "a whole number" if hint is int else "a number"
        try:
            return hint(text.replace("_", "") if hint is int else text)
        except ValueError:
            raise ValueError(f"{name} {text!r} is not {kind}") from None
    if hint in (str, Path):
        return hint(text)
    if dataclasses.is_dataclass(hint):
        some = ", ".join(f"--{name}.{field.name.replace('_', '-')}" for field in dataclasses.fields(hint)[:2])
        raise ValueError(f"{name} {text!r} is a part of the recipe, not a value; set its fields ({some} …)")
    raise ValueError(f"{name} cannot be set here; write a recipe of your own for it")
