"""Tables that are cut off, garbled or something else: rows, or one line that names the file in plain words."""

import gzip
import io
import json
import random
import re
import tarfile
import zipfile

import polars as pl
import pytest
import xlsxwriter

from linnaea.census.readers import read_observations
from linnaea.datasets.manifests import read_image_table
from linnaea.evaluate.truth import read_examples
from linnaea.identify.naming.label_set import parse_labels
from linnaea.standards.commented_csv import read_csv_text
from linnaea.standards.name_lists import read_name_list
from linnaea.standards.occurrence_records import count_occurrences
from linnaea.standards.table_reading import read_table
from linnaea.taxonomy.vocabulary_factory import build_vocabulary, find_source

COLUMNS = ("file", "scientificName", "genus", "decimalLatitude", "decimalLongitude", "eventDate", "label")
ROWS = [
    (f"{i}.jpg", f"Parus {'abcdef'[i % 6]}ensis", "Parus", "48,1", "11.5", "2024-05-01", f"l{i}") for i in range(40)
]
TEXT = "\n".join("\t".join(row) for row in [COLUMNS, *ROWS])
DESCRIPTOR = (
    '<archive><core fieldsTerminatedBy="\\t" ignoreHeaderLines="1" rowType="http://rs.tdwg.org/dwc/terms/Occurrence">'
    "<files><location>occurrence.txt</location></files><id index='0'/>"
    + "".join(f'<field index="{i}" term="http://rs.tdwg.org/dwc/terms/{c}"/>' for i, c in enumerate(COLUMNS))
    + "</core></archive>"
)
# Words of Python, of its libraries and of its codecs.
FOREIGN = re.compile(
    r"Error\b|Exception|Traceback|codec|polars|calamine|BadZip|NoneType|\bbyte 0x|invalid (start|continuation)|"
    r"Expecting|<class|object at 0x|\bNone\b|Errno|not well-formed|zlib|magic number|unexpected end of data"
)


def make_workbook() -> bytes:
    written = io.BytesIO()
    with xlsxwriter.Workbook(written) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate([COLUMNS, *ROWS]):
            sheet.write_row(number, 0, row)
    return written.getvalue()


def make_parquet() -> bytes:
    written = io.BytesIO()
    pl.DataFrame(dict(zip(COLUMNS, zip(*ROWS, strict=True), strict=True))).write_parquet(written)
    return written.getvalue()


def make_zip(members: dict[str, str]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return written.getvalue()


def make_tar() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, text in {"meta.xml": DESCRIPTOR, "occurrence.txt": TEXT}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return written.getvalue()


PACKAGE = json.dumps({"resources": [{"name": "occurrences", "path": "o.tsv"}]})
TABLES = {
    "t.tsv": TEXT.encode(),
    "t.csv": TEXT.replace(",", ".").replace("\t", ",").encode(),
    "semicolons.csv": TEXT.replace("\t", ";").encode("cp1252"),
    "quoted.csv": "\n".join(",".join(f'"{cell}"' for cell in line.split("\t")) for line in TEXT.split("\n")).encode(),
    "wide.txt": TEXT.encode("utf-16"),
    "t.jsonl": "\n".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in ROWS).encode(),
    "list.json": json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in ROWS]).encode(),
    "t.xlsx": make_workbook(),
    "t.parquet": make_parquet(),
    "t.csv.gz": gzip.compress(TEXT.encode()),
    "simple.zip": make_zip({"0001.csv": TEXT}),
    "archive.zip": make_zip({"meta.xml": DESCRIPTOR, "occurrence.txt": TEXT}),
    "package.zip": make_zip({"datapackage.json": PACKAGE, "o.tsv": TEXT}),
    "archive.tgz": make_tar(),
}
READERS = {
    "table": lambda path: list(read_table(path).rows()),
    "frame": lambda path: read_table(path).frame(),
    "occurrences": lambda path: count_occurrences(path, near=(48.0, 11.0), month=5),
    "list": read_name_list,
    "labels": lambda path: parse_labels(str(path)),
    "manifest": read_examples,
    "images": read_image_table,
    "vocabulary": lambda path: build_vocabulary(find_source(path)[2](), "t"),
    "observations": lambda path: read_observations(path, 1.0),
    "commented": lambda path: read_csv_text(path, "species table", "name, …"),
}


def damage(content: bytes, kind: str, generator: random.Random) -> bytes:
    at = generator.randrange(len(content))
    if kind == "cut":
        return content[:at]
    if kind == "noise":
        return content[:at] + generator.randbytes(200) + content[at + 200 :]
    if kind == "flips":
        garbled = bytearray(content)
        for _flip in range(30):
            garbled[generator.randrange(len(garbled))] = generator.randrange(256)
        return bytes(garbled)
    if kind == "mark":
        return content[:at] + b'"' + content[at:]
    if kind == "zeros":
        return content[:at] + bytes(100) + content[at:]
    if kind == "lost":
        return content[:at] + content[at + 50 :]
    return generator.randbytes(3000)


def list_faults(read, path) -> str:
    """What a reader says of a table, "" if it reads it; errors of libraries are not caught."""
    try:
        read(path)
    except (ValueError, FileNotFoundError) as error:
        if type(error) not in (ValueError, FileNotFoundError):
            raise
        return str(error)
    return ""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", TABLES)
def test_every_damaged_table_gives_rows_or_one_plain_line(tmp_path, caplog, name, reader):
    path = tmp_path / name
    for kind in ("cut", "noise", "flips", "mark", "zeros", "lost", "random"):
        for seed in range(3):
            path.write_bytes(damage(TABLES[name], kind, random.Random(f"{kind}{seed}{name}")))
            said = list_faults(READERS[reader], path)
            assert "\n" not in said
            assert not said or name in said, (kind, seed, said)
            assert not FOREIGN.search(said), (kind, seed, said)
    assert not FOREIGN.search(caplog.text)


@pytest.mark.parametrize("name", TABLES)
def test_the_whole_table_is_read_in_every_form(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    table = read_table(path)
    column = table.require("scientificName")
    assert [row.cells[column] for row in table.rows()] == [row[1] for row in ROWS]
    assert table.frame()[column].to_list() == [row[1] for row in ROWS]
    # the decimal comma and the point are one number
    assert sum(count_occurrences(path, near=(48.1, 11.5), month=None).values()) == pytest.approx(40, rel=1e-6)
