"""Colours and the style sheet of every report, for light and dark screens and for print.

A report follows the reader's setting (`prefers-color-scheme`); print is always light. Colours of data come from Okabe
and Ito (2008), made darker or lighter until they stand out from the card and from each other. This also holds for
readers who do not see red, green or blue (tests/pages measures both). Colour is never the only sign: lines differ in
their dashes, bars carry labels.
"""

from __future__ import annotations

COLOURS: dict[str, tuple[str, str]] = {
    "ground": ("#f4f5f0", "#121613"),
    "card": ("#ffffff", "#1b211d"),
    "ink": ("#1b211c", "#eaefe9"),
    "soft": ("#566059", "#a5b0a7"),
    "line": ("#dde1d8", "#2f3832"),
    "track": ("#e6eae1", "#2b342e"),
    "green-soft": ("#e0f0ea", "#1d372c"),
    "amber-soft": ("#fbeed2", "#3a2e16"),
    "rust-soft": ("#fae3df", "#3f2320"),
    "blue": ("#0068a8", "#4a9fe0"),
    "orange": ("#d55e00", "#ee7a2b"),
    "green": ("#007a5c", "#2fc49a"),
    "purple": ("#863a76", "#cf8fc4"),
    "amber": ("#7a4b00", "#f6d36b"),
    "sky": ("#3896d0", "#b5e3fb"),
    "grey": ("#88908a", "#7f8982"),
    "rust": ("#a3342a", "#f2968b"),
    "black": ("#000000", "#000000"),
}
"Name of each colour: (on light screens and in print, on dark screens)."
BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, GREY = SERIES = ("blue", "orange", "green", "purple", "amber", "sky", "grey")
"Names of the colours of data, in the order in which charts use them."

_LIGHT, _DARK = (";".join(f"--{name}:{values[scheme]}" for name, values in COLOURS.items()) for scheme in range(2))

_PAGE = """
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;color:var(--ink);
background:var(--ground);margin:0}
header,main{max-width:1120px;margin:auto;padding:16px clamp(1rem,3vw,2rem)}
h1,h2,h3{font-family:ui-serif,Georgia,"Noto Serif",serif;font-weight:600;line-height:1.2}
h1{font-size:clamp(1.5rem,3.4vw,2.2rem);letter-spacing:-.01em;margin:.3em 0}
h2{font-size:1.3rem;margin:1.8em 0 .5em;padding-bottom:.2em;border-bottom:1px solid var(--line)}
main>section:first-child h2{margin-top:.3em}
p{max-width:46em}.soft{color:var(--soft)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:12px}
.grid.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr))}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:8px}
figcaption{font-size:.85rem;color:var(--soft)}
.scroll{overflow-x:auto}.scroll>svg{min-width:720px}
table{border-collapse:collapse;background:var(--card);width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;border-bottom:1px solid var(--line);text-align:right;font-weight:400}
td{white-space:nowrap}th:first-child,td:first-child,.left{text-align:left}thead th{font-weight:600}
.sure{font-weight:600}.sure td{font-weight:600}
.answer{font-size:1.08rem;background:var(--card);border-left:5px solid var(--blue);border-radius:0 10px 10px 0;
padding:4px 18px}
details{margin:8px 0}summary{cursor:pointer;min-height:44px;padding:10px 0}
code{background:var(--track);padding:1px 5px;border-radius:4px;word-break:break-all}
pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px;font-size:.85rem;
overflow-x:auto}
button:focus-visible,select:focus-visible,input:focus-visible,summary:focus-visible{outline-offset:2px;
outline:3px solid var(--blue)}
.key{display:inline-block;width:26px;border-top:3px solid;vertical-align:middle;margin:0 6px 0 14px}
.key:first-child{margin-left:0}
"""

