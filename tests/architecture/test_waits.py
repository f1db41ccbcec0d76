"""No test may wait for ever: every wait for a process, a thread or an event has a limit."""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# Methods that wait, and the functions of `subprocess` that do.
METHODS = {"wait", "communicate", "join"}
# Objects whose `wait` is not one of the standard library: it returns when a file is written.
OTHERS = {"checkpoints"}
FUNCTIONS = {"run", "check_output", "check_call", "call"}


def find_unlimited_waits(code: str) -> list[int]:
    """Lines of calls that wait without a limit. A call with an argument has one: `"".join(x)`, `thread.join(5)`."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, ast.unparse(node.func.value)
        has_limit = any(keyword.arg == "timeout" for keyword in node.keywords)
        waits = (name in METHODS and owner not in OTHERS and not node.args) or (
            owner == "subprocess" and name in FUNCTIONS
        )
        if waits and not has_limit:
            found.append(node.lineno)
    return found


def test_every_wait_has_a_limit():
    unlimited = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in find_unlimited_waits(path.read_text(encoding="utf-8"))
    ]
    assert not unlimited, unlimited


def test_waits_without_a_limit_are_found():
    code = "p.wait()\np.wait(5)\np.communicate(timeout=1)\nt.join()\n','.join(x)\nsubprocess.run(a)\nrun(b)\n"
    assert find_unlimited_waits(code) == [1, 4, 6]
