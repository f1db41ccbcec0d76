"""The fields of a Config as command-line arguments: read from the class, parsed, and returned as a Config.

The options of a stage are the fields of its Config, a frozen dataclass. The field name gives the flag, the type the
parsing, the default the default, and the string literal under the field the help. A new field is a new option.
The field's metadata holds what a type cannot express: `positional` (True), `metavar`, `choices`, `short` ("-o"), `cli`
(False hides the field), `catches` (True: the field collects unknown flags as texts, `--batch 64` as "batch=64" and
`--compile` as "compile").
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import types
import typing
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# An option with such a placeholder names a file or folder, whatever its type.
PATH_METAVARS = ("DIR", "FILE", "FOLDER", "IMAGE_FILE", "PATH")


class UsageError(Exception):
    """A command line that cannot be parsed; its text is the one line to show."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One field of a Config as an argument."""

    field: str
    flags: tuple[str, ...]
    "short and long flag; empty for a positional argument"
    negated: str
    "`--no-…` of a switch that is on by default, else empty"
    metavar: str
    convert: Callable[[str], object]
    takes_value: bool
    repeats: bool
    required: bool
    default: object
    help: str
    catches: bool = False
    choices: tuple[str, ...] = ()
    "the values that are allowed; empty if any is"
    is_path: bool = False
    "whether the value names a file or folder"

    @property
    def default_text(self) -> str:
        """The default as text; "" for a default that is None, off or empty."""
        if self.default is None or self.default is False or self.default in ("", ()):
            return ""
        if self.default is True:
            return "on"
        return ", ".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)


def find_similar(value: str, known: Iterable[str], *, n: int = 3, cutoff: float = 0.6) -> list[str]:
    """Up to `n` of `known` that are spelled like `value`, the most similar first. Case is ignored.

    `cutoff` is the least similarity (0 to 1) of `difflib.SequenceMatcher`.
    """
    from difflib import get_close_matches

    # All flags share their dashes, which would make them all similar.
    bare: dict[str, str] = {}
    for name in known:
        bare.setdefault(name.lstrip("-").casefold(), name)
    return [bare[match] for match in get_close_matches(value.lstrip("-").casefold(), bare, n=n, cutoff=cutoff)]


def suggest(names: Sequence[str], otherwise: str = "") -> str:
    """The end of an error line: "; did you mean a or b?", or "; " and `otherwise` if there are no names."""
    if names:
        return f"; did you mean {' or '.join(names)}?"
    return f"; {otherwise}" if otherwise else ""


def nearest(value: str, known: Iterable[str], *, otherwise: str | None = None, n: int = 3, cutoff: float = 0.6) -> str:
    """The end of an error line about the unknown `value`: "; did you mean …?" with the names of `known` like it.

    If no name is similar: "; " and the text `otherwise`, by default "choose one of" and all of `known`.
    """
    known = list(known)
    if otherwise is None:
        otherwise = f"choose one of {', '.join(known)}" if known else ""
    return suggest(find_similar(value, known, n=n, cutoff=cutoff), otherwise)


