"""Shards are read in place; what is missing, broken or nameless is said by name."""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
import subprocess
import sys
import tarfile

import polars as pl
import pytest

from linnaea.datasets import shard_index
from linnaea.datasets.manifests import TableSource, normalize_names, read_image_table
from linnaea.datasets.rejects import RejectJournal
from linnaea.datasets.samples import (
    NO_IMAGE,
    NO_TEXT,
    NOTHING_ABOVE,
    Reject,
    choose_text,
    parse_lineage_tag,
    strip_template,
)
from linnaea.datasets.shard_index import TWICE, load_index
from linnaea.datasets.shard_writer import make_texts, pack_table, write_shards
from linnaea.datasets.webdataset import TarSource
from made_shards import CAT, LION, image_bytes, made_shards


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def open_tars(paths, folder, **options):
    return TarSource(paths, cache_dir=folder / "cache", **options)


def test_a_packed_sample_comes_back_with_its_image_each_text_and_its_lineage(tmp_path):
    source = open_tars(made_shards(tmp_path, 7, 5), tmp_path, lineages=True)
    assert source.sizes_p.tolist() == [5, 2]
    assert not source.rejects
    assert not source.notices
    sample = source.read(1, 1, "taxonomic_common")
    assert (sample.key, sample.data, sample.lineage) == ("s006", image_bytes(6), CAT)
    above = "Animalia Chordata Mammalia Carnivora Felidae Felis catus"
    texts = {kind: source.read(1, 1, kind).text for kind in ("taxonomic_common", "taxonomic", "scientific", "common")}
    assert texts == {
        "taxonomic_common": f"a photo of {above} with common name house cat.",
        "taxonomic": f"a photo of {above}.",
        "scientific": "a photo of Felis catus.",
        "common": "a photo of house cat.",
    }
    assert source.read(0, 1, "scientific_common").text == "a photo of Panthera leo."
    assert source.taxa(0)[0] == source.taxa(0)[3] != source.taxa(0)[1]


def test_the_template_of_the_shards_gives_way_to_the_one_that_is_asked_for(tmp_path):
    source = open_tars(made_shards(tmp_path, 2), tmp_path, template="{}")
    assert source.read(0, 0, "scientific").text == "Felis catus"


def test_missing_shards_stop_the_run_by_name(tmp_path):
    paths = made_shards(tmp_path, 5)
    with pytest.raises(FileNotFoundError, match=r"missing shards: .*shard-00009.tar; fetch"):
        open_tars([*paths, tmp_path / "shard-00009.tar"], tmp_path)
    with pytest.raises(FileNotFoundError, match="no shard was given"):
        open_tars([], tmp_path)
    with pytest.raises(ValueError, match=r"shard-00000.tar is given twice"):
        open_tars([*paths, paths[0]], tmp_path)


# A sample that had begun is not whole; one after which another began is; a torn header says neither.
@pytest.mark.parametrize(
    ("where", "whole"),
    [("in an image", 3), ("in a text", 3), ("in a header", 2), ("between members", 3), ("before the end", 4)],
)
def test_a_truncated_shard_is_named_and_its_whole_samples_can_be_kept(tmp_path, where, whole):
    (path,) = made_shards(tmp_path, 5, 5)
    with tarfile.open(path) as tar:
        members = {member.name: member for member in tar.getmembers()}
        end = tar.offset
    image, text = members["s003.jpg"], members["s003.com.txt"]
    cut = {
        "in an image": image.offset_data + 100,
        "in a text": text.offset_data + 3,
        "in a header": image.offset + 100,
        "between members": text.offset,
        "before the end": end,
    }[where]
    os.truncate(path, cut)
    message = rf"shard-00000.tar is truncated: .* breaks off at byte [\d,]+, after {whole} whole samples; fetch"
    with pytest.raises(ValueError, match=message):
        open_tars([path], tmp_path)
    source = open_tars([path], tmp_path, keep_truncated=True)
    assert source.sizes_p.tolist() == [whole]
    assert [reject.part for reject in source.rejects] == ["shard-00000.tar"]
    assert source.read(0, whole - 1, "common").data == image_bytes(whole - 1)


