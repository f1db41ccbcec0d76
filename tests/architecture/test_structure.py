"""The shape of the code: sizes, names, arguments, complexity, import circles, public names, plain English.

Each check lists its findings as "room: finding". `NOT_YET` names the rooms in which a check does not hold yet; a room
that is not listed must stay clean.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "linnaea"

MOST_MODULES = 15
MOST_LINES = 450
MOST_ARGUMENTS = 12
MOST_FUNCTION_LINES = 80
MOST_COMPLEXITY = 15

# Check -> rooms that still fail it.
NOT_YET: dict[str, set[str]] = {}

MODULES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def room_of(path: Path) -> str:
    """The room of a file of the package, else the first folder or the name of the file."""
    parts = path.relative_to(ROOT).parts
    return parts[2] if parts[:2] == ("src", "linnaea") else parts[0]


def check(name: str, findings: dict[str, list[str]]) -> None:
    """Fail for findings in rooms that `NOT_YET` does not excuse."""
    excused = NOT_YET.get(name, set())
    unexpected = {room: found for room, found in findings.items() if found and room not in excused}
    assert not unexpected, "\n" + "\n".join(f"{room}: {one}" for room, found in unexpected.items() for one in found)


def by_room(pairs: Iterator[tuple[Path, str]]) -> dict[str, list[str]]:
    """Findings grouped by the room of their file."""
    grouped = defaultdict(list)
    for path, finding in pairs:
        grouped[room_of(path)].append(finding)
    return grouped


def functions() -> Iterator[tuple[Path, str, Function]]:
    """Every function and method of the package, nested ones included, with its dotted name."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    yield name, child
                yield from walk(child, f"{name}.")
            else:
                yield from walk(child, prefix)

    for path, tree in TREES.items():
        for name, node in walk(tree, f"{path.stem}."):
            yield path, name, node


def arguments_of(node: Function) -> list[ast.arg]:
    """All arguments of a function, keyword-only ones and self included."""
    a = node.args
    return [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]


def complexity(node: ast.AST) -> int:
    """McCabe's number as radon counts it: boolean operators and comprehensions included, inner functions apart."""

    def decisions(node: ast.AST) -> int:
        match node:
            case ast.If() | ast.IfExp() | ast.Assert():
                return 1
            case ast.Try() | ast.TryStar():
                return len(node.handlers) + bool(node.orelse)
            case ast.BoolOp():
                return len(node.values) - 1
            case ast.Match():
                wildcard = any(getattr(case.pattern, "pattern", False) is None for case in node.cases)
                return max(0, len(node.cases) - wildcard)
            case ast.For() | ast.While() | ast.AsyncFor():
                return 1 + bool(node.orelse)
            case ast.comprehension():
                return 1 + len(node.ifs)
        return 0

    def total(node: ast.AST) -> int:
        inner = (child for child in ast.iter_child_nodes(node) if not isinstance(child, Function | ast.ClassDef))
        # radon does not look into the expression of an assert
        return decisions(node) + (0 if isinstance(node, ast.Assert) else sum(map(total, inner)))

    return 1 + sum(total(child) for child in node.body if not isinstance(child, Function | ast.ClassDef))


# --- Sizes


def test_no_folder_has_more_modules_than_one_can_overlook():
    counts = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    check(
        "modules per folder",
        by_room((folder, f"{folder.name} has {n} modules") for folder, n in counts.items() if n > MOST_MODULES),
    )


def test_no_module_is_too_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    check(
        "module length", by_room((path, f"{path.name} has {n} lines") for path, n in lengths.items() if n > MOST_LINES)
    )


def test_no_function_is_too_long():
    check(
        "function length",
        by_room(
            (path, f"{name} has {n} lines")
            for path, name, node in functions()
            if (n := node.end_lineno - node.lineno + 1) > MOST_FUNCTION_LINES
        ),
    )


def test_no_function_has_too_many_arguments():
    check(
        "arguments",
        by_room(
            (path, f"{name} has {n} arguments")
            for path, name, node in functions()
            if (n := len(arguments_of(node))) > MOST_ARGUMENTS
        ),
    )


def test_no_function_is_too_complex():
    check(
        "complexity",
        by_room(
            (path, f"{name} has complexity {n}")
            for path, name, node in functions()
            if (n := complexity(node)) > MOST_COMPLEXITY
        ),
    )


def test_complexity_is_counted_as_radon_counts_it():
    code = """
def f(a, b):
    assert a and b
    if a and b or a:
        return [x for x in a if x if b]
    for x in a:
        pass
    else:
        pass
    try:
        pass
    except ValueError:
        pass
    def g():
        if a: pass
    return 1 if a else 2
"""
    # 1 + assert 1 + if 1 + two boolean operators 2 + comprehension 3 + for-else 2 + except 1 + conditional 1
    assert complexity(ast.parse(code).body[0]) == 12


# --- Imports


