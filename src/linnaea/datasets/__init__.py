"""Training data on disk.

A source reads samples (an image, a text, a lineage) by part and row, in any order and from any thread:

- `TarSource`: webdataset tar shards, as TreeOfLife publishes them (`webdataset`),
- `TableSource`: a CSV or Parquet table over image files or over shards (`manifests`),
- `SyntheticSource`: drawn pictures of made-up species, for trials (`synthetic`).

`write_shards` and `pack_table` write shards (`shard_writer`), and `RejectJournal` records the samples that could not be
used (`rejects`). `group_ids` numbers the genera and families of a batch. All names in `__all__` are imported when they
are first used.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "RawSample": "samples",
    "Reject": "samples",
    "RejectJournal": "rejects",
    "SampleSource": "samples",
    "SyntheticSource": "synthetic",
    "TableSource": "manifests",
    "TarSource": "webdataset",
    "pack_table": "shard_writer",
    "read_image_table": "manifests",
    "write_shards": "shard_writer",
}
__all__ = [
    "RawSample",
    "Reject",
    "RejectJournal",
    "SampleSource",
    "SyntheticSource",
    "TableSource",
    "TarSource",
    "pack_table",
    "read_image_table",
    "write_shards",
]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
