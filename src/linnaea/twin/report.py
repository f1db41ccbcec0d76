"""A run, or a what-if beside its baseline, as one HTML page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np

from linnaea.store import atomic_path
from linnaea.twin.charts import (
    BLUE,
    GREEN,
    ORANGE,
    Curve,
    bar_chart,
    curve_chart,
    difference_png,
    map_png,
    phase_chart,
    short,
    web_chart,
)  # fmt: skip
from linnaea.twin.compare import Difference, check_pair, difference_series
from linnaea.twin.ensemble import Run
from linnaea.twin.foodweb import draw_web
from linnaea.twin.loop import CAUSES
from linnaea.twin.outputs import bands, flows, trait_names
from linnaea.twin.recording import WEATHER
from linnaea.twin.report_style import SCRIPT, STYLE

MOST_MAPS, MOST_LAPSES, MOST_PHASES = 9, 12, 3
WEB_NOTE = (
    "Arrows go from the eaten to the eater and are as wide as the root of the energy; higher is a higher trophic level; discs "
    "by the root of biomass. Grey links carried nothing. Of prey, bodies are counted at adult mass."
)


def write_report(run: Run) -> Path:
    """Writes `report.html` into the run's folder."""
    parts = [
        _section("Numbers", _population_charts([(run, "", BLUE, "")]), _band_note(run)),
        _section("What became of whom", _summary_table(run)),
        _section("Who eats whom", _web(run), WEB_NOTE),
        _section("Time-lapse", _lapse(run), "The first member; the root of the number in a cell sets its shade."),
        _section("Where they were", _maps(run), "Animals per km², mean over time and members; north is up."),
        _section("One against the other", _phases(run), "Medians; the ring is the start, the disc the end."),
        _section("Causes of death", bar_chart(_deaths(run))),
        _section("Food and weather", _surroundings(run)),
        _section("Heritable traits", _trait_charts(run)),
        _unverified(run),
        _made(run),
    ]
    return _write(run.folder / "report.html", run.title, run.data.about, parts)


def write_comparison(
    base: Run, whatif: Run, found: dict[str, Difference], last_years: float, level: float, out: Path
) -> Path:
    """Writes `report.html` with a what-if beside its baseline into `out`."""
    pairs = [(base, "baseline", BLUE, "5 3"), (whatif, "what-if", ORANGE, "")]
    key = (f'<p><span class=key style="border-color:{BLUE};border-top-style:dashed"></span>baseline'
           f'<span class=key style="border-color:{ORANGE}"></span>what-if. {_band_note(base)}</p>')  # fmt: skip
    parts = [
        _answer(found, last_years, level, len(check_pair(base, whatif))),
        _section("Side by side", key + _population_charts(pairs)),
        _section("The difference", _difference_charts(base, whatif, level),
                 f"What-if less baseline, mean of the pairs with its {100 * level:g} % interval."),
        _section("In numbers", _difference_table(found)),
        _section("Where it changed", _difference_maps(base, whatif), "Animals per km², what-if less baseline; north is up."),
        _unverified(whatif),
        _made(base), _made(whatif),
    ]  # fmt: skip
    about = _scenario_text(whatif) or whatif.data.about
    return _write(out / "report.html", f"{whatif.title}, against {base.title}", about, parts)


