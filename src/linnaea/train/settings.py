"""Fields of a recipe as `name=text`, such as the command line gives them: found, read by their type, put in place."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

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

    Several values are separated by commas. A name alone is a switch: `compile`, or `no-compile` to turn it off. Raises
    ValueError naming the nearest fields (and `options`, which an unknown name may have meant), or the value that is not of
    its field's type.
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
        hint = _without_none(known[path])
        if not equals:
            if hint is not bool:
                raise ValueError(f"{path} needs a value: {path}=…")
            text = OFF[0] if negated else ON[0]
        value = None if text.lower() in NOTHING and hint is not known[path] else _read(path, text, hint)
        _put(changes, path.split("."), value)
    # All at once, as fields may only be right together.
    return _changed(recipe, changes)


def fields_of(config, before: str = "") -> dict[str, object]:
    """The type of each field by its name, parts of parts included."""
    found: dict[str, object] = {}
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= fields_of(value, f"{before}{field.name}.")
        else:
            found[before + field.name] = hints[field.name]
    return found


def _nearest(name: str, known: Iterable[str], options: Iterable[str]) -> str:
    known = list(known)
    # A part's field may be named without its part.
    inside = [field for field in known if field.rpartition(".")[2] == name]
    others = [option for option in dict.fromkeys([*known, *options]) if option != name]
    near = inside or get_close_matches(name, others, n=3, cutoff=0.6)
    flags = [f"--{field.replace('_', '-')}" for field in near]
    return f"; did you mean {' or '.join(flags)}?" if near else f"; it has {', '.join(known)}"


def _put(changes: dict, path: list[str], value: object) -> None:
    for part in path[:-1]:
        changes = changes.setdefault(part, {})
    changes[path[-1]] = value


def _changed(config, changes: dict):
    values = {
        name: _changed(getattr(config, name), value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(config, **values)


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
    raise ValueError(f"{name} cannot be set here; write a recipe of your own for it")