def module_name(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Module -> modules that it imports anywhere: at the top, in functions, under TYPE_CHECKING."""
    known = {module_name(path) for path in MODULES}
    graph: dict[str, set[str]] = {}
    for path, tree in TREES.items():
        own, targets = module_name(path), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{own}: import by the full name"
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    targets.add(full if full in known else node.module)
        graph[own] = (targets & known) - {own}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components with more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_no_modules_import_each_other_in_a_circle():
    findings = defaultdict(list)
    for circle in circles(import_graph()):
        findings[circle[0].split(".")[1] if "." in circle[0] else circle[0]].append(" <-> ".join(circle))
    check("circles", findings)


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}
    assert circles(graph) == [["a", "b", "c"], ["e", "f"]]


# --- Names


def test_no_public_class_name_exists_twice():
    places = defaultdict(list)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    check(
        "class names",
        by_room(
            (path, f"class {name} in {', '.join(module_name(other) for other in paths)}")
            for name, paths in places.items()
            if len(paths) > 1
            for path in paths
        ),
    )


def is_path(annotation: ast.expr | None) -> bool:
    """Whether an annotation is a Path, or a string or path, with or without None."""
    if annotation is None:
        return False
    names = set(ast.unparse(annotation).replace('"', "").replace("'", "").replace(" ", "").split("|")) - {"None"}
    return bool(names) and names <= {"Path", "str", "os.PathLike", "PathLike", "pathlib.Path"} and names != {"str"}


def test_parameters_that_are_paths_end_in_path_or_dir():
    def is_named(name: str) -> bool:
        return name.endswith(("_path", "_paths", "_dir", "_dirs")) or name in ("path", "paths")

    def parameters() -> Iterator[tuple[Path, str]]:
        for path, name, node in functions():
            for argument in arguments_of(node):
                if is_path(argument.annotation) and not is_named(argument.arg):
                    yield path, f"{name}({argument.arg})"
        for path, tree in TREES.items():
            for node in ast.walk(tree):
                if not isinstance(node, ast.ClassDef) or "Config" in node.name or "Recipe" in node.name:
                    continue
                for field in node.body:
                    is_field = isinstance(field, ast.AnnAssign) and is_path(field.annotation)
                    if is_field and not is_named(field.target.id):
                        yield path, f"{path.stem}.{node.name}.{field.target.id}"

    check("path names", by_room(parameters()))


def test_each_folder_of_tests_has_its_counterpart():
    special = {"architecture", "benchmarks", "golden", "examples", "__pycache__"}
    folders = {
        path.parent.relative_to(ROOT / "tests")
        for path in (ROOT / "tests").rglob("*.py")
        if path.parent != ROOT / "tests"
    }
    strange = [str(f) for f in folders if f.parts[0] not in special and not (SOURCE / f).is_dir()]
    check("mirror", {"tests": strange})


def packages() -> list[str]:
    """The rooms that are packages, and the package itself."""
    return ["linnaea", *(f"linnaea.{path.parent.name}" for path in sorted(SOURCE.glob("*/__init__.py")))]


@pytest.mark.parametrize("package", packages())
def test_a_room_exports_its_public_names(package):
    room = package.rpartition(".")[2]
    module = import_module(package)
    findings = []
    if not getattr(module, "__all__", None):
        findings = ["no __all__"]
    for name in getattr(module, "__all__", ()):
        try:
            found = getattr(module, name, None)
        except ImportError as error:
            # An extra that is not installed here is no fault of the room.
            found = None if (error.name or "linnaea").startswith("linnaea") else error
        if found is None:
            findings.append(f"{name} cannot be imported")
    check("public names", {room: findings})


def test_the_package_lists_its_public_names():
    import linnaea

    assert set(linnaea.__all__) == set(linnaea._EXPORTS) <= set(dir(linnaea))


# --- English

# In two halves each, so that this file does not hold what it refuses.
PHRASES = [
    r"\bnothing;" + r" (valueerror|raises)",
    r"['\"}] is" + r" no [a-z]",
    r"\bso" + r" many\b",
    r"\ble" + r"st\b",
    r"\bthat (are|is)" + r" (?-i:none)\b",
    r"\bby" + r" sight\b",
    r"\bteacher's" + r" word\b",
    r"\bof its own" + r" accord\b",
    r"\bof what" + r" makes\b",
    r"\bis told" + r" beside\b",
    r"\bstands? on (its|their)" + r" genus\b",
    r"\bread again," + r" finer\b",
    r"\bdoes what it does" + r" elsewhere\b",
]
BARE_DECIMAL = re.compile(r"(?<![\w./\\*-])\.\d")


def prose() -> Iterator[tuple[Path, int, str]]:
    """Every line of code and documentation. Histories and results of benchmarks may quote the past."""
    folders = ("src", "tests", "benchmarks", "recipes", "docs", "examples", "launch")
    files = [path for folder in folders for kind in ("*.py", "*.md") for path in (ROOT / folder).rglob(kind)]
    files += [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
    for path in sorted(files):
        if path == Path(__file__).resolve() or "results" in path.parts or path.name == "cli.md":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            # The style guide shows what not to write, in the rows of a table.
            if not (path.name == "CONTRIBUTING.md" and line.startswith("|")):
                yield path, number, line


def test_no_text_holds_a_phrase_that_one_must_read_twice():
    pattern = re.compile("|".join(PHRASES), re.IGNORECASE)
    check(
        "phrases",
        by_room(
            (path, f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
            for path, number, line in prose()
            if pattern.search(line)
        ),
    )


def test_decimals_in_documents_have_their_zero():
    def findings() -> Iterator[tuple[Path, str]]:
        code: dict[Path, bool] = {}
        for path, number, line in prose():
            if path.suffix != ".md":
                continue
            if line.lstrip().startswith("```"):
                code[path] = not code.get(path)
            elif not code.get(path) and BARE_DECIMAL.search(re.sub(r"`[^`]*`|\([^)\s]*\)", "", line)):
                yield path, f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"

    check("decimals", by_room(findings()))
