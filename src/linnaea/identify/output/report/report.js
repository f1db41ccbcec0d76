"use strict";
/* The page of a report of photographs: search, filters, species list, map, time line, events, pages, enlarged view.
   Plain JavaScript that works when the file is opened from disk. All text goes through textContent: nothing in a file
   name or a label can become markup. The view is kept in the fragment of the address, so that it can be bookmarked.

   A photograph: {file, url, thumb, size: [w, h], time, place: [lat, lon], station, event, images: [image, …]}.
   An image is the whole photograph or a box in it: {box: [x, y, w, h] in fractions, note, outcome, reason, rank, name,
   common, confidence, similarity, lineage: [7], guess: [rank, name, confidence], path: [[rank, name, confidence], …],
   others: [[name, rank, common, confidence], …]}. */
const report = {photos: [], events: {}, add(photos) { this.photos.push(...photos); }};

(() => {
const PER_PAGE = 60, EVENTS_PER_PAGE = 20, SVG = "http://www.w3.org/2000/svg";
const RANKS = ["kingdom", "phylum", "class", "order", "family", "genus", "species"];
const OUTCOMES = {
  named: "named", unsure: "not certain enough", outside_list: "outside the list", no_organism: "no organism",
  no_detection: "nothing detected", not_in_boxes: "not in the list of boxes", human: "person", vehicle: "vehicle",
  unreadable: "unreadable"};
const DAY = 86400000, HOUR = 3600000;
const DEFAULTS = {q: "", outcome: "", taxon: "", station: "", bin: "", sort: "order", group: "", page: "1"};
let state = {...DEFAULTS}, shown = [], opened = -1;

const $ = id => document.getElementById(id);
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value); else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== "" && child !== undefined));
  return made;
}
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes))
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value); else made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const number = n => n.toLocaleString("en");
const percent = p => p === null || p === undefined ? "" : `${Math.round(100 * p)} %`;
const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;
const isLatin = rank => rank === "genus" || rank === "species";
const capital = text => text.charAt(0).toUpperCase() + text.slice(1);
const title = image => image.name || (image.outcome === "named" ? "" : capital(OUTCOMES[image.outcome]));
const latin = (name, rank) => isLatin(rank) ? el("i", {}, name) : name;

/* The time as the camera's clock shows it, without its zone: photographs are sorted and counted by local time. */
const clock = text => text ? Date.parse(text.slice(0, 19) + "Z") : NaN;

function prepare() {
  report.photos.forEach((photo, i) => {
    photo.order = i;
    photo.ms = clock(photo.time);
    photo.keys = new Set(photo.images.map(title));
    photo.text = [photo.file, photo.station, photo.time, ...photo.images.flatMap(image => [
      image.name, image.common, image.reason, OUTCOMES[image.outcome], ...(image.lineage || []),
      ...(image.guess || []).slice(0, 2)])].join(" ").toLowerCase();
  });
}

/* --- The view: filters, order, pages */

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  state = {...DEFAULTS};
  for (const key of Object.keys(DEFAULTS)) if (given.has(key)) state[key] = given.get(key);
}
function change(changes) {
  Object.assign(state, {page: "1"}, changes);
  const kept = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  const fragment = new URLSearchParams(kept).toString();
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  draw();
}
const toggle = (key, value) => change({[key]: state[key] === value ? "" : value});

const TESTS = {
  q: photo => state.q.toLowerCase().split(/\s+/).every(word => photo.text.includes(word)),
  outcome: photo => photo.images.some(image => image.outcome === state.outcome),
  taxon: photo => photo.keys.has(state.taxon),
  station: photo => photo.station === state.station,
  bin: photo => { const [from, to] = state.bin.split("-").map(Number); return photo.ms >= from && photo.ms < to; }};
const select = without => report.photos.filter(
  photo => Object.entries(TESTS).every(([key, test]) => key === without || !state[key] || test(photo)));

