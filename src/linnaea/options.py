"""A Config's fields as command-line arguments: read from the class, parsed, and given back as a Config.

A stage's options are the fields of its Config, a frozen dataclass: the name gives the flag, the type the parsing, the
default the default, and the string literal under the field its help. A new field is a new option. What a type cannot
say stands in the field's metadata: `positional` (True), `metavar`, `choices`, `short` ("-o"), `cli` (False hides it),
`catches` (True: unknown flags are given to it as texts, `--batch 64` as "batch=64" and `--compile` as "compile").
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class UsageError(Exception):
    """A command line that cannot be understood; its text is the one line shown."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One field of a Config as an argument. `flags` is empty for a positional; `negated` is `--no-…` where there is one."""

    field: str
    flags: tuple[str, ...]
    negated: str
    metavar: str
    convert: Callable[[str], object]
    takes_value: bool
    repeats: bool
    required: bool
    default: object
    help: str
    catches: bool = False

    @property
    def default_text(self) -> str:
        """The default as people read it; "" where it is nothing, off or empty."""
        if self.default is None or self.default is False or self.default in ("", ()):
            return ""
        if self.default is True:
            return "on"
        return ", ".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)


def nearest(value: str, known: Iterable[str]) -> str:
    """'; did you mean …?' with up to three of `known` that look like `value`, else '; choose one of' all of them."""
    from difflib import get_close_matches

    # Dashes, which every flag shares, would make all flags look alike.
    bare = {name.lstrip("-"): name for name in known}
    close = get_close_matches(value.lstrip("-"), bare, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(bare[name] for name in close)}?"
    return f"; choose one of {', '.join(bare.values())}" if bare else ""


def field_help(config_class: type) -> dict[str, str]:
    """The string literals under each field of a dataclass and of its bases, on one line; "" where there is none."""
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


def _without_none(hint: object) -> object:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not types.NoneType]
        # `str | Path` is read as its first member; a path is as good as its text.
        return members[0]
    return hint


def read_options(config_class: type) -> list[Option]:
    """The options of a Config, in the order of its fields. Raises TypeError for a type that no argument can give."""
    hints, help_texts = typing.get_type_hints(config_class), field_help(config_class)
    return [
        _read_option(field, hints[field.name], help_texts.get(field.name, ""), config_class.__name__)
        for field in dataclasses.fields(config_class)
        if field.init and field.metadata.get("cli", True)
    ]


def _read_option(field: dataclasses.Field, hint: object, help_text: str, owner: str) -> Option:
    hint, repeats = _without_none(hint), False
    dashed = field.name.strip("_").replace("_", "-")
    positional = field.metadata.get("positional", False)
    metavar = field.metadata.get("metavar", "")
    if typing.get_origin(hint) is tuple and typing.get_args(hint)[-1] is Ellipsis:
        hint, repeats = _without_none(typing.get_args(hint)[0]), True
    choices = tuple(field.metadata.get("choices", ()))
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
    if choices:
        convert = _convert_choice(choices)
    elif hint is bool:
        convert = bool
    elif typing.get_origin(hint) is tuple:
        metavar = metavar or ",".join("N" for _ in typing.get_args(hint))
        convert = _convert_fixed(typing.get_args(hint), metavar)
    elif hint in (int, float, str, Path):
        convert = _converter(hint)
    else:
        raise TypeError(f"{owner}.{field.name}: no option can hold {hint}; give the field metadata {{'cli': False}}")
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    is_switch = hint is bool and not choices
    return Option(
        field=field.name,
        flags=() if positional else tuple(f for f in (field.metadata.get("short"), f"--{dashed}") if f),
        negated=f"--no-{dashed}" if is_switch and default is not False else "",
        metavar=metavar or _placeholder(hint, choices, dashed.upper() if positional else ""),
        convert=convert,
        takes_value=not is_switch,
        repeats=repeats,
        required=default is dataclasses.MISSING,
        default=None if default is dataclasses.MISSING else default,
        help=help_text,
        catches=field.metadata.get("catches", False),
    )


def _placeholder(hint: object, choices: tuple[str, ...], name: str) -> str:
    if choices and not name:
        return "{" + ",".join(choices) + "}"
    return name or {int: "N", float: "X", Path: "PATH"}.get(hint, "TEXT")


class _Parser(argparse.ArgumentParser):
    """argparse whose every complaint is one line, raised rather than printed with the usage."""

    def error(self, message: str) -> typing.NoReturn:
        raise UsageError(f"{self.prog}: {message.removeprefix('argument ')}")


def build_parser(prog: str, about: str, options: Sequence[Option]) -> argparse.ArgumentParser:
    """A parser that reads the options into their fields and leaves out what is not given."""
    parser = _Parser(prog=prog, description=about.replace("%", "%%"), allow_abbrev=False)
    for option in options:
        text = option.help + (f" (default: {option.default_text})" if option.default_text else "")
        settings: dict = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
        if not option.takes_value:
            settings["action"] = argparse.BooleanOptionalAction if option.negated else "store_true"
        else:
            settings |= {"type": option.convert, "metavar": option.metavar}
        if option.flags:
            if option.repeats:
                settings["action"] = "append"
            parser.add_argument(*option.flags, dest=option.field, required=option.required, **settings)
        else:
            several, one = ("+", None) if option.required else ("*", "?")
            parser.add_argument(option.field, nargs=several if option.repeats else one, **settings)
    return parser


def describe(config_class: type, otherwise: str) -> str:
    """The docstring of a Config on one line; where it has none, `otherwise` as a sentence."""
    own = config_class.__doc__ or ""
    # A dataclass without a docstring gets its signature as one.
    own = "" if own.startswith(f"{config_class.__name__}(") else " ".join(own.split())
    return own or otherwise[:1].upper() + otherwise[1:] + "."


def _looks_like_value(token: str) -> bool:
    return not token.startswith("-") or token == "-" or token[1].isdigit() or token[1] == "."


def arrange(argv: Sequence[str], options: list[Option], prog: str) -> list[str]:
    """The arguments with every value joined to its flag and the positionals last, for argparse to read.

    So files and options may be mixed freely and a value may begin with a minus ("--near -2.3,34.8"). Raises UsageError
    for an unknown flag, before anything is said to be missing.
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
        else:
            flag, equals, value = token.partition("=")
            option = by_flag.get(flag)
            if option is None and catcher is not None and flag.startswith("--"):
                if not equals and tokens and _looks_like_value(tokens[0]):
                    token = f"{flag}={tokens.popleft()}"
                flagged.append(f"{catcher.flags[-1]}={token.removeprefix('--')}")
                continue
            if option is None:
                close = nearest(flag, sorted(by_flag)) if flag.startswith("--") else ""
                close = close if "did you mean" in close else f"; {prog} --help lists them all"
                raise UsageError(f"{prog}: unknown option {flag!r}{close}")
            if option.takes_value and not equals:
                if not tokens or not _looks_like_value(tokens[0]):
                    raise UsageError(f"{prog}: {flag} needs a value, {option.metavar}")
                value = tokens.popleft()
            # Only a long flag can be joined to any value whatever.
            flagged.append(f"{option.flags[-1]}={value}" if option.takes_value else token)
    return [*flagged, "--", *positionals] if positionals else flagged


def build_config(prog: str, about: str, config_class: type, argv: Sequence[str]) -> object:
    """The Config that the arguments ask for. Raises UsageError in one line that names what is wrong."""
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