def field_help(config_class: type) -> dict[str, str]:
    """Field -> the string literal under it, on one line; "" if there is none. Includes the fields of base classes."""
    import ast
    import inspect
    import textwrap

    found: dict[str, str] = {}
    for owner in reversed(config_class.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        name = ""
        for statement in ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body:
            if isinstance(statement, ast.AnnAssign):
                name = statement.target.id
                found[name] = ""
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and name:
                found[name] = " ".join(f"{found[name]} {statement.value.value}".split())
            else:
                name = ""
    return found


def _convert_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _convert_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _convert_choice(choices: tuple[str, ...]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"unknown value {text!r}{nearest(text, choices)}")
        return text

    return convert


def _convert_fixed(item_types: tuple, metavar: str) -> Callable[[str], tuple]:
    converters = [_converter(item) for item in item_types]

    def convert(text: str) -> tuple:
        parts = text.split(",")
        if len(parts) != len(converters):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {metavar}")
        return tuple(converter(part.strip()) for converter, part in zip(converters, parts, strict=True))

    return convert


def _converter(hint: object) -> Callable[[str], object]:
    return {int: _convert_int, float: _convert_float, str: str, Path: Path}[hint]


def _union_members(hint: object) -> tuple:
    """The types that a hint allows, None left out."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(member for member in typing.get_args(hint) if member is not types.NoneType)
    return (hint,)


def read_options(config_class: type) -> list[Option]:
    """The options of a Config: its own fields in their order, then those that it inherits.

    Raise TypeError for a field type that has no parser.
    """
    import inspect

    hints, help_texts = typing.get_type_hints(config_class), field_help(config_class)
    own = inspect.get_annotations(config_class)
    return [
        _read_option(field, hints[field.name], help_texts.get(field.name, ""), config_class.__name__)
        for field in sorted(dataclasses.fields(config_class), key=lambda field: field.name not in own)
        if field.init and field.metadata.get("cli", True)
    ]


def _read_option(field: dataclasses.Field, hint: object, help_text: str, owner: str) -> Option:
    members, repeats = _union_members(hint), False
    if typing.get_origin(members[0]) is tuple and typing.get_args(members[0])[-1] is Ellipsis:
        members, repeats = _union_members(typing.get_args(members[0])[0]), True
    # `str | Path` is parsed as its first member: a path is as good as its text.
    kind = members[0]
    is_literal = typing.get_origin(kind) is typing.Literal
    choices = typing.get_args(kind) if is_literal else tuple(field.metadata.get("choices", ()))
    dashed = field.name.strip("_").replace("_", "-")
    positional = field.metadata.get("positional", False)
    metavar = field.metadata.get("metavar") or _placeholder(kind, choices, dashed.upper() if positional else "")
    required, default = _read_default(field)
    is_switch = kind is bool and not choices
    return Option(
        field=field.name,
        flags=() if positional else tuple(filter(None, (field.metadata.get("short"), f"--{dashed}"))),
        negated=f"--no-{dashed}" if is_switch and default is not False else "",
        metavar=metavar,
        convert=_find_converter(kind, choices, metavar, f"{owner}.{field.name}"),
        takes_value=not is_switch,
        repeats=repeats,
        required=required,
        default=default,
        help=help_text,
        catches=field.metadata.get("catches", False),
        choices=choices,
        is_path=bool({Path, os.PathLike} & set(members)) or metavar.startswith(PATH_METAVARS),
    )


def _read_default(field: dataclasses.Field) -> tuple[bool, object]:
    """Whether a field must be given, and its default (None if it must)."""
    if field.default_factory is not dataclasses.MISSING:
        return False, field.default_factory()
    return field.default is dataclasses.MISSING, None if field.default is dataclasses.MISSING else field.default


def _find_converter(kind: object, choices: tuple[str, ...], metavar: str, name: str) -> Callable[[str], object]:
    """The function from an argument's text to its value. Raises TypeError if there is none."""
    if choices:
        return _convert_choice(choices)
    if kind is bool:
        return bool
    if typing.get_origin(kind) is tuple:
        return _convert_fixed(typing.get_args(kind), metavar)
    if kind in (int, float, str, Path):
        return _converter(kind)
    raise TypeError(f"{name}: no option can hold {kind}; give the field metadata {{'cli': False}}")


def _placeholder(kind: object, choices: tuple[str, ...], name: str) -> str:
    if typing.get_origin(kind) is tuple:
        return ",".join("N" for _ in typing.get_args(kind))
    if choices and not name:
        return "{" + ",".join(choices) + "}"
    return name or {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises each error as one line instead of printing it with the usage."""

    def error(self, message: str) -> typing.NoReturn:
        raise UsageError(f"{self.prog}: {message.removeprefix('argument ')}")


def build_parser(prog: str, about: str, options: Sequence[Option]) -> argparse.ArgumentParser:
    """A parser that stores the options under their fields and omits those that are not given."""
    parser = _Parser(prog=prog, description=about.replace("%", "%%"), allow_abbrev=False)
    add_arguments(parser, options)
    return parser


def add_arguments(parser: argparse.ArgumentParser, options: Sequence[Option]) -> list[argparse.Action]:
    """Add each option to a parser; the actions that argparse made of them, in the same order."""
    return [_add_argument(parser, option) for option in options]


def _add_argument(parser: argparse.ArgumentParser, option: Option) -> argparse.Action:
    text = option.help + (f" (default: {option.default_text})" if option.default_text else "")
    settings: dict = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
    if not option.takes_value:
        settings["action"] = argparse.BooleanOptionalAction if option.negated else "store_true"
    else:
        settings |= {"type": option.convert, "metavar": option.metavar}
    if option.flags:
        if option.repeats:
            settings["action"] = "append"
        return parser.add_argument(*option.flags, dest=option.field, required=option.required, **settings)
    several, one = ("+", None) if option.required else ("*", "?")
    return parser.add_argument(option.field, nargs=several if option.repeats else one, **settings)


def describe(config_class: type, otherwise: str) -> str:
    """The docstring of a Config on one line; without one, `otherwise` as a sentence."""
    own = config_class.__doc__ or ""
    # A dataclass without a docstring gets its signature as one.
    own = "" if own.startswith(f"{config_class.__name__}(") else " ".join(own.split())
    return own or otherwise[:1].upper() + otherwise[1:] + "."


def _looks_like_value(token: str) -> bool:
    return not token.startswith("-") or token == "-" or token[1].isdigit() or token[1] == "."


def arrange(argv: Sequence[str], options: Sequence[Option], prog: str) -> list[str]:
    """The arguments in the order that argparse needs: each value joined to its flag, positionals last.

    This allows files and options in any order and values that begin with a minus ("--near -2.3,34.8"). Raises
    UsageError for an unknown flag; that error comes before any error about missing arguments.
    """
    by_flag = {flag: option for option in options for flag in (*option.flags, option.negated) if flag}
    catcher = next((option for option in options if option.catches), None)
    flagged: list[str] = []
    positionals: list[str] = []
    tokens = deque(argv)
    while tokens:
        token = tokens.popleft()
        if token == "--":
            positionals.extend(tokens)
            tokens.clear()
        elif token in ("-h", "--help"):
            return ["--help"]
        elif _looks_like_value(token):
            positionals.append(token)
        elif option := by_flag.get(token.partition("=")[0]):
            flagged.append(_join_value(token, option, tokens, prog))
        elif catcher is not None and token.startswith("--"):
            flagged.append(_join_unknown(token, catcher, tokens))
        else:
            raise UsageError(f"{prog}: {_describe_unknown(token.partition('=')[0], by_flag, prog)}")
    return [*flagged, "--", *positionals] if positionals else flagged


def _join_value(token: str, option: Option, tokens: deque[str], prog: str) -> str:
    """A known flag as one argument. Takes its value from `tokens` if it is not joined with "="."""
    flag, equals, value = token.partition("=")
    if not option.takes_value:
        return token
    if not equals:
        if not tokens or not _looks_like_value(tokens[0]):
            raise UsageError(f"{prog}: {flag} needs a value, {option.metavar}")
        value = tokens.popleft()
    # argparse joins only long flags to values of any form.
    return f"{option.flags[-1]}={value}"


def _join_unknown(token: str, catcher: Option, tokens: deque[str]) -> str:
    """An unknown flag, with its value if one follows, as a value of the option that catches such flags."""
    if "=" not in token and tokens and _looks_like_value(tokens[0]):
        token = f"{token}={tokens.popleft()}"
    return f"{catcher.flags[-1]}={token.removeprefix('--')}"


def _describe_unknown(flag: str, known: Iterable[str], prog: str) -> str:
    # A short flag is too short for a guess.
    known = sorted(known) if flag.startswith("--") else []
    return f"unknown option {flag!r}{nearest(flag, known, otherwise=f'{prog} --help lists them all')}"


def build_config(prog: str, about: str, config_class: type, argv: Sequence[str]) -> object:
    """The Config that the arguments describe. Raises UsageError, one line that names the mistake."""
    options = read_options(config_class)
    arranged = arrange(argv, options, prog)
    places = [option for option in options if not option.flags]
    positionals = arranged[arranged.index("--") + 1 :] if "--" in arranged else []
    if len(positionals) > len(places) and not any(option.repeats for option in places):
        remedy = "quote words that belong together" if places else "it takes options only"
        raise UsageError(f"{prog}: unexpected argument {positionals[len(places)]!r}; {remedy}")
    given = vars(build_parser(prog, about, options).parse_args(arranged))
    repeated = {option.field for option in options if option.repeats}
    return config_class(**{name: tuple(value) if name in repeated else value for name, value in given.items()})