const best = photo => Math.max(...photo.images.map(image => image.confidence ?? -1));
const compareText = new Intl.Collator("en", {numeric: true}).compare;
const SORTS = {
  order: ["order of the table", (a, b) => a.order - b.order],
  time: ["time", (a, b) => (isNaN(a.ms) - isNaN(b.ms)) || a.ms - b.ms || a.order - b.order],
  name: ["name", (a, b) => compareText(title(a.images[0]), title(b.images[0])) || a.order - b.order],
  sure: ["most certain first", (a, b) => best(b) - best(a) || a.order - b.order],
  unsure: ["least certain first", (a, b) => best(a) - best(b) || a.order - b.order],
  file: ["file", (a, b) => compareText(a.file, b.file)]};

/* --- Parts of the page */

function drawTools() {
  const option = (value, text, chosen) => el("option", {value, selected: value === chosen || null}, text);
  const present = Object.keys(OUTCOMES).filter(key => report.photos.some(
    photo => photo.images.some(image => image.outcome === key)));
  const field = (label, control) => el("label", {}, el("span", {}, label), control);
  $("tools").replaceChildren(
    field("Search", el("input", {type: "search", id: "q", value: state.q, placeholder: "name, file, place, time",
      oninput: event => change({q: event.target.value.trim()})})),
    field("Show", el("select", {id: "outcome", onchange: event => change({outcome: event.target.value})},
      option("", "everything", state.outcome), present.map(key => option(key, OUTCOMES[key], state.outcome)))),
    field("Sort by", el("select", {id: "sort", onchange: event => change({sort: event.target.value})},
      Object.entries(SORTS).map(([key, [text]]) => option(key, text, state.sort)))),
    Object.keys(report.events).length ? el("label", {class: "check"}, el("input", {type: "checkbox", id: "group",
      checked: state.group || null, onchange: event => change({group: event.target.checked ? "1" : ""})}),
      "group by event") : "");
}

function drawChosen() {
  const words = {q: `“${state.q}”`, outcome: OUTCOMES[state.outcome], taxon: state.taxon, station: state.station,
    bin: state.bin && formatSpan(...state.bin.split("-").map(Number))};
  const chosen = Object.keys(TESTS).filter(key => state[key]);
  $("chosen").replaceChildren(...chosen.map(key => el("button", {class: "chosen", "aria-label": `remove ${words[key]}`,
    onclick: () => { change({[key]: ""}); drawTools(); }}, `${words[key]} ×`)));
}

function drawSpecies() {
  const rows = new Map();
  for (const photo of select("taxon")) for (const key of photo.keys) {
    const image = photo.images.find(one => title(one) === key);
    const row = rows.get(key) || {key, image, n: 0, events: new Set()};
    row.n += 1;
    if (photo.event) row.events.add(photo.event);
    rows.set(key, row);
  }
  const list = [...rows.values()].sort((a, b) => b.n - a.n || compareText(a.key, b.key));
  const withEvents = Object.keys(report.events).length > 0;
  const head = el("tr", {}, el("th", {class: "left"}, "name"), el("th", {}, "photographs"),
    withEvents ? el("th", {}, "events") : "");
  const body = list.map(row => el("tr", {class: state.taxon === row.key ? "on" : null},
    el("td", {class: "left"}, el("button", {class: "plain", "aria-pressed": String(state.taxon === row.key),
      onclick: () => toggle("taxon", row.key)},
      row.image.name ? latin(row.key, row.image.rank) : row.key,
      row.image.common && row.image.common !== row.key ? el("small", {}, ` ${row.image.common}`) : "")),
    el("td", {}, number(row.n)), withEvents ? el("td", {}, number(row.events.size)) : ""));
  $("species").replaceChildren(el("h2", {}, "Names"), el("div", {class: "list"},
    el("table", {}, el("thead", {}, head), el("tbody", {}, body))));
}

