"""A player of maps through time: a canvas, a slider and a choice of layers; the script stands in the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

CELL_PX = 15

# Frames lie below each other in one picture for each layer. Four frames a second; one for readers who want less motion.
_SCRIPT = """
(()=>{const data=JSON.parse(document.getElementById('lapse-data').textContent),
canvas=document.getElementById('lapse'),context=canvas.getContext('2d'),slider=document.getElementById('frame'),
layer=document.getElementById('layer'),play=document.getElementById('play'),clock=document.getElementById('clock'),
images={};let timer=0;
const show=()=>{const name=layer.value,i=+slider.value;
if(!images[name]){images[name]=new Image();images[name].onload=show;images[name].src=data.sprites[name];return}
if(!images[name].complete)return;context.imageSmoothingEnabled=false;
context.drawImage(images[name],0,i*data.rows,data.columns,data.rows,0,0,canvas.width,canvas.height);
const when='year '+data.years[i].toFixed(2);clock.textContent=when;
canvas.setAttribute('aria-label',name+' in '+when)};
const stop=()=>{clearInterval(timer);timer=0;play.textContent='Play'};
const last=data.years.length-1,slow=matchMedia('(prefers-reduced-motion: reduce)').matches;
play.onclick=()=>{if(timer){stop();return}play.textContent='Pause';if(+slider.value===last)slider.value=0;
timer=setInterval(()=>{if(+slider.value>=last){stop();return}slider.value=+slider.value+1;show()},slow?1000:250)};
slider.oninput=()=>{stop();show()};layer.onchange=show;show()})();
"""


def render_time_lapse(
    sprites: Mapping[str, str], shape: tuple[int, int], years: Sequence[float], below: str = ""
) -> str:
    """The player as HTML; `below` (a scale bar) stands under the map.

    `sprites` are data URIs by layer, with a frame of `shape` (rows, columns) for each of `years` below each other.
    """
    rows, columns = shape
    content = {"rows": rows, "columns": columns, "sprites": dict(sprites), "years": list(years)}
    # "</" would end the script.
    data = json.dumps(content).replace("</", "<\\/")
    options = "".join(f"<option>{escape(name)}</option>" for name in sprites)
    return (
        f"<canvas id=lapse width={columns * CELL_PX} height={rows * CELL_PX} role=img aria-label='time-lapse'></canvas>"
        f"<div class=under>{below}</div><div class=player>"
        f"<button id=play type=button>Play</button><label>show <select id=layer>{options}</select></label>"
        f"<input id=frame type=range min=0 max={len(years) - 1} value=0 aria-label='frame'>"
        "<output id=clock></output></div>"
        "<noscript>The time-lapse needs JavaScript; the maps below do not.</noscript>"
        f"<script type=application/json id=lapse-data>{data}</script><script>{_SCRIPT}</script>"
    )
