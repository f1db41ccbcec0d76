"""What the code says about the rules of a world: phases, docstrings, random streams, state variables.

The facts come from the source and from what rules declare. Tests compare the declarations with what the rules do, so a
description cannot differ from what runs.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from functools import lru_cache

from linnaea.twin.engine import rng as random
from linnaea.twin.engine import step as loop
from linnaea.twin.engine.world import Rule, World

_PHASE = re.compile(r"^ ?(\d+)\. (\w+): (.*)$", re.MULTILINE)
STREAMS = {name: number for name, number in vars(random).items() if name.isupper() and isinstance(number, int)}


def list_phases() -> list[tuple[int, str, str]]:
    """Number, name and meaning of each phase of a step, from the loop's docstring."""
    return [(int(number), name, text) for number, name, text in _PHASE.findall(loop.__doc__)]


def format_docstring(rule: Rule | type[Rule]) -> str:
    """A rule's docstring on one line."""
    return " ".join((rule.__doc__ or "").split())


@lru_cache(maxsize=256)
def _list_names_used(function: str, module: str) -> frozenset[str]:
    """Names in a function or class of a module, and in all functions of the module that it calls."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    seen, queue = set(), [function]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in definitions:
            queue += [node.id for node in ast.walk(definitions[name]) if isinstance(node, ast.Name)]
    return frozenset(seen)


def find_streams(rule: Rule) -> list[str]:
    """Names of the streams of random numbers that a rule draws from."""
    used = _list_names_used(type(rule).__name__, type(rule).__module__)
    return [name.lower() for name in STREAMS if name in used and name != "FIRST_FREE"]


def find_columns(rule: Rule, world: World) -> list[str]:
    """The animals' state variables that a rule declares to read or to change."""
    declared = rule.reads | rule.writes
    return [name for name in world.agents.columns if "agents.*" in declared or f"agents.{name}" in declared]