function drawCards() {
  const photos = select("").sort(SORTS[state.sort] ? SORTS[state.sort][1] : SORTS.order[1]);
  shown = photos;
  const groups = state.group ? groupByEvent(photos) : null;
  const things = groups || photos, size = groups ? EVENTS_PER_PAGE : PER_PAGE;
  const pages = Math.max(1, Math.ceil(things.length / size));
  const page = Math.min(Math.max(1, parseInt(state.page, 10) || 1), pages);
  const part = things.slice((page - 1) * size, page * size);
  const range = part.length ? `${number((page - 1) * size + 1)}–${number((page - 1) * size + part.length)} of ` : "";
  $("count").textContent = range + plural(things.length, groups ? "event" : "photograph") +
    (photos.length < report.photos.length ? ` (${number(report.photos.length)} in all)` : "");
  $("cards").replaceChildren(...(groups ? part.map(drawEvent) : part.map(drawCard)));
  if (!part.length) $("cards").append(el("p", {}, "No photograph fits. Remove a filter above."));
  const step = (to, text) => el("button", {disabled: to < 1 || to > pages || null,
    onclick: () => { change({page: String(to)}); $("tools").scrollIntoView(); }}, text);
  for (const pager of document.querySelectorAll(".pager"))
    pager.replaceChildren(...(pages > 1 ? [step(page - 1, "← previous"),
      el("span", {}, `page ${number(page)} of ${number(pages)}`), step(page + 1, "next →")] : []));
}

