"""One chart: a matplotlib figure in the look of the reports, drawn without a screen and returned as inline SVG.

Sizes are CSS pixels at the width of a report's column. Text stays text: it can be searched, selected and scaled. The
same data give the same bytes. Matplotlib is imported when the first chart is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from linnaea.pages.inline_svg import HALO, to_inline_svg
from linnaea.pages.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.artist import Artist

DPI = 72
"Dots per inch at which one dot is one unit of the SVG."
FONT_PX = 11
N_TICKS = (5, 4)
"At most this many intervals between ticks of x and y."


def get_colour(name: str) -> str:
    """The colour that matplotlib draws for a name of `style.COLOURS`; a page replaces it by the CSS variable."""
    return COLOURS[name][0]


def format_short(number: float) -> str:
    """A number as axes show it: 1.2k, 3M, 0.05."""
    size = abs(number)
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if size >= scale:
            return f"{number / scale:.3g}{unit}"
    return f"{number:.3g}"


@contextmanager
def use_chart_style() -> Iterator[None]:
    """Matplotlib's settings of all charts, while the context is open."""
    import matplotlib

    soft, line, ink, card = (get_colour(name) for name in ("soft", "line", "ink", "card"))
    settings = {
        "font.size": FONT_PX,
        "font.family": "DejaVu Sans",
        "text.color": ink,
        "axes.edgecolor": line,
        "axes.labelcolor": soft,
        "axes.linewidth": 1,
        "axes.facecolor": card,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 13,
        "axes.titleweight": "bold",
        "axes.titlepad": 8,
        "axes.labelsize": FONT_PX,
        "grid.color": line,
        "grid.linewidth": 1,
        "xtick.color": soft,
        "ytick.color": soft,
        "xtick.bottom": False,
        "ytick.left": False,
        "xtick.labelsize": FONT_PX,
        "ytick.labelsize": FONT_PX,
        "lines.linewidth": 1.8,
        "path.simplify_threshold": 0.25,
        "svg.fonttype": "none",
        "svg.hashsalt": "linnaea",
    }
    with matplotlib.rc_context(settings):
        yield


class Chart:
    """A figure of `width` × `height` px with one pair of axes; margins in px are (left, right, top, bottom).

    Draw on `axes` inside `use_chart_style`, then call `render`.
    """

    def __init__(self, width: float, height: float, margins: tuple[float, float, float, float] = (44, 10, 28, 34)):
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        left, right, top, bottom = margins
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, frameon=False)
        FigureCanvasSVG(self.figure)
        self.axes = self.figure.add_axes(
            (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        )
        self.axes.patch.set_visible(False)
        for axis, n_ticks in zip((self.axes.xaxis, self.axes.yaxis), N_TICKS, strict=True):
            axis.set_major_locator(MaxNLocator(n_ticks, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(lambda value, _: format_short(value)))
        self._tooltips: dict[str, str] = {}

    def set_titles(self, title: str, x_label: str = "", y_label: str = "") -> None:
        """Set the title above the axes, the label of x below them and of y between the two."""
        edge = 4 / self.width
        if title:
            self.figure.text(edge, 1 - 15 / self.height, title, size=13, weight="bold")
        soft = get_colour("soft")
        if x_label:
            right = self.axes.get_position().x1
            self.figure.text(right, 4 / self.height, x_label, ha="right", color=soft)
        if y_label:
            self.figure.text(edge, 4 / self.height, f"↑ {y_label}", color=soft)

    def set_limits(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Set the ranges of both axes; an empty range becomes one unit wide."""
        self.axes.set_xlim(x[0], x[1] if x[1] > x[0] else x[0] + 1)
        self.axes.set_ylim(y[0], y[1] if y[1] > y[0] else y[0] + 1)

    def use_whole_numbers(self) -> None:
        """Put ticks of y only at whole numbers."""
        from matplotlib.ticker import MaxNLocator

        self.axes.yaxis.set_major_locator(MaxNLocator(N_TICKS[1], steps=[1, 2, 5, 10], integer=True))

    def explain(self, artist: Artist, text: str) -> None:
        """Show `text` when the reader points at `artist`."""
        gid = f"tooltip-{len(self._tooltips)}"
        artist.set_gid(gid)
        self._tooltips[gid] = text

    def add_text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        halo: bool = False,
        shift_px: tuple[float, float] = (0.0, 0.0),
        **properties,
    ) -> None:
        """Write at a place of the axes, moved by `shift_px` (right, up); a halo keeps the text readable on lines."""
        note = self.axes.annotate(
            text, (x, y), xytext=shift_px, textcoords="offset points", annotation_clip=False, **properties
        )
        if halo:
            note.set_gid(HALO)

    def render(self, label: str) -> str:
        """The chart as inline SVG; `label` stands for it in screen readers."""
        buffer = io.StringIO()
        with use_chart_style():
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return to_inline_svg(buffer.getvalue(), label, self._tooltips)
