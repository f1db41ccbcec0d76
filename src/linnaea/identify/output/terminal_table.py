"""A table of predictions for a terminal: aligned, as wide as the terminal, wide characters counted as two."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence

from linnaea.records import Prediction

HEADINGS = ("photograph", "name", "common name", "rank", "confidence")
SHARES = (0.30, 0.34, 0.36)  # of what the fixed columns leave: photograph, name, common name
RANK_WIDTH, CONFIDENCE_WIDTH, GAP = 8, 16, 2
BAR_WIDTH = 10
LEAST_WIDTH = 60


def measure_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    width = 0
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
            continue
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width


def fit_text(text: str, width: int, *, keep_end: bool = False) -> str:
    """The text padded or cut to exactly `width` columns; a cut shows as …, of a path the end stays."""
    text = "".join(character if character.isprintable() else "·" for character in text)
    if measure_width(text) > width:
        kept: list[str] = []
        room = width - 1
        for character in reversed(text) if keep_end else text:
            room -= measure_width(character)
            if room < 0:
                break
            kept.append(character)
        text = "…" + "".join(reversed(kept)) if keep_end else "".join(kept) + "…"
    return text + " " * (width - measure_width(text))


class TerminalTable:
    """Lines of a table whose columns are fixed before the first row, so that rows can be printed as they come."""

    def __init__(self, *, width: int | None = None, colour: bool | None = None):
        width = max(LEAST_WIDTH, min(width or shutil.get_terminal_size((110, 24)).columns, 160))
        room = width - RANK_WIDTH - CONFIDENCE_WIDTH - GAP * (len(HEADINGS) - 1)
        first, second = int(room * SHARES[0]), int(room * SHARES[1])
        self._widths = (first, second, room - first - second, RANK_WIDTH, CONFIDENCE_WIDTH)
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ if colour is None else colour

    def format_header(self) -> str:
        """The headings and a rule."""
        cells = (" " * GAP).join(fit_text(text, width) for text, width in zip(HEADINGS, self._widths, strict=True))
        return self._paint(cells.rstrip(), "1") + "\n" + "─" * (sum(self._widths) + GAP * (len(HEADINGS) - 1))

    def format_rows(self, predictions: Iterable[Prediction]) -> list[str]:
        """One line a row; the reason takes the place of the name where there is none."""
        return [self._line(prediction) for prediction in predictions]

    def _line(self, prediction: Prediction) -> str:
        file_width, *_rest = self._widths
        file = fit_text(prediction.file if prediction.position == 1 else "", file_width, keep_end=True)
        if prediction.status != "identified":
            room = sum(self._widths[1:]) + GAP * (len(HEADINGS) - 2)
            reason = fit_text(f"{prediction.status}: {prediction.reason}", room).rstrip()
            return file + " " * GAP + self._paint(reason, "33" if prediction.status == "unidentified" else "31")
        confidence = prediction.confidence or 0.0
        cells = self._align(
            (prediction.name, prediction.common_name, prediction.rank, f"{draw_bar(confidence)} {confidence:4.0%}")
        )
        return file + " " * GAP + cells.rstrip()

    def _align(self, texts: Sequence[str]) -> str:
        return (" " * GAP).join(fit_text(text, width) for text, width in zip(texts, self._widths[1:], strict=True))

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def draw_bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """A bar of `width` columns, filled to an eighth of a column."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return text + " " * (width - len(text))