function groupByEvent(photos) {
  const groups = new Map();
  for (const photo of photos) {
    const key = photo.event || `photo ${photo.order}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(photo);
  }
  return [...groups.entries()];
}

function drawEvent([key, photos]) {
  const facts = report.events[key] || {};
  const times = photos.map(photo => photo.time).filter(Boolean).sort();
  const names = (facts.names || []).map(one => el("span", {class: "event-name"},
    latin(one.name, one.rank), one.common ? ` ${one.common}` : "", one.count ? ` × ${one.count}` : "",
    el("small", {}, ` ${percent(one.confidence)}`)));
  const about = [photos[0].station, times.length ? formatTime(times[0]) : "no time", plural(photos.length, "photograph")];
  return el("section", {class: photos.length > 1 ? "event wide" : "event"},
    el("h3", {}, names.length ? names : title(photos[0].images[0])),
    el("p", {class: "soft"}, about.filter(Boolean).join(" · ")),
    el("div", {class: "strip"}, photos.map(photo => drawPhoto(photo))));
}

function drawPhoto(photo) {
  if (!photo.thumb) return el("div", {class: "photo none"}, "no picture");
  return el("button", {class: "photo", "aria-label": `enlarge ${photo.file}`, onclick: () => openPhoto(photo)},
    el("img", {src: photo.thumb, alt: photo.images.map(title).join(", "), loading: "lazy"}), drawBoxes(photo));
}

function drawBoxes(photo) {
  const boxes = photo.images.filter(image => image.box);
  if (!boxes.length) return "";
  const [w, h] = photo.size;
  return svg("svg", {viewBox: `0 0 ${w} ${h}`, "aria-hidden": "true"}, ...boxes.map(image => svg("rect",
    {x: image.box[0] * w, y: image.box[1] * h, width: image.box[2] * w, height: image.box[3] * h})));
}

function drawCard(photo) {
  const images = photo.images, kind = images.some(image => image.outcome === "named") ? "named" : images[0].outcome;
  const facts = [photo.time && formatTime(photo.time), photo.station,
    photo.place && `${photo.place[0].toFixed(4)}, ${photo.place[1].toFixed(4)}`];
  return el("article", {class: kind === "named" ? "identified" : kind === "unreadable" ? kind : "unidentified"},
    drawPhoto(photo), el("div", {class: "body"}, images.map(image => drawImage(image)),
      el("p", {class: "facts"}, facts.filter(Boolean).join(" · ")),
      el("p", {class: "file", title: photo.file}, el("bdi", {}, photo.file))));
}

function drawImage(image) {
  if (image.outcome !== "named")
    return el("div", {class: "image"}, el("h2", {}, title(image)),
      el("p", {class: "reason"}, image.reason ? capital(image.reason) : ""), drawNote(image), drawPath(image), drawOthers(image));
  const common = image.common && image.common !== image.name ? image.common : "";
  const above = image.lineage.map((name, r) => name && name !== image.name ? latin(name, RANKS[r]) : null).filter(Boolean);
  return el("div", {class: "image"},
    el("h2", {}, common ? capital(common) : latin(image.name, image.rank)),
    common ? el("p", {class: "scientific"}, latin(image.name, image.rank)) : "",
    el("p", {class: "verdict"}, image.rank ? el("span", {class: "chip"}, image.rank) : "",
      el("span", {}, el("b", {}, percent(image.confidence)), " confident")),
    drawNote(image),
    above.length ? el("nav", {"aria-label": "lineage"}, above.flatMap((name, i) => i ? [" › ", name] : [name])) : "",
    drawPath(image), drawOthers(image));
}

function drawNote(image) {
  return image.note ? el("p", {class: "reason"}, capital(image.note)) : "";
}

function drawPath(image) {
  if (!image.path.length) return "";
  const given = RANKS.indexOf(image.rank);
  return el("details", {}, el("summary", {}, "confidence at each rank"), el("table", {}, image.path.map(
    ([rank, name, confidence]) => el("tr", {class: RANKS.indexOf(rank) > given ? "muted" : null},
      el("th", {scope: "row"}, rank), el("td", {}, latin(name, rank)),
      el("td", {class: "track"}, el("i", {style: `width:${(100 * confidence).toFixed(1)}%`})),
      el("td", {class: "number"}, percent(confidence))))));
}

function drawOthers(image) {
  if (!image.others.length) return "";
  return el("details", {}, el("summary", {}, plural(image.others.length, "alternative")), el("ol", {start: 2},
    image.others.map(([name, rank, common, confidence]) => el("li", {}, latin(name, rank),
      common ? ` · ${common}` : "", el("b", {}, ` ${percent(confidence)}`)))));
}

/* --- The enlarged view */

function openPhoto(photo) {
  opened = shown.indexOf(photo);
  const picture = el("img", {src: photo.url || photo.thumb, alt: photo.file});
  /* The original may have moved, or be in a format that the browser does not show. */
  picture.addEventListener("error", () => { if (picture.src !== photo.thumb) picture.src = photo.thumb; }, {once: true});
  const move = by => { const next = shown[opened + by]; if (next) openPhoto(next); };
  const names = photo.images.map(image => el("li", {}, el("b", {}, image.name ? latin(image.name, image.rank) : title(image)),
    image.common ? ` ${image.common}` : "", image.confidence !== null ? ` ${percent(image.confidence)}` : "",
    image.reason ? ` – ${image.reason}` : ""));
  $("large").replaceChildren(
    el("div", {class: "frame", style: photo.size ? `--w:${photo.size[0]};--h:${photo.size[1]}` : null}, picture,
      drawBoxes(photo)),
    el("div", {class: "bar"}, el("button", {onclick: () => move(-1), disabled: opened < 1 || null}, "← previous"),
      el("div", {}, el("ul", {}, names),
        el("small", {}, [photo.file, photo.time && formatTime(photo.time), photo.station].filter(Boolean).join(" · "))),
      el("button", {onclick: () => move(1), disabled: opened >= shown.length - 1 || null}, "next →"),
      el("button", {onclick: () => $("large").close(), autofocus: ""}, "close")));
  if (!$("large").open) $("large").showModal();
}

/* --- Time line and hours of the day */

const twoDigits = n => String(n).padStart(2, "0");
const formatTime = text => text.slice(0, 19).replace("T", " ");
const formatDay = ms => new Date(ms).toISOString().slice(0, 10);
function formatSpan(from, to) {
  const [first, last] = [from, to].map(ms => new Date(ms).toISOString().slice(0, 16).replace("T", " "));
  return to - from >= DAY ? `${first.slice(0, 10)} to ${formatDay(to - 1)}` : `${first} to ${last.slice(11)}`;
}

function chooseBins(first, last) {
  const steps = [HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 91 * DAY, 365 * DAY, 3650 * DAY, 36500 * DAY];
  const step = steps.find(one => (last - first) / one <= 60) || 36500 * DAY;
  const start = Math.floor(first / step) * step;
  return {start, step, n: Math.floor((last - start) / step) + 1};
}

function drawBars(counts, {label, ticks, onclick, on}) {
  const w = 320, h = 84, base = 66, top = Math.max(1, ...counts), wide = w / counts.length;
  const bars = counts.map((n, i) => svg("rect", {x: i * wide + 0.5, y: base - base * n / top,
    width: Math.max(1, wide - 1), height: base * n / top, class: on && on(i) ? "on" : "",
    ...(onclick && n ? {onclick: () => onclick(i), tabindex: 0, role: "button",
      onkeydown: event => { if (event.key === "Enter") onclick(i); }} : {})}, svg("title", {}, `${label(i)}: ${number(n)}`)));
  const texts = ticks.map(([x, text, anchor]) => svg("text", {x: x * w, y: h - 4, "text-anchor": anchor}, text));
  return svg("svg", {viewBox: `0 0 ${w} ${h}`, class: "bars", role: "group", "aria-label": "photographs"},
    svg("line", {x1: 0, x2: w, y1: base, y2: base}), ...bars, ...texts);
}

function drawTimes() {
  const photos = select("bin").filter(photo => !isNaN(photo.ms));
  const without = report.photos.filter(photo => isNaN(photo.ms)).length;
  if (without === report.photos.length) { $("times").replaceChildren(); return; }
  const all = report.photos.filter(photo => !isNaN(photo.ms)).map(photo => photo.ms);
  const {start, step, n} = chooseBins(all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b)));
  const counts = Array(n).fill(0), hours = Array(24).fill(0);
  for (const photo of photos) counts[Math.floor((photo.ms - start) / step)] += 1;
  for (const photo of select("").filter(one => !isNaN(one.ms))) hours[new Date(photo.ms).getUTCHours()] += 1;
  const span = i => [start + i * step, start + (i + 1) * step];
  $("times").replaceChildren(el("h2", {}, "When"),
    drawBars(counts, {label: i => formatSpan(...span(i)), onclick: i => toggle("bin", span(i).join("-")),
      on: i => state.bin === span(i).join("-"),
      ticks: n === 1 ? [[0, formatDay(start), "start"]] : [[0, formatDay(start), "start"],
        [1, formatDay(start + n * step - 1), "end"]]}),
    el("p", {class: "soft"}, "hour of the day"),
    drawBars(hours, {label: i => `${twoDigits(i)}:00 to ${twoDigits(i + 1)}:00`,
      ticks: [0, 6, 12, 18, 24].map(hour => [hour / 24, String(hour), hour === 0 ? "start" : hour === 24 ? "end" : "middle"])}),
    without ? el("p", {class: "soft"}, `${plural(without, "photograph")} without a capture time`) : "");
}

/* --- Map: equirectangular, true to scale in the middle */

function drawMap() {
  const placed = report.photos.filter(photo => photo.place);
  if (!placed.length) { $("places").replaceChildren(); return; }
  const spots = new Map();
  for (const photo of placed) {
    const key = photo.place.map(x => x.toFixed(4)).join();
    if (!spots.has(key)) spots.set(key, {place: photo.place, station: photo.station, n: 0});
  }
  for (const photo of select("station").filter(one => one.place))
    spots.get(photo.place.map(x => x.toFixed(4)).join()).n += 1;
  const list = [...spots.values()], lats = list.map(s => s.place[0]), lons = list.map(s => s.place[1]);
  const lat0 = (Math.min(...lats) + Math.max(...lats)) / 2, lon0 = (Math.min(...lons) + Math.max(...lons)) / 2;
  const squeeze = Math.max(0.05, Math.cos(lat0 * Math.PI / 180)), w = 320, h = 240;
  const wide = (Math.max(...lons) - Math.min(...lons)) * squeeze, high = Math.max(...lats) - Math.min(...lats);
  const degree = Math.min(0.8 * w / Math.max(wide, 1e-9), 0.8 * h / Math.max(high, 1e-9), 20000);
  const x = lon => w / 2 + (lon - lon0) * squeeze * degree, y = lat => h / 2 - (lat - lat0) * degree;
  const land = (cx, cy) => (report.land || []).map(ring => {
    let d = "";
    for (let i = 0; i < ring.length; i += 2)
      d += `${i ? "L" : "M"}${cx(ring[i] / 10).toFixed(1)} ${cy(ring[i + 1] / 10).toFixed(1)}`;
    return `${d}Z`;
  }).join("");
  /* A small map of the world says where the large one lies. */
  const [ix, iy] = [lon => w - 98 + (lon + 180) / 4, lat => 4 + (90 - lat) / 4];
  const inset = w / degree > 90 ? [] : [svg("rect", {x: w - 98, y: 4, width: 90, height: 45, class: "sea"}),
    svg("path", {d: land(ix, iy), class: "land"}), svg("circle", {cx: ix(lon0), cy: iy(lat0), r: 3, class: "here"})];
  const most = Math.max(1, ...list.map(s => s.n));
  const circles = list.sort((a, b) => b.n - a.n).map(s => svg("circle", {cx: x(s.place[1]), cy: y(s.place[0]),
    r: s.n ? 4 + 10 * Math.sqrt(s.n / most) : 3, class: state.station && s.station === state.station ? "on" : "",
    ...(s.station ? {onclick: () => toggle("station", s.station), tabindex: 0, role: "button",
      onkeydown: event => { if (event.key === "Enter") toggle("station", s.station); }} : {})},
    svg("title", {}, `${s.station || "?"} (${s.place[0].toFixed(4)}, ${s.place[1].toFixed(4)}): ${plural(s.n, "photograph")}`)));
  const [length, text] = chooseScale(degree);
  const without = report.photos.length - placed.length;
  $("places").replaceChildren(el("h2", {}, "Where"),
    svg("svg", {viewBox: `0 0 ${w} ${h}`, class: "map", role: "group", "aria-label": "map of the photographs"},
      svg("path", {d: land(x, y), class: "land"}), ...circles, ...inset,
      svg("path", {d: `M10 ${h - 14}v4h${length}v-4`, class: "ruler"}),
      svg("text", {x: 14 + length, y: h - 10}, text),
      svg("text", {x: w - 6, y: h - 10, "text-anchor": "end"}, `${formatDegrees(lat0, "NS")} ${formatDegrees(lon0, "EW")}`)),
    without ? el("p", {class: "soft"}, `${plural(without, "photograph")} without a place`) : "");
}

const formatDegrees = (value, ends) => `${Math.abs(value).toFixed(2)}° ${value < 0 ? ends[1] : ends[0]}`;

function chooseScale(degree) {
  const km = degree / 111.195;
  const nice = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
  const chosen = nice.filter(one => one * km <= 120).pop() || nice[0];
  return [chosen * km, chosen < 1 ? `${Math.round(1000 * chosen)} m` : `${number(chosen)} km`];
}

function draw() { drawChosen(); drawSpecies(); drawTimes(); drawMap(); drawCards(); }

document.addEventListener("keydown", event => {
  if (!$("large").open || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const next = shown[opened + (event.key === "ArrowLeft" ? -1 : 1)];
  if (next) openPhoto(next);
});
window.addEventListener("hashchange", () => { readState(); drawTools(); draw(); });
window.addEventListener("DOMContentLoaded", () => { prepare(); readState(); drawTools(); draw(); });
})();