def test_an_unfinished_download_that_is_zeros_to_its_full_size_is_truncated(tmp_path):
    (path,) = made_shards(tmp_path, 40, 40)
    size = path.stat().st_size
    with tarfile.open(path) as tar:
        image = tar.getmember("s003.jpg")
    for cut in (image.offset_data + 100, image.offset):
        os.truncate(path, cut)
        os.truncate(path, size)
        with pytest.raises(
            ValueError, match=r"truncated: .* after 3 whole samples" if cut > image.offset else "after 2 whole"
        ):
            open_tars([path], tmp_path)
    assert open_tars([path], tmp_path, keep_truncated=True).sizes_p.tolist() == [2]


def test_an_archive_with_a_hole_or_another_one_behind_it_is_truncated(tmp_path):
    (path,) = made_shards(tmp_path, 40, 40)
    with tarfile.open(path) as tar:
        start, end = (tar.getmember(name).offset for name in ("s003.jpg", "s009.jpg"))
    whole = path.read_bytes()
    for data in (whole[:start] + bytes(end - start) + whole[end:], whole + whole):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"shard-00000.tar is truncated: the archive breaks off at byte"):
            open_tars([path], tmp_path)


def written_by_tar(folder, *options):
    """The archive that GNU tar writes of a folder's samples."""
    names = sorted(path.name for path in folder.iterdir())
    subprocess.run(["tar", "-cf", "../made.tar", *options, *names], cwd=folder, check=True, timeout=300)
    return folder.parent / "made.tar"


@pytest.mark.parametrize(
    "options", [(), ("--format=pax",), ("--format=ustar",), ("-b", "1"), ("-b", "2"), ("-b", "128"), ("-b", "2048")]
)
def test_archives_of_gnu_tar_are_whole(tmp_path, options):
    if shutil.which("tar") is None:
        pytest.skip("tar is not here")
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / "in" / f"s{i}.jpg").write_bytes(image_bytes(i))
        (tmp_path / "in" / f"s{i}.txt").write_text("a cat")
    source = open_tars([written_by_tar(tmp_path / "in", *options)], tmp_path)
    assert source.sizes_p.tolist() == [5]
    assert not source.rejects


@pytest.mark.parametrize("n_zeros", [512, 1024])
def test_an_archive_without_padding_is_whole(tmp_path, n_zeros):
    (path,) = made_shards(tmp_path, 5, 5)
    with tarfile.open(path) as tar:
        tar.getmembers()
        end = tar.offset
    os.truncate(path, end + n_zeros)
    assert open_tars([path], tmp_path).sizes_p.tolist() == [5]


def test_the_fingerprint_knows_which_shard_holds_what(tmp_path):
    first, second = made_shards(tmp_path, 10, 5)
    before = open_tars([first, second], tmp_path).fingerprint
    assert open_tars([first, second], tmp_path / "again").fingerprint == before
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    assert open_tars([first, second], tmp_path).fingerprint != before


@pytest.mark.parametrize("change", ["image", "name"])
def test_the_fingerprint_knows_other_images_and_names_under_the_same_keys(tmp_path, change):
    given = [("a.jpg", image_bytes(1)), ("a.txt", b"a cat")]
    other = {"image": [("a.jpg", image_bytes(1) + b"."), given[1]], "name": [given[0], ("a.txt", b"a dog")]}[change]
    found = [
        open_tars([write_tar(tmp_path / "x.tar", members)], tmp_path / str(at)).fingerprint
        for at, members in enumerate((given, other))
    ]
    assert found[0] != found[1]