_CHARTS = """
svg{display:block;width:100%;height:auto}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
.halo{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.scale{height:6px;border:solid var(--ink);border-width:0 1.5px 1.5px;margin-top:2px}
.ends{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft)}
.under{max-width:720px}
.player{display:flex;flex-wrap:wrap;gap:12px;align-items:center;margin:8px 0}
button,select{font:inherit;color:inherit;min-height:44px;min-width:44px;padding:6px 16px;border:1px solid var(--soft);
border-radius:8px;background:var(--card)}
input[type=range]{flex:1;min-width:180px;min-height:44px;accent-color:var(--blue)}
canvas{max-width:720px;width:100%;image-rendering:pixelated;border:1px solid var(--line);border-radius:8px;
background:#00224e}
"""

_CARDS = """
header.cards-head{max-width:1700px;display:flex;flex-wrap:wrap;
gap:1rem 4rem;align-items:end;justify-content:space-between}
.by{color:var(--soft);font-size:.85rem;margin:.35rem 0}
ul,ol{padding:0;margin:0}.tiles,.ranks{list-style:none}
.tiles{display:flex;flex-wrap:wrap;gap:.5rem;margin-top:1rem}
.tiles li{border-radius:99px;padding:.2rem .85rem;background:var(--track)}
.tiles .identified,.chip{background:var(--green-soft);color:var(--green)}
.tiles .unidentified{background:var(--amber-soft);color:var(--amber)}
.tiles .unreadable{background:var(--rust-soft);color:var(--rust)}
.ranks{flex:0 1 22rem;min-width:15rem;font-size:.85rem}
.ranks li{display:grid;grid-template-columns:4.5rem 1fr 3rem;gap:.6rem;align-items:center}
.ranks b{text-align:right;font-variant-numeric:tabular-nums}
article{background:var(--card);border:1px solid var(--line);border-radius:14px;overflow:hidden;font-size:.95rem}
.photo.none{background:var(--track);display:grid;place-items:center;color:var(--soft);font-size:.85rem;
aspect-ratio:4/1.4}
.body{padding:1rem 1.1rem .9rem;display:grid;gap:.45rem}.body>*{min-width:0;margin:0}
article h2{font-size:1.2rem;border:0;padding:0;overflow-wrap:anywhere}
.unidentified h2{color:var(--amber)}.unreadable h2{color:var(--rust)}
.scientific{color:var(--soft);margin-top:-.35rem!important}
.verdict{display:flex;flex-wrap:wrap;gap:.3rem .55rem;align-items:baseline;font-size:.9rem}
.chip{border-radius:99px;padding:0 .6rem;font-size:.8rem}
nav{color:var(--soft);font-size:.82rem;overflow-wrap:anywhere}.reason{color:var(--soft)}
article table{background:none;font-size:.8rem;table-layout:fixed}
article th,article td{border:0;text-align:left;padding:.09rem .3rem .09rem 0;overflow:hidden;text-overflow:ellipsis;
white-space:nowrap}
article th{color:var(--soft);width:4.2rem}
article td.track{width:26%;padding:0}article td.number{width:2.9rem;text-align:right;padding:0}
td.track,span.track{position:relative}
td.track:before,span.track:before{content:"";position:absolute;inset:calc(50% - .22rem) 0;height:.44rem;
border-radius:9px;background:var(--track)}
.track i{position:absolute;left:0;top:calc(50% - .22rem);height:.44rem;border-radius:9px;background:var(--green);
min-width:2px}
span.track{height:1em}
.muted td,.muted th{color:var(--soft)}.muted .track i{background:var(--soft);opacity:.55}
article details{font-size:.85rem}article summary{color:var(--soft)}ol{padding-left:1.5rem}
.file{color:var(--soft);font-size:.78rem;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;direction:rtl;
text-align:left;border-top:1px solid var(--line);padding-top:.5rem}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    f"{_PAGE}{_CHARTS}{_CARDS}"
    f"@media print{{:root{{color-scheme:light;{_LIGHT}}}body{{background:#fff}}.player{{display:none}}"
    "figure,article,tr{break-inside:avoid}}"
)
