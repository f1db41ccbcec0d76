"""What Linnaea reads of real archives, folders and tables: for each the rows, or the line that says why not.

    python benchmarks/table_outcomes.py ../shared/data/curate --out benchmarks/results/table_outcomes_2026-12-01.md

The page has the names of files, counts and messages, and none of their content. Each is read three times: as a table,
as occurrences near a place (`--occurrences`), and as a source of names (`--vocabulary`).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from linnaea.standards.occurrence_records import count_occurrences
from linnaea.standards.table_reading import read_table
from linnaea.taxonomy.vocabulary_factory import build_vocabulary, find_source

DESCRIPTORS = ("meta.xml", "datapackage.json")
ARCHIVES = (".zip", ".tgz")
TABLES = (".csv", ".txt", ".tsv", ".xlsx", ".parquet", ".jsonl")


def find_inputs(root: Path) -> Iterator[Path]:
    """Folders with a descriptor, packed archives, and the tables that are in neither."""
    folders = sorted({path.parent for name in DESCRIPTORS for path in root.rglob(name)})
    yield from folders
    for path in sorted(root.rglob("*")):
        if not path.is_file() or any(folder in path.parents for folder in folders):
            continue
        if path.suffix.lower() in (*ARCHIVES, *TABLES):
            yield path


def describe(read: Callable[[Path], str], path: Path, root: Path) -> str:
    """What a reader gives, or its line; any other fault would end the run."""
    try:
        return read(path)
    except (ValueError, FileNotFoundError) as error:
        if type(error) not in (ValueError, FileNotFoundError) or "\n" in str(error):
            raise
        return str(error).replace(f"{root}/", "").replace("|", "¦")


def read_as_table(path: Path) -> str:
    table = read_table(path)
    n_rows = sum(1 for _row in table.rows())
    assert table.frame().height == n_rows, path
    return f"{n_rows:,} rows, {len(table.columns)} columns"


def read_as_occurrences(path: Path) -> str:
    return f"{len(count_occurrences(path, near=None, month=None)):,} names"


def read_as_vocabulary(path: Path) -> str:
    vocabulary = build_vocabulary(find_source(path)[2](), "t")
    return f"{vocabulary.tree.n_leaves:,} leaves"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    root = options.root.resolve()
    lines = [
        "# What Linnaea reads of real tables",
        "",
        "Made by `benchmarks/table_outcomes.py`. Each input gives rows or one line; none is left out.",
        "",
        "| input | as a table | as occurrences | as names |",
        "| --- | --- | --- | --- |",
    ]
    n_inputs = n_read = 0
    for path in find_inputs(root):
        cells = [describe(read, path, root) for read in (read_as_table, read_as_occurrences, read_as_vocabulary)]
        n_inputs, n_read = n_inputs + 1, n_read + (" rows, " in cells[0])
        lines.append(f"| {path.relative_to(root)} | {' | '.join(cells)} |")
    lines += ["", f"{n_inputs} inputs, {n_read} of them read as tables."]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(lines[-1])


if __name__ == "__main__":
    main()