def test_a_catalogs_fingerprint_is_that_of_its_shards_too(tmp_path):
    frame = pl.DataFrame({"uuid": ["a"], "shard_filename": ["x.tar"], "species": ["Felis catus"]})
    found = []
    for at, image in enumerate((image_bytes(1), image_bytes(1) + b".")):
        write_tar(tmp_path / "x.tar", [("a.jpg", image), ("a.txt", b"a cat")])
        found.append(TableSource(frame, tmp_path, cache_dir=tmp_path / str(at)).fingerprint)
    assert found[0] != found[1]


def test_a_full_disk_of_the_cache_is_named_with_the_file_and_the_remedy(tmp_path, monkeypatch):
    (path,) = made_shards(tmp_path, 3)

    def full(*_given, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_index.np, "savez", full)
    with pytest.raises(OSError, match=r"index of shard-00000.tar cannot be written .*LINNAEA_CACHE") as found:
        load_index(path, tmp_path / "cache")
    assert found.value.errno == errno.ENOSPC
    assert found.value.filename.startswith(str(tmp_path / "cache"))


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100])
def test_what_is_no_archive_is_named(tmp_path, data):
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x.tar is truncated: the archive breaks off at byte 0, after 0 whole"):
        open_tars([path], tmp_path)


def test_samples_without_image_or_name_are_left_out_and_bare_names_noticed(tmp_path):
    image = image_bytes(1)
    texts = {ending: text.encode() for ending, text in make_texts(CAT, "cat").items()}
    path = write_tar(
        tmp_path / "odd.tar",
        [
            *[(f"good.{ending}", data) for ending, data in {"jpg": image, **texts}.items()],
            *[(f"imageless.{ending}", data) for ending, data in texts.items()],
            ("empty.jpg", b""),
            ("empty.sci.txt", b"a photo of Felis catus."),
            ("textless.jpg", image),
            ("hollow.jpg", image),
            *[(f"hollow.{ending}", b"a photo of .") for ending in texts],
            ("bare.jpg", image),
            ("bare.taxon.txt", b"a photo of Felis catus."),
            ("bare.sci.txt", b"a photo of Felis catus."),
            ("caption.jpg", image),
            ("caption.txt", b"two cats on a sofa"),
            ("caption.json", b"{}"),
        ],
    )
    source = open_tars([path], tmp_path)
    found = {(reject.key, reject.reason) for reject in source.rejects}
    assert found == {("imageless", NO_IMAGE), ("empty", NO_IMAGE), ("textless", NO_TEXT), ("hollow", NO_TEXT)}
    assert [(notice.key, notice.reason) for notice in source.notices] == [("bare", NOTHING_ABOVE)]
    assert source.keys(0).tolist() == ["good", "bare", "caption"]
    assert source.read(0, 2, "taxonomic").text == "two cats on a sofa"


def test_the_index_is_made_once_and_again_when_the_shard_changes(tmp_path):
    (path,) = made_shards(tmp_path, 3)
    cache = tmp_path / "cache"
    first = load_index(path, cache)
    (cached,) = cache.iterdir()
    stamp = cached.stat().st_mtime_ns
    again = load_index(path, cache)
    assert cached.stat().st_mtime_ns == stamp
    assert again.keys.tolist() == first.keys.tolist()
    assert (again.offset_nk == first.offset_nk).all()
    assert again.broken_at == -1
    made_shards(tmp_path, 4)
    assert len(load_index(path, cache).keys) == 4


def test_several_processes_find_what_one_does(tmp_path):
    paths = made_shards(tmp_path)
    assert open_tars(paths, tmp_path, n_processes=2).fingerprint == open_tars(paths, tmp_path / "b").fingerprint


def test_a_shard_that_shrinks_during_the_run_is_a_reject(tmp_path):
    (path,) = made_shards(tmp_path, 3)
    source = open_tars([path], tmp_path)
    os.truncate(path, 2000)
    found = source.read(0, 2, "common")
    assert isinstance(found, Reject)
    assert found.reason == "the shard ends before its sample does"


