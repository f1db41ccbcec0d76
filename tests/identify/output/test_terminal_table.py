"""The table on the terminal: fixed widths, wide characters counted right, colours only where they are wanted."""

import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from linnaea.identify.output.terminal_table import TerminalTable, draw_bar, fit_text, measure_width
from linnaea.records import Prediction

CAT = Prediction(file="cat.jpg", status="identified", rank="genus", name="Felis", common_name="cats", confidence=0.5)
BROKEN = Prediction(file="b.jpg", status="unreadable", reason="the file is empty")


@given(st.text(max_size=60), st.integers(1, 40), st.booleans())
@example("猫" * 20, 7, True)
@example("e\u0301" * 20, 7, True)
def test_a_cell_is_always_exactly_as_wide_as_its_column(text, width, keep_end):
    assert measure_width(fit_text(text, width, keep_end=keep_end)) == width


def test_wide_characters_count_as_two_and_paths_keep_their_end():
    assert measure_width("猫cat") == 5
    assert fit_text("a/very/long/path.jpg", 9, keep_end=True) == "…path.jpg"
    assert fit_text("猫猫猫", 4) == "猫… "


def test_every_line_of_the_table_fits_the_terminal_and_says_what_is_wrong():
    table = TerminalTable(width=80, colour=False)
    long = "photos/a very long name of a photograph, 猫猫猫猫猫猫.jpg"
    cat = Prediction(
        file=long, status="identified", rank="genus", name="Felis", common_name="cats\nand kin", confidence=0.5
    )
    lines = [*table.format_header().split("\n"), *table.format_rows([cat, BROKEN])]
    assert all(measure_width(line) <= 80 for line in lines)
    assert "\n" not in lines[2]
    assert "Felis" in lines[2]
    assert "50%" in lines[2]
    assert lines[3].startswith("b.jpg")
    assert "unreadable: the file is empty" in lines[3]


def test_other_candidates_of_a_photograph_without_a_name_stand_in_the_columns():
    table = TerminalTable(width=100, colour=False)
    guess = {"status": "unidentified", "outcome": "unsure", "reason": "probably Felis; too unsure for a name"}
    first = Prediction(file="a.jpg", guess_rank="genus", guess_name="Felis", guess_confidence=0.6, **guess)
    other = Prediction(file="a.jpg", position=2, guess_rank="genus", guess_name="Puma", guess_confidence=0.3, **guess)
    lines = table.format_rows([first, other])
    assert "unidentified: probably Felis; too unsure for a name" in lines[0]
    assert lines[1].split() == ["or", "Puma", "genus", "30%"]
    assert lines[1].index("genus") == table.format_rows([CAT])[0].index("genus")


def test_columns_do_not_move_from_row_to_row():
    table = TerminalTable(width=100, colour=False)
    rows = [CAT, Prediction(file="猫.jpg", status="identified", rank="species", name="Felis catus", confidence=1.0)]
    first, second = (line.index("Felis") + measure_width(line) - len(line) for line in table.format_rows(rows))
    assert first == second


def test_colours_are_codes_around_the_same_text():
    plain, coloured = (TerminalTable(width=100, colour=colour) for colour in (False, True))
    assert "\x1b[31m" in coloured.format_rows([BROKEN])[0]
    assert re.sub(r"\x1b\[\d+m", "", coloured.format_rows([BROKEN])[0]) == plain.format_rows([BROKEN])[0]


@pytest.mark.parametrize("variable", ["", "NO_COLOR"])
def test_a_pipe_and_no_color_give_plain_text(monkeypatch, variable):
    if variable:
        monkeypatch.setenv(variable, "1")
        monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda console: True))
    assert "\x1b" not in "".join(TerminalTable(width=100).format_rows([CAT, BROKEN]))


def test_a_terminal_gets_colours(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda console: True))
    assert Console(file=io.StringIO()).color_system is not None
    assert "\x1b[31m" in TerminalTable(width=100).format_rows([BROKEN])[0]


def test_a_bar_is_filled_to_an_eighth():
    assert draw_bar(0, 4) == "    "
    assert draw_bar(1, 4) == "████"
    assert draw_bar(0.5, 4) == "██  "
    assert draw_bar(9 / 32, 4) == "█▏  "
