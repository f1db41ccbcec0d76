"""How kernels must be written so that numba keeps all that they do."""

import ast
from pathlib import Path

import numba
import numpy as np
import pytest

import linnaea.twin

SOURCES = sorted(Path(linnaea.twin.__file__).parent.rglob("*.py"))


def lost_writes(source: str) -> list[str]:
    """Writes in parallel loops of `@kernel` functions to arrays that are not taken out of their tuples by name."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or "kernel" not in map(ast.unparse, function.decorator_list):
            continue
        arguments = {one.arg for one in function.args.args}
        unpacked = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in arguments:
                targets = [one for t in node.targets for one in (t.elts if isinstance(t, ast.Tuple) else [t])]
                unpacked |= {one.id for one in targets if isinstance(one, ast.Name)}
        for node in ast.walk(function):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                array = node.value
                if isinstance(array, ast.Attribute) or (isinstance(array, ast.Name) and array.id in unpacked):
                    found.append(f"{function.name}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_kernel_takes_what_it_writes_out_of_its_tuple_by_name(path):
    assert lost_writes(path.read_text(encoding="utf-8")) == []


def test_a_lost_write_is_found():
    body = "@kernel\ndef f(n, t):\n    {}\n    for i in numba.prange(n):\n        {}[i] += 1\n"
    assert lost_writes(body.format("pass", "t.a")) == ["f: t.a[i]"]
    assert lost_writes(body.format("a, b = t", "a")) == ["f: a[i]"]
    assert lost_writes(body.format("a = t.a", "a")) == []


def test_numba_keeps_what_is_taken_out_by_name():
    from typing import NamedTuple

    class Columns(NamedTuple):
        a: np.ndarray
        b: np.ndarray

    @numba.njit(parallel=True)
    def add_one(n, columns):
        a, b = columns.a, columns.b
        for i in numba.prange(n):
            a[i] += b[i]

    columns = Columns(np.zeros(3), np.ones(3))
    add_one(3, columns)
    assert columns.a.tolist() == [1, 1, 1]