def test_captions_lose_their_template_and_tags_become_lineages():
    assert strip_template("a photo of Felis catus.") == "Felis catus"
    assert strip_template("Felis sp.", "{}") == "Felis sp."
    assert strip_template("a photo of .") == ""
    tag = "a photo of kingdom Animalia class Mammalia genus Felis species catus."
    assert parse_lineage_tag(tag) == ("Animalia", "", "Mammalia", "", "", "Felis", "Felis catus")
    assert parse_lineage_tag("") == ("",) * 7


def test_an_empty_text_falls_back_to_its_nearest():
    texts = {"scientific": "Felis catus", "taxonomic": "Animalia Felis catus"}
    assert choose_text(texts, "taxonomic_common") == "Animalia Felis catus"
    assert choose_text(texts, "common") == "Felis catus"
    assert choose_text({"common": "cat"}, "taxonomic") == "cat"
    assert choose_text({}, "common") == ""


def table(folder, rows, name="manifest.csv"):
    with (folder / name).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


def row(file, split="train", lineage=CAT, **more):
    ranks = dict(zip(("kingdom", "phylum", "class", "order", "family", "genus"), lineage, strict=False))
    return {"file": file, "split": split, "common": "", "scientific": lineage[6], **ranks, **more}


def test_a_folder_with_a_table_gives_its_rows_of_a_split(tmp_path):
    (tmp_path / "a.jpg").write_bytes(image_bytes(1))
    rows = [row("a.jpg", common="cat"), row("b.jpg", "val"), row("gone.jpg", lineage=LION)]
    source = TableSource(read_image_table(table(tmp_path, rows), split="train"), tmp_path, name="manifest.csv")
    assert source.sizes_p.tolist() == [2]
    sample = source.read(0, 0, "scientific_common")
    assert (sample.text, sample.lineage) == ("a photo of Felis catus with common name cat.", CAT)
    gone = source.read(0, 1, "common")
    reason = "the file cannot be read: no such file or directory"
    assert gone == Reject(part="manifest.csv", key="gone.jpg", reason=reason)


def test_rows_without_a_name_are_rejects_and_bare_names_notices(tmp_path):
    nothing, bare = ("",) * 7, (*[""] * 5, "Felis", "Felis catus")
    rows = [row("a.jpg", lineage=nothing), row("b.jpg", lineage=bare), row("c.jpg", lineage=nothing, common="cat")]
    source = TableSource(read_image_table(table(tmp_path, rows)), tmp_path)
    assert [(reject.key, reject.reason) for reject in source.rejects] == [("a.jpg", NO_TEXT)]
    assert [notice.key for notice in source.notices] == ["b.jpg", "c.jpg"]
    assert {notice.reason for notice in source.notices} == {NOTHING_ABOVE}
    (tmp_path / "c.jpg").write_bytes(b"x")
    assert source.read(0, 1, "taxonomic_common").text == "a photo of cat."


def test_a_catalog_finds_its_images_in_the_shards(tmp_path):
    made_shards(tmp_path / "shards", 7, 5)
    frame = pl.DataFrame(
        {
            "uuid": ["s006", "s001", "s003", "lost"],
            "shard_file_path": ["shards/shard-00001.tar", *["shards/shard-00000.tar"] * 3],
            "kingdom": ["Animalia"] * 4,
            "genus": ["Felis"] * 4,
            "species": ["catus", "silvestris", "catus", "catus"],
            "common": [None, "wildcat", "", "cat"],
        }
    )
    frame.write_parquet(tmp_path / "catalog.parquet")
    catalog = read_image_table(tmp_path / "catalog.parquet")
    source = TableSource(catalog, tmp_path, cache_dir=tmp_path / "cache")
    assert source.sizes_p.tolist() == [2, 1]
    assert [(reject.part, reject.key) for reject in source.rejects] == [("shard-00000.tar", "lost")]
    samples = [source.read(part, at, "common") for part, at in ((0, 0), (0, 1), (1, 0))]
    assert [sample.data for sample in samples] == [image_bytes(1), image_bytes(3), image_bytes(6)]
    names = ("wildcat", "Felis catus", "Felis catus")
    assert [sample.text for sample in samples] == [f"a photo of {name}." for name in names]
    assert source.taxa(0)[1] == source.taxa(1)[0] != source.taxa(0)[0]


