import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea.embed.journal import BATCHES, Journal, read_state


@pytest.fixture
def written(tmp_path):
    journal = Journal.create(tmp_path / "out.part", {"hash": "h"})
    for i in range(3):
        journal.append({"i": i, "name": "猫\ud800\n"})
    journal.close()
    return tmp_path / "out.part"


def test_batches_come_back_in_order_with_any_name_in_them(written):
    journal = Journal.reopen(written)
    assert journal.n_batches == 3
    assert [batch["i"] for batch in journal.read()] == [0, 1, 2]
    assert next(iter(journal.read()))["name"] == "猫\ud800\n"


@given(cut=st.integers(0, 200))
def test_whatever_a_kill_cuts_off_only_whole_batches_count(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("journal") / "out.part"
    journal = Journal.create(folder, {})
    ends = []
    for i in range(3):
        journal.append(i)
        ends.append((folder / BATCHES).stat().st_size)
    journal.close()
    data = (folder / BATCHES).read_bytes()
    (folder / BATCHES).write_bytes(data[:cut])
    again = Journal.reopen(folder)
    assert again.n_batches == sum(end <= cut for end in ends)
    again.append("more")
    assert list(again.read()) == [*range(again.n_batches - 1), "more"]
    again.close()


def test_a_line_whose_checksum_is_wrong_ends_the_journal(written):
    data = bytearray((written / BATCHES).read_bytes())
    data[len(data) // 2] ^= 1
    (written / BATCHES).write_bytes(data)
    assert Journal.reopen(written).n_batches == 1


def test_a_journal_that_was_removed_leaves_nothing(written):
    Journal.reopen(written).remove()
    assert not written.exists()
    assert read_state(written) is None


def test_what_a_kill_leaves_of_a_removal_is_no_run_to_go_on_with(written, monkeypatch):
    monkeypatch.setattr("linnaea.embed.journal.shutil.rmtree", lambda *a, **k: None)
    Journal.reopen(written).remove()
    assert written.exists()
    assert read_state(written) is None
