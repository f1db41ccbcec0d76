"""Formats that other programs read and write: Darwin Core, Camtrap DP, EXIF, tables.

`read_photo_metadata(path)` reads EXIF; `write_package` and `make_occurrence_rows` export predictions;
`count_occurrences(path)` reads occurrence records; `read_table` reads a table in any usual format, `write_table` writes
one.
"""

from importlib import import_module

_MODULES = {
    "PackageMetadata": "linnaea.standards.camtrap_dp",
    "PhotoMetadata": "linnaea.standards.exif",
    "count_occurrences": "linnaea.standards.occurrence_records",
    "make_occurrence_rows": "linnaea.standards.darwin_core",
    "read_photo_metadata": "linnaea.standards.exif",
    "read_rows": "linnaea.standards.tables",
    "read_table": "linnaea.standards.table_reading.reader",
    "write_package": "linnaea.standards.camtrap_dp",
    "write_table": "linnaea.standards.tables",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    # Late: a command that needs one format does not import all of them.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
