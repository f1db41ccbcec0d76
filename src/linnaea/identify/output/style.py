"""The style sheet of the report. Text has a contrast of 4.5 or more to its ground in both schemes."""

STYLE = """
:root{color-scheme:light dark;--ground:#f4f5f0;--card:#fff;--ink:#1b211c;--soft:#566059;--line:#dde1d8;--track:#e6eae1;
--leaf:#2c6e3f;--leaf-soft:#e2efe0;--amber:#8a5a00;--amber-soft:#fbeed2;--rust:#a3342a;--rust-soft:#fae3df}
@media(prefers-color-scheme:dark){:root{--ground:#121613;--card:#1b211d;--ink:#eaefe9;--soft:#a5b0a7;--line:#2f3832;
--track:#2b342e;--leaf:#7ccf8f;--leaf-soft:#20372a;--amber:#f0b95a;--amber-soft:#3a2e16;--rust:#f2968b;--rust-soft:#3f2320}}
*{box-sizing:border-box;margin:0}
body{background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
padding:clamp(1rem,3vw,2.5rem);max-width:1500px;margin:auto}
header{display:flex;flex-wrap:wrap;gap:1.5rem 4rem;align-items:end;justify-content:space-between;margin-bottom:2rem}
h1{font:600 clamp(1.5rem,3.4vw,2.3rem)/1.15 ui-serif,Georgia,"Noto Serif",serif;letter-spacing:-.01em}
.by{color:var(--soft);font-size:.85rem;margin:.35rem 0 1rem}
ul,ol{padding:0}.tiles,.ranks{list-style:none}
.tiles{display:flex;flex-wrap:wrap;gap:.5rem}
.tiles li{border-radius:99px;padding:.2rem .85rem;background:var(--track)}
.tiles .identified{background:var(--leaf-soft);color:var(--leaf)}
.tiles .unidentified{background:var(--amber-soft);color:var(--amber)}
.tiles .unreadable{background:var(--rust-soft);color:var(--rust)}
.ranks{flex:0 1 22rem;min-width:15rem;font-size:.85rem}
.ranks li{display:grid;grid-template-columns:4.5rem 1fr 3rem;gap:.6rem;align-items:center}
.ranks b{text-align:right;font-variant-numeric:tabular-nums}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1.25rem;align-items:start}
article{background:var(--card);border:1px solid var(--line);border-radius:14px;overflow:hidden}
.photo{aspect-ratio:4/3;background:var(--track)}
.photo img{width:100%;height:100%;object-fit:cover;display:block}
.photo.none{display:grid;place-items:center;color:var(--soft);font-size:.85rem;aspect-ratio:4/1.4}
.body{padding:1rem 1.1rem .9rem;display:grid;gap:.45rem}
.body>*{min-width:0}
h2{font:600 1.2rem/1.25 ui-serif,Georgia,"Noto Serif",serif;overflow-wrap:anywhere}
.unidentified h2{color:var(--amber)}.unreadable h2{color:var(--rust)}
.scientific{color:var(--soft);margin-top:-.35rem}
.verdict{display:flex;flex-wrap:wrap;gap:.3rem .55rem;align-items:baseline;font-size:.9rem}
.chip{background:var(--leaf-soft);color:var(--leaf);border-radius:99px;padding:0 .6rem;font-size:.8rem}
.similarity{color:var(--soft);margin-left:auto;font-size:.8rem}
nav{color:var(--soft);font-size:.82rem;overflow-wrap:anywhere}
.reason{color:var(--soft)}
table{width:100%;border-collapse:collapse;font-size:.8rem;table-layout:fixed}
th{font-weight:400;color:var(--soft);text-align:left;width:4.2rem}
td{padding:.09rem .3rem .09rem 0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
td.track{width:26%;padding:0}
td.number{width:2.9rem;text-align:right;font-variant-numeric:tabular-nums;padding:0}
td.track,span.track{position:relative}
td.track:before,span.track:before{content:"";position:absolute;inset:calc(50% - .22rem) 0;height:.44rem;border-radius:9px;
background:var(--track)}
.track i{position:absolute;left:0;top:calc(50% - .22rem);height:.44rem;border-radius:9px;
background:var(--leaf);min-width:2px}
span.track{height:1em}
.muted td,.muted th{color:var(--soft)}.muted .track i{background:var(--soft);opacity:.55}
details{font-size:.85rem}summary{cursor:pointer;color:var(--soft)}ol{padding-left:1.5rem}
.file{color:var(--soft);font-size:.78rem;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;direction:rtl;
text-align:left;border-top:1px solid var(--line);padding-top:.5rem;margin-top:.2rem}
.more{color:var(--soft);text-align:center;margin-top:2rem}
@media print{body{background:#fff}article{break-inside:avoid}}
"""
