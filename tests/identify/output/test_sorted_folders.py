"""`--sort-into`: photographs in folders by name."""

import csv
import os

import pytest

from linnaea.identify.output import sorted_folders
from linnaea.identify.output.sorted_folders import (
    LIST_NAME,
    SortedPhotograph,
    find_folder,
    make_safe_name,
    sort_photographs,
)
from linnaea.records import OUTCOMES, Prediction


def named(name="Felis catus"):
    return Prediction(file="x", status="identified", rank="species", name=name, confidence=0.9)


def unnamed(outcome):
    return Prediction(file="x", status=OUTCOMES[outcome], outcome=outcome)


@pytest.fixture
def photograph(tmp_path):
    """Writes a photograph and returns it with its answer."""

    def make(place, answer=None, content=b""):
        path = tmp_path / "in" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or place.encode())
        return SortedPhotograph(path=str(path), prediction=answer or named(), event="e1")

    return make


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LIST_NAME
    }


def read_list(folder):
    with open(folder / LIST_NAME, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_each_photograph_lies_in_the_folder_of_its_name_and_in_the_list(photograph, tmp_path):
    out = tmp_path / "out"
    photographs = [
        photograph("a.jpg"),
        photograph("b.jpg", unnamed("no_organism")),
        photograph("c.jpg", unnamed("unsure")),
        photograph("d.jpg", unnamed("unreadable")),
    ]
    sorter = sort_photographs(out, photographs, "copy")
    assert tree(out) == {
        "Felis catus/a.jpg": b"a.jpg",
        "no organism/b.jpg": b"b.jpg",
        "unidentified/c.jpg": b"c.jpg",
        "unreadable/d.jpg": b"d.jpg",
    }
    assert sorter.n_sorted == 4
    first = read_list(out)[0]
    assert first == {
        "file": str(tmp_path / "in" / "a.jpg"),
        "sorted_as": "Felis catus/a.jpg",
        "outcome": "named",
        "rank": "species",
        "name": "Felis catus",
        "confidence": "0.9",
        "event": "e1",
    }
    assert os.path.getmtime(out / "Felis catus" / "a.jpg") == os.path.getmtime(tmp_path / "in" / "a.jpg")


def test_every_outcome_has_a_folder():
    folders = {outcome: find_folder(unnamed(outcome)) for outcome in OUTCOMES if outcome != "named"}
    assert folders == {
        "unsure": "unidentified",
        "outside_list": "outside the list",
        "no_organism": "no organism",
        "no_detection": "no organism",
        "not_in_boxes": "not in the list of boxes",
        "human": "human",
        "vehicle": "vehicle",
        "unreadable": "unreadable",
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Felis catus", "Felis catus"),
        ("amoena/cyanea", "amoena_cyanea"),
        ('a<b>:"c|d?e*', "a_b___c_d_e_"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("COM1", "_COM1"),
        ("ends. ", "ends"),
        ("...", "_"),
        ("", "_"),
        ("line\nbreak.jpg", "line_break.jpg"),
        ("猫.jpg", "猫.jpg"),
        ("x" * 300 + ".jpg", "x" * 116 + ".jpg"),
    ],
)
def test_names_are_safe_on_windows(text, name):
    assert make_safe_name(text) == name


def test_twins_get_names_of_their_own_even_where_case_does_not_count(photograph, tmp_path):
    out = tmp_path / "out"
    photographs = [photograph(place) for place in ("1/a.JPG", "2/a.JPG", "3/A.jpg", "4/b.jpg")]
    # A twin with the same content is a photograph of its own.
    photographs.append(photograph("5/b.jpg", content=b"4/b.jpg"))
    sort_photographs(out, photographs, "copy")
    assert tree(out) == {
        "Felis catus/A (3).jpg": b"3/A.jpg",
        "Felis catus/a (2).JPG": b"2/a.JPG",
        "Felis catus/a.JPG": b"1/a.JPG",
        "Felis catus/b (2).jpg": b"4/b.jpg",
        "Felis catus/b.jpg": b"4/b.jpg",
    }


def test_what_is_there_already_is_never_overwritten(photograph, tmp_path):
    out = tmp_path / "out"
    (out / "Felis catus").mkdir(parents=True)
    (out / "Felis catus" / "a.jpg").write_bytes(b"somebody's own")
    sort_photographs(out, [photograph("a.jpg")], "copy")
    assert tree(out) == {"Felis catus/a (2).jpg": b"a.jpg", "Felis catus/a.jpg": b"somebody's own"}


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_a_second_run_changes_nothing(photograph, tmp_path, how):
    out = tmp_path / "out"
    photographs = [photograph("1/a.jpg"), photograph("2/a.jpg")]
    sort_photographs(out, photographs, how)
    before, listed = tree(out), read_list(out)
    again = sort_photographs(out, photographs, how)
    assert (again.n_sorted, again.n_known) == (0, 2)
    assert (tree(out), read_list(out)) == (before, listed)
    assert (out / "Felis catus" / "a.jpg").is_symlink() == (how == "symlink")
    if how == "hardlink":
        assert os.path.samefile(out / "Felis catus" / "a.jpg", photographs[0].path)


def test_a_photograph_that_somebody_moved_is_left_there(photograph, tmp_path):
    out = tmp_path / "out"
    photographs = [photograph("a.jpg")]
    sort_photographs(out, photographs, "copy")
    (out / "Felis catus" / "a.jpg").rename(out / "a.jpg")
    sort_photographs(out, photographs, "copy")
    assert tree(out) == {"a.jpg": b"a.jpg"}


def test_another_answer_is_sorted_anew_and_the_earlier_copy_left(photograph, tmp_path, caplog):
    out = tmp_path / "out"
    sort_photographs(out, [photograph("a.jpg")], "copy")
    sort_photographs(out, [photograph("a.jpg", named("Felis silvestris"))], "copy")
    assert set(tree(out)) == {"Felis catus/a.jpg", "Felis silvestris/a.jpg"}
    assert "1 photographs were sorted into another folder by an earlier run" in caplog.text


def test_a_stopped_run_continues_where_it_stopped(photograph, tmp_path, monkeypatch):
    out = tmp_path / "out"
    photographs = [photograph(f"{number}/a.jpg") for number in range(4)]
    copy, calls = sorted_folders.shutil.copy2, []

    def stop_at_third(source, target):
        calls.append(source)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return copy(source, target)

    monkeypatch.setattr(sorted_folders.shutil, "copy2", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        sort_photographs(out, photographs, "copy")
    # As if the run had been killed after it copied the third photograph, in the middle of its row.
    (out / "Felis catus" / "a (3).jpg").write_bytes(b"2/a.jpg")
    with open(out / LIST_NAME, "a", encoding="utf-8") as handle:
        handle.write(f"{photographs[2].path},Felis")
    sort_photographs(out, photographs, "copy")
    assert tree(out) == {
        "Felis catus/a (2).jpg": b"1/a.jpg",
        "Felis catus/a (3).jpg": b"2/a.jpg",
        "Felis catus/a (4).jpg": b"3/a.jpg",
        "Felis catus/a.jpg": b"0/a.jpg",
    }
    complete = [row for row in read_list(out) if row["event"]]
    assert [row["sorted_as"] for row in complete] == [f"Felis catus/{name}" for name in tree_order(4)]


def tree_order(n):
    return ["a.jpg", *(f"a ({number}).jpg" for number in range(2, n + 1))]


def test_a_photograph_that_is_gone_is_counted_aloud(photograph, tmp_path, caplog):
    gone = photograph("a.jpg")
    os.unlink(gone.path)
    sorter = sort_photographs(tmp_path / "out", [gone, photograph("b.jpg")], "copy")
    assert (sorter.n_sorted, sorter.n_failed) == (1, 1)
    assert "1 photographs are not there any more or cannot be read" in caplog.text


def test_a_folder_with_another_list_is_refused(photograph, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LIST_NAME).write_text("my,own\n", encoding="utf-8")
    with pytest.raises(ValueError, match="was not written by --sort-into"):
        sort_photographs(tmp_path / "out", [photograph("a.jpg")], "copy")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; give a folder"):
        sort_photographs(tmp_path / "file", [], "copy")