def test_names_become_binomials():
    frame = pl.DataFrame(
        {
            "file": list("abcd"),
            "genus": ["Felis", "Felis", None, "Felis"],
            "species": ["catus", "", " ", "Felis catus"],
            "scientific_name": [None, "Felis margarita", "Aves", "x"],
        }
    )
    assert normalize_names(frame)["species"].to_list() == ["Felis catus", "Felis margarita", "Aves", "Felis catus"]


def test_tables_that_say_nothing_are_refused_with_what_they_have(tmp_path):
    with pytest.raises(ValueError, match=r"table has neither a column of files .* with uuid; it has genus; rename"):
        TableSource(pl.DataFrame({"genus": ["Felis"]}), tmp_path)
    path = table(tmp_path, [row("a.jpg")])
    with pytest.raises(ValueError, match=r"manifest.csv has no row whose split is 'trian'"):
        read_image_table(path, split="trian")
    with pytest.raises(FileNotFoundError, match=r"gone.csv does not exist"):
        read_image_table(tmp_path / "gone.csv")


def test_shards_and_tables_tell_the_lineages_that_they_name(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(image_bytes(ord(name)))
    rows = [row("a.jpg", common="cat"), row("a.jpg"), row("b.jpg", lineage=LION)]
    source = TableSource(read_image_table(table(tmp_path, rows)), tmp_path)
    assert source.lineages() == {CAT, LION}
    assert open_tars(pack_table(source, tmp_path / "shards")[0], tmp_path).lineages() == {CAT, LION}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "comma.csv",
            b"file,species\na.jpg,Felis catus\nb.jpg,cat, wild\n",
            "comma.csv, line 3: 3 cells, but the heading row has 2 columns; put a cell that holds the delimiter",
        ),
        ("empty.csv", b"", "empty.csv is empty; a table needs a heading row"),
        ("broken.parquet", b"PAR1 and no more", "broken.parquet cannot be read as Parquet; the file is damaged"),
        ("semicolons.csv", b"file;split\na.jpg;train\n", "semicolons.csv has no column of names"),
        (
            "image.csv",
            b"image,species\na.jpg,Felis catus\n",
            r"neither a column of files \(file or path .*; it has image, species; rename the column",
        ),
        (
            "name.csv",
            b"file,name\na.jpg,Felis catus\n",
            r"name.csv has no column of names \(kingdom, .*\); it has file, name; rename the column",
        ),
        (
            "bare.csv",
            b"file,species\na.jpg,Felis catus\n",
            r"no column split \(it has file, species\), so 'train' cannot be chosen",
        ),
    ],
)
def test_tables_that_lack_something_are_refused_in_one_line_with_the_remedy(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as found:
        read_image_table(tmp_path / name, split="train")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "content",
    [
        "file,species,split\na.jpg,Épilobe,train\n".encode("latin-1"),
        "File;Species;Split\na.jpg;Épilobe;train\n".encode("utf-16"),
        "file\tspecies\tsplit\na.jpg\tÉpilobe\ttrain\n".encode("utf-8-sig"),
    ],
)
def test_tables_as_people_save_them_are_read(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    frame = read_image_table(tmp_path / "t.csv", split="train")
    assert frame.to_dicts() == [{"file": "a.jpg", "species": "Épilobe", "split": "train"}]


def test_a_table_packs_into_shards_that_hold_the_same(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(image_bytes(ord(name)))
    rows = [row("a.jpg", common="cat"), row("gone.jpg"), row("b.jpg", lineage=LION)]
    source = TableSource(read_image_table(table(tmp_path, rows)), tmp_path)
    paths, rejects = pack_table(source, tmp_path / "shards")
    assert [reject.key for reject in rejects] == ["gone.jpg"]
    packed = open_tars(paths, tmp_path, lineages=True)
    for at, original in ((0, 0), (1, 2)):
        for kind in ("taxonomic_common", "common"):
            one, other = packed.read(0, at, kind), source.read(0, original, kind)
            assert (one.data, one.text, one.lineage) == (other.data, other.text, other.lineage)


def test_the_journal_counts_a_reject_once_and_goes_on_after_a_torn_line(tmp_path):
    path = tmp_path / "rejects.csv"
    rejects = [Reject(part="p", key=f"k{i}", reason='torn, "odd"\nline' if i else "x") for i in range(3)]
    journal = RejectJournal(path)
    journal.add(rejects)
    journal.add(rejects[:2])
    assert journal.summary().startswith("2 x ")
    path.write_text(path.read_text() + "p,k9,half a li")
    again = RejectJournal(path)
    assert len(again.rows) == 3
    again.add([Reject(part="p", key="k9", reason="x")])
    assert [r["key"] for r in csv.DictReader(path.read_text().splitlines())] == ["k0", "k1", "k2", "k9"]


def test_samples_that_share_a_key_are_all_packed_and_no_key_is_empty(tmp_path):
    given = [(key, image_bytes(i), CAT, "") for i, key in enumerate(["0000001", "a/b", "cat", "cat", ""])]
    source = open_tars(write_shards(given, tmp_path / "shards"), tmp_path)
    assert source.keys(0).tolist() == ["0000001", "0000001_", "cat", "0000003", "0000004"]
    assert [source.read(0, row, "scientific").data for row in range(5)] == [image_bytes(i) for i in range(5)]


def test_a_second_image_of_a_key_is_a_reject_and_the_first_stays(tmp_path):
    names = [
        ("cat.jpg", image_bytes(1)),
        ("cat.sci.txt", b"Felis catus"),
        ("dog.JPG", image_bytes(3)),
        ("dog.SCI.TXT", b"Canis lupus"),
    ]
    again = [("cat.jpg", image_bytes(2)), ("cat.sci.txt", b"Panthera leo")]
    source = open_tars([write_tar(tmp_path / "odd.tar", names + again)], tmp_path)
    assert [(reject.key, reject.reason) for reject in source.rejects] == [("cat", TWICE)]
    assert source.keys(0).tolist() == ["cat", "dog"]
    first = source.read(0, 0, "scientific")
    assert (first.data, first.text) == (image_bytes(1), "a photo of Felis catus.")
    assert source.read(0, 1, "scientific").data == image_bytes(3)


def test_a_table_of_files_has_nothing_truncated_to_keep(tmp_path):
    with pytest.raises(ValueError, match="keep_truncated is for shards; leave keep_truncated out"):
        TableSource(read_image_table(table(tmp_path, [row("a.jpg")])), tmp_path, keep_truncated=True)


def test_the_public_names_of_the_room_are_there_and_import_nothing_before_they_are_used():
    import linnaea.datasets as room

    assert all(getattr(room, name).__module__.startswith("linnaea.datasets.") for name in room.__all__)
    with pytest.raises(AttributeError, match="no attribute 'TarSauce'"):
        _ = room.TarSauce
    code = "import sys, linnaea.datasets; print('numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout
        == "False\n"
    )


def test_a_torn_journal_stays_as_it_is_where_its_repair_fails(tmp_path, monkeypatch):
    path = tmp_path / "rejects.csv"
    RejectJournal(path).add([Reject(part="p", key="k", reason="x")])
    path.write_text(path.read_text() + "p,k9,half a li")
    torn = path.read_text()

    def fail(_self, _target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="the list of rejected samples cannot be written"):
        RejectJournal(path)
    assert path.read_text() == torn
    assert [left.name for left in tmp_path.iterdir()] == ["rejects.csv"]
