"""What a path holds: the files of a folder or of an archive (zip, tgz), and single files, unpacked where needed."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

BLOCK_BYTES = 1 << 20
OFFICE_PARTS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")
# Folders that no user put there.
HIDDEN = ("__MACOSX/", ".git/")
DAMAGED = "the archive is damaged or not complete; get it again"


@dataclass(kw_only=True)
class PackedFiles:
    """The files of a folder or of an archive: for each the name (with /) and a function that gives its path on disk."""

    path: Path
    members: dict[str, Callable[[], Path]]
    sizes: dict[str, int]
    held: list = field(default_factory=list, repr=False)

    def unpack(self, member: str) -> Path:
        """Return the path of a member on disk."""
        return self.members[member]()

    def name(self, member: str) -> str:
        """Return how errors name a member."""
        return f"{self.path}/{member}"


def find_kind(path: Path) -> str:
    """Return what a file is, from its first bytes: zip, workbook, gzip, tar, parquet, json or text."""
    with path.open("rb") as handle:
        head = handle.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "workbook" if _is_workbook(path) else "zip"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return "workbook"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head[257:262] == b"ustar":
        return "tar"
    return "json" if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[") else "text"


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name in OFFICE_PARTS for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def list_files(path: Path, name: str) -> PackedFiles:
    """Return the files of a folder, a zip or a tar archive. Raise ValueError if the archive is damaged."""
    if path.is_dir():
        return _list_folder(path)
    kind = find_kind(path)
    return _list_zip(path, name) if kind == "zip" else _list_tar(path, name)


def _list_folder(path: Path) -> PackedFiles:
    found = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    found = {name: file for name, file in found.items() if not _is_hidden(name)}
    return PackedFiles(
        path=path,
        members={name: (lambda file=file: file) for name, file in found.items()},
        sizes={name: file.stat().st_size for name, file in found.items()},
    )


def _is_hidden(name: str) -> bool:
    return name.startswith(HIDDEN) or PurePosixPath(name).name.startswith(".")


def _list_zip(path: Path, name: str) -> PackedFiles:
    packed = PackedFiles(path=path, members={}, sizes={})
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                member = info.filename.replace("\\", "/").lstrip("/")
                if info.is_dir() or _is_hidden(member) or (not info.file_size and member.endswith("/")):
                    continue
                packed.sizes[member] = info.file_size
                packed.members[member] = lambda info=info: _unpack_zip_member(packed, info, name)
    except (zipfile.BadZipFile, OSError, ValueError):
        raise ValueError(f"{name} cannot be opened as a zip archive; {DAMAGED}") from None
    return packed


def _unpack_zip_member(packed: PackedFiles, info: zipfile.ZipInfo, name: str) -> Path:
    if info.flag_bits & 1:
        raise ValueError(f"{name} is protected by a password; unpack it and give the folder")
    try:
        with zipfile.ZipFile(packed.path) as archive, archive.open(info) as source:
            return copy_to_disk(source, packed.held, info.filename)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError):
        raise ValueError(f"{name}: {info.filename} cannot be unpacked; {DAMAGED}") from None


def _list_tar(path: Path, name: str) -> PackedFiles:
    """The files of a tar archive, all unpacked at once, because its members cannot be reached singly."""
    packed = PackedFiles(path=path, members={}, sizes={})
    try:
        with tarfile.open(path) as archive:
            for info in archive:
                member = info.name.removeprefix("./")
                if not info.isfile() or _is_hidden(member):
                    continue
                file = copy_to_disk(archive.extractfile(info), packed.held, member)
                packed.sizes[member] = info.size
                packed.members[member] = lambda file=file: file
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError):
        raise ValueError(f"{name} cannot be opened as a tar archive; {DAMAGED}") from None
    return packed


def unpack_gzip(path: Path, name: str, held: list) -> Path:
    """Return the path of the unpacked file of a gzip file. Raise ValueError if it is damaged."""
    try:
        with gzip.open(path) as source:
            return copy_to_disk(source, held, path.stem)
    except (gzip.BadGzipFile, zlib.error, EOFError, OSError):
        raise ValueError(f"{name} cannot be unpacked; {DAMAGED}") from None


def copy_to_disk(source, held: list, member: str) -> Path:
    """Write a stream into a new temporary folder, which lives as long as `held`; return the path of the file."""
    folder = tempfile.TemporaryDirectory(prefix="linnaea-")
    held.append(folder)
    suffix = PurePosixPath(member.replace("\\", "/")).suffix.lower()
    target_path = Path(folder.name) / f"member{suffix}"
    with target_path.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK_BYTES)
    return target_path


def iterate_parquet_parts(packed: PackedFiles) -> Iterator[str]:
    """Yield the members that are parts of a Parquet table: files named so, or in a folder named so."""
    for member in packed.members:
        if ".parquet" in member.lower() and packed.sizes[member] and not member.endswith("_SUCCESS"):
            yield member