def _write(path: Path, title: str, about: str, parts: Iterable[str]) -> Path:
    page = (
        '<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,'
        f'initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style></head><body><header><h1>{escape(title)}</h1>'
        f"<p class=soft>{escape(about)}</p></header><main>{''.join(parts)}</main></body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _section(title: str, body: str, note: str = "") -> str:
    if not body:
        return ""
    return f"<section><h2>{title}</h2>{f'<p class=soft>{note}</p>' if note else ''}{body}</section>"


def _figures(pictures: Iterable[str], captions: Iterable[str] | None = None) -> str:
    pictures = list(pictures)
    captions = list(captions) if captions else [""] * len(pictures)
    notes = [f"<figcaption>{caption}</figcaption>" if caption else "" for caption in captions]
    figures = "".join(f"<figure>{picture}{note}</figure>" for picture, note in zip(pictures, notes, strict=True))
    return f"<div class=grid4>{figures}</div>" if pictures else ""


def _band_note(run: Run) -> str:
    many = len(run.members)
    return "A single run: chance alone would give others." if many == 1 else f"Median and 5 to 95 % of {many} members."


def _population_charts(runs: list[tuple[Run, str, str, str]]) -> str:
    charts = []
    for index, name in enumerate(runs[0][0].species):
        curves = []
        for run, label, colour, dashes in runs:
            low, middle, high = bands(run.records["counts"][:, :, index])
            several = len(run.members) > 1
            curves.append(Curve(name=label or name, middle=middle, low=low if several else None,
                                high=high if several else None, colour=colour, dashes=dashes))  # fmt: skip
        charts.append(curve_chart(name, runs[0][0].time_y, curves))
    return _figures(charts)


def _summary_table(run: Run) -> str:
    counts = run.records["counts"]
    rows = []
    for index, name in enumerate(run.species):
        low, middle, high = np.quantile(counts[:, -1, index], (0.05, 0.5, 0.95))
        gone = (counts[:, -1, index] == 0).mean()
        rows.append((name, f"{counts[:, 0, index].mean():,.0f}", f"{middle:,.0f}", f"{low:,.0f} to {high:,.0f}",
                     f"{100 * gone:.0f} %" if gone else ""))  # fmt: skip
    return _html_table(("species", "at the start", "at the end", "5 to 95 %", "gone in"), rows)


def _html_table(head: Iterable[str], rows: Iterable[Iterable[str]], classes: Iterable[str] | None = None) -> str:
    rows = list(rows)
    marks = list(classes) if classes else [""] * len(rows)
    body = "".join(f"<tr class='{mark}'>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
                   for row, mark in zip(rows, marks, strict=True))  # fmt: skip
    cells = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    return f"<div class=scroll><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def _web(run: Run) -> str:
    biomass = dict(zip(run.species, run.records["mass_kg"].mean((0, 1)), strict=True))
    if run.foods:
        biomass |= dict(zip(run.foods, run.records["food_kg"].mean((0, 1)), strict=True))
    found = flows(run)
    return f"<figure>{web_chart(draw_web(run.data.web, found or None, biomass))}</figure>"


def _by_number(run: Run, most: int) -> list[int]:
    """Rows of the species, the most numerous first."""
    mean = run.records["counts"].mean((0, 1))
    return [int(row) for row in np.argsort(-mean, kind="stable") if mean[row] > 0][:most]


def _cell_km2(run: Run, shape: tuple[int, ...]) -> float:
    return run.data.ground.width_km * run.data.ground.height_km * run.plan.area_share / (shape[-1] * shape[-2])


def _image(source: str, text: str) -> str:
    return f'<img class=map alt="{escape(text, quote=True)}" src="{source}">'


def _maps(run: Run) -> str:
    density = run.records["map"].mean(0)
    density = density / _cell_km2(run, density.shape)
    pictures, captions = [], []
    for row in _by_number(run, MOST_MAPS):
        name, highest = run.species[row], float(density[row].max())
        pictures.append(_image(map_png(density[row], highest), f"map of {name}")
                        + f"<div class='ramp one'></div><div class=ends><span>0</span><span>{short(highest)}</span></div>")  # fmt: skip
        captions.append(escape(name))
    return _figures(pictures, captions)


def _lapse(run: Run) -> str:
    frames = run.frames.get("frames")
    if frames is None or len(frames) < 2:
        return ""
    sprites = {run.species[row]: map_png(frames[:, row], float(frames[:, row].max())) for row in _by_number(run, MOST_LAPSES)}
    for index, name in enumerate(run.foods[:4]):
        layer = run.frames["food_frames"][:, index]
        sprites[name] = map_png(layer, float(layer.max()))
    if not sprites:
        return ""
    rows, columns = frames.shape[2:]
    content = {"rows": rows, "columns": columns, "sprites": sprites,
               "years": [round(float(h) / 8766, 4) for h in run.frames["frame_h"]]}  # fmt: skip
    options = "".join(f"<option>{escape(name)}</option>" for name in sprites)
    # "</" would end the script.
    data = json.dumps(content).replace("</", "<\\/")
    return (
        f"<canvas id=lapse width={columns * 15} height={rows * 15} role=img aria-label='time-lapse'></canvas><div class=player>"
        f"<button id=play type=button>Play</button><label>show <select id=who>{options}</select></label>"
        f"<input id=frame type=range min=0 max={len(frames) - 1} value=0 aria-label='moment'><output id=when></output></div>"
        "<noscript>The time-lapse needs scripts; the maps below do not.</noscript>"
        f"<script type=application/json id=lapse-data>{data}</script><script>{SCRIPT}</script>"
    )


def _phases(run: Run) -> str:
    """The strongest links between counted animals, else between them and their food."""
    middle = dict(zip(run.species, np.median(run.records["counts"], 0).T, strict=True))
    if run.foods:
        middle |= {name: values for name, values in zip(run.foods, np.median(run.records["food_kg"], 0).T, strict=True)}
    found = sorted(flows(run).items(), key=lambda one: (one[0][1] not in run.species, -one[1]))
    charts = []
    for (eater, eaten), _ in found[:MOST_PHASES]:
        unit = "" if eaten in run.species else ", kg"
        charts.append(phase_chart(f"{eaten}{unit}", eater, middle[eaten], middle[eater]))
    return _figures(charts)


def _deaths(run: Run) -> dict[str, dict[str, float]]:
    years = max(run.plan.hours / 8766, 1e-9)
    mean = run.records["died"][:, -1].mean(0) / years
    return {name: {cause: float(mean[i, j]) for j, cause in enumerate(CAUSES) if j and mean[i, j] > 0}
            for i, name in enumerate(run.species) if mean[i].sum() > 0}  # fmt: skip


def _surroundings(run: Run) -> str:
    charts = []
    for index, name in enumerate(run.foods):
        low, middle, high = bands(run.records["food_kg"][:, :, index])
        charts.append(curve_chart(name, run.time_y, [Curve(name=name, middle=middle, low=low, high=high, colour=GREEN)], unit="kg"))
    for index, (label, unit) in enumerate(WEATHER.values()):
        values = run.records["weather"][..., index]
        if np.isfinite(values).all() and np.ptp(values) > 0:
            low, middle, high = bands(values)
            curve = Curve(name=label, middle=middle, low=low, high=high, colour=BLUE)
            charts.append(curve_chart(label, run.time_y, [curve], zero=unit != "°C", unit=unit))
    return _figures(charts)


def _trait_charts(run: Run) -> str:
    charts = []
    for index, trait in enumerate(trait_names(run)):
        if trait not in run.data.traits:
            continue
        for row, name in enumerate(run.species):
            mean, spread = (np.nanmean(run.records["traits"][:, :, row, index, part], 0) for part in (0, 1))
            if np.isfinite(mean).any() and np.nanmax(np.abs(mean)) > 0:
                curve = Curve(name=name, middle=mean, low=mean - spread, high=mean + spread)
                charts.append(curve_chart(f"{name}: {trait}", run.time_y, [curve], zero=False))
    return _figures(charts)


def _answer(found: dict[str, Difference], last_years: float, level: float, pairs: int) -> str:
    sure = sorted((one for one in found.items() if not (one[1].low <= 0 <= one[1].high) and one[1].low == one[1].low),
                  key=lambda one: -abs(one[1].relative))  # fmt: skip
    told = [_sentence(name, one, level) for name, one in sure[:5]]
    rest = len(found) - len(sure)
    if pairs < 2:
        told = ["One pair of runs tells no chance from effect: run both with --ensemble 8 or more."]
    elif not told:
        told = [f"No species differs beyond chance at {100 * level:g} %."]
    elif rest:
        told.append(f"Of {rest} other species no difference is certain.")
    head = f"Mean of the last {last_years:g} years, {pairs} pairs of members."
    return f"<div class=answer><p class=soft>{head}</p>" + "".join(f"<p>{escape(text)}</p>" for text in told) + "</div>"


def _sentence(name: str, one: Difference, level: float) -> str:
    way = "more" if one.difference > 0 else "fewer"
    share = f" ({100 * one.relative:+.0f} %)" if one.base else ""
    return (f"{name}: {abs(one.difference):,.0f} {way}{share}, {one.base:,.0f} → {one.whatif:,.0f}; "
            f"{100 * level:g} % interval {one.low:+,.0f} to {one.high:+,.0f}.")  # fmt: skip


def _difference_charts(base: Run, whatif: Run, level: float) -> str:
    frame = difference_series(base, whatif, level)
    charts, s = [], len(base.species)
    for index, name in enumerate(base.species):
        mean, low, high = (frame[column].to_numpy()[index::s] for column in ("difference", "low", "high"))
        several = np.isfinite(low).all()
        curve = Curve(name=name, middle=mean, low=low if several else None, high=high if several else None, colour=ORANGE)
        charts.append(curve_chart(name, base.time_y, [curve]))
    return _figures(charts)


def _difference_table(found: dict[str, Difference]) -> str:
    rows, marks = [], []
    for name, one in found.items():
        certain = not one.low <= 0 <= one.high and one.low == one.low
        rows.append((name, f"{one.base:,.1f}", f"{one.whatif:,.1f}", f"{one.difference:+,.1f}", f"{one.low:+,.1f} to {one.high:+,.1f}",
                     f"{100 * one.relative:+.0f} %" if one.base else "", "yes" if certain else ""))  # fmt: skip
        marks.append("sure" if certain else "")
    return _html_table(("species", "baseline", "what-if", "difference", "interval", "share", "certain"), rows, marks)


def _difference_maps(base: Run, whatif: Run) -> str:
    if base.records["map"].shape[1:] != whatif.records["map"].shape[1:]:
        return ""
    change = (whatif.records["map"].mean(0) - base.records["map"].mean(0)) / _cell_km2(base, base.records["map"].shape)
    pictures, captions = [], []
    for row in _by_number(base, MOST_MAPS):
        largest = float(np.abs(change[row]).max())
        pictures.append(_image(difference_png(change[row], largest), f"difference of {base.species[row]}") + "<div class='ramp two'>"
                        f"</div><div class=ends><span>{short(-largest)}</span><span>0</span><span>+{short(largest)}</span></div>")  # fmt: skip
        captions.append(escape(base.species[row]))
    return _figures(pictures, captions)


def _unverified(run: Run) -> str:
    names = run.data.unmeasured()
    listed = ", ".join(escape(name) for name in names)
    return (
        "<section><h2>What was never checked</h2>"
        f"<p>{len(names):,} values of this world stand on no source that was read: general knowledge, or computed from body "
        "mass. An interval says how far chance moves the model's answer, and nothing of these.</p>"
        f"<details><summary>list them</summary><p class=soft>{listed}</p></details></section>"
    )


def _scenario_text(run: Run) -> str:
    if not run.plan.scenario:
        return ""
    from linnaea.twin.scenario import read_scenario

    return read_scenario(run.folder / run.plan.scenario).description


def _made(run: Run) -> str:
    plan = run.plan
    facts = {"world": plan.world, "years": f"{plan.hours / 8766:g}", "seed": str(plan.seed),
             "members": f"{len(run.members)} of {plan.members}", "step": f"{run.data.ground.dt_h:g} h"}  # fmt: skip
    facts |= {name: f"{value:g}" for name, value in plan.settings}
    failed = "".join(f"<p>Member {member + 1} failed: {escape(reason)}</p>" for member, reason in run.failures.items())
    listed = "; ".join(f"{name} {escape(value)}" for name, value in facts.items())
    content = (run.folder / plan.scenario).read_text("utf-8") if plan.scenario else ""
    scenario = f"<details><summary>{escape(plan.scenario)}</summary><pre>{escape(content)}</pre></details>" if content else ""
    return f"<section><h2>How it was made: {escape(run.title)}</h2><p>{listed}.</p>{failed}{scenario}</section>"
