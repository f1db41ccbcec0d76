"""The HTML report kit: one style (light, dark, print), one page skeleton, tables, figures and charts.

A report is one file that opens offline. `page` writes it, `elements` are its building blocks, `style` holds the colours
and the style sheet. Charts are matplotlib figures as inline SVG (`chart`, `line_chart`, `bar_chart`, `map_chart`);
`time_lapse` plays maps. Matplotlib comes with the extra `twin` and is imported when the first chart is drawn; a page
without charts does not need it. All names in `__all__` are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "BandedLine": "line_chart",
    "Chart": "chart",
    "LineChartOptions": "line_chart",
    "draw_difference_map": "map_chart",
    "draw_lines": "line_chart",
    "draw_map": "map_chart",
    "draw_stacked_bars": "bar_chart",
    "encode_frames": "map_chart",
    "encode_jpeg_bytes": "images",
    "render_answer": "elements",
    "render_figures": "elements",
    "render_header": "page",
    "render_legend": "elements",
    "render_section": "elements",
    "render_table": "elements",
    "render_time_lapse": "time_lapse",
    "write_page": "page",
}
__all__ = [
    "BandedLine",
    "Chart",
    "LineChartOptions",
    "draw_difference_map",
    "draw_lines",
    "draw_map",
    "draw_stacked_bars",
    "encode_frames",
    "encode_jpeg_bytes",
    "render_answer",
    "render_figures",
    "render_header",
    "render_legend",
    "render_section",
    "render_table",
    "render_time_lapse",
    "write_page",
]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
