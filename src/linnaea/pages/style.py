"""The look and the movement of the twin's report pages."""

STYLE = """
:root{color-scheme:light;--ink:#1b1b1b;--soft:#555;--line:#ddd;--paper:#fff;--accent:#0072B2}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:#f6f6f3;margin:0}
main,header{max-width:1080px;margin:auto;padding:16px 20px}
h1{font-size:1.7rem;margin:.3em 0}h2{font-size:1.25rem;margin:1.6em 0 .4em;border-bottom:1px solid var(--line)}
p{max-width:46em}.soft{color:var(--soft)}
.grid4{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:12px}
.grid2{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr));gap:12px}
figure{margin:0;background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:8px}
figcaption{font-size:.85rem;color:var(--soft)}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#444}
svg .title{font-size:13px;font-weight:600;fill:#1b1b1b}svg .grid{stroke:#e4e4e0;stroke-width:1}
svg .zero{stroke:#888;stroke-width:1}svg .plain{fill:#fff}
svg .halo{font-size:12px;fill:#1b1b1b;paint-order:stroke;stroke:#fff;stroke-width:3px}
table{border-collapse:collapse;background:var(--paper);width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;border-bottom:1px solid var(--line);text-align:right}
td{white-space:nowrap}th:first-child,td:first-child{text-align:left}th{font-weight:600}
.scroll{overflow-x:auto}.answer{font-size:1.1rem;background:var(--paper);border-left:5px solid var(--accent);padding:10px 16px}
.map{width:100%;image-rendering:pixelated;border-radius:4px;display:block}
.scale{height:6px;border:solid var(--ink);border-width:0 1.5px 1.5px;margin-top:2px}
.under{max-width:720px}
.ramp{height:10px;border-radius:3px;margin-top:6px}
.ramp.one{background:linear-gradient(90deg,#00224e,#35456c,#666970,#948e77,#c8b866,#fee838)}
.ramp.two{background:linear-gradient(90deg,#004b82,#66a5d2,#f7f7f7,#f0a564,#be4600)}
.ends{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft)}
.player{display:flex;flex-wrap:wrap;gap:12px;align-items:center;margin:8px 0}
button,select{font:inherit;min-height:44px;min-width:44px;padding:6px 16px;border:1px solid #777;border-radius:6px;background:#fff}
button:focus-visible,select:focus-visible,input:focus-visible,summary:focus-visible{outline:3px solid #0072B2;outline-offset:2px}
input[type=range]{flex:1;min-width:180px;min-height:44px;accent-color:#0072B2}
canvas{max-width:720px;width:100%;image-rendering:pixelated;border:1px solid var(--line);border-radius:6px;background:#00224e}
.key{display:inline-block;width:26px;height:0;border-top:3px solid;vertical-align:middle;margin:0 6px 0 14px}
details{margin:8px 0}summary{cursor:pointer;min-height:44px;padding:10px 0}
code{background:#eee;padding:1px 5px;border-radius:4px;word-break:break-all}
.sure{font-weight:600}
@media print{button,select,input{display:none}body{background:#fff}}
"""

# Frames lie below each other in one picture for each species. Four a second, one for those who want less motion.
SCRIPT = """
(()=>{const d=JSON.parse(document.getElementById('lapse-data').textContent),c=document.getElementById('lapse'),
g=c.getContext('2d'),s=document.getElementById('frame'),w=document.getElementById('who'),p=document.getElementById('play'),
o=document.getElementById('when'),images={};let timer=0;
const show=()=>{const n=w.value,i=+s.value;if(!images[n]){images[n]=new Image();images[n].onload=show;images[n].src=d.sprites[n];return}
if(!images[n].complete)return;g.imageSmoothingEnabled=false;g.drawImage(images[n],0,i*d.rows,d.columns,d.rows,0,0,c.width,c.height);
o.textContent='year '+d.years[i].toFixed(2);c.setAttribute('aria-label',n+' in year '+d.years[i].toFixed(2))};
const stop=()=>{clearInterval(timer);timer=0;p.textContent='Play'};
const slow=matchMedia('(prefers-reduced-motion: reduce)').matches;
p.onclick=()=>{if(timer){stop();return}p.textContent='Pause';if(+s.value===d.years.length-1)s.value=0;
timer=setInterval(()=>{if(+s.value>=d.years.length-1){stop();return}s.value=+s.value+1;show()},slow?1000:250)};
s.oninput=()=>{stop();show()};w.onchange=show;show()})();
"""
