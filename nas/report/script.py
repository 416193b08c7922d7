"""The script of the page: it shows the text of a mark that is pointed at by mouse, finger or keyboard."""

from __future__ import annotations

SCRIPT = """
const tip = document.getElementById("tip");
const MARKS = "svg [data-tip], svg [data-id]";
const NEAR = 24, places = new WeakMap();
let lit = null;

function rowOf(mark) {
  const id = mark.dataset.id, section = mark.closest("section");
  return id && section ? section.querySelector(`tr[data-id="${CSS.escape(id)}"]`) : null;
}
function textOf(mark) {
  const row = rowOf(mark);
  return mark.dataset.tip || (row ? row.dataset.tip : "");
}
function light(mark) {
  if (mark === lit) return;
  lit = mark;
  for (const each of document.querySelectorAll(".on")) each.classList.remove("on");
  if (!mark) return;
  const section = mark.closest("section"), id = mark.dataset.id;
  const same = id && section ? section.querySelectorAll(`[data-id="${CSS.escape(id)}"]`) : [mark];
  for (const each of same) each.classList.add("on");
}
function hide() {
  tip.hidden = true;
  light(null);
}
function show(mark) {
  light(mark);
  tip.textContent = textOf(mark);
  tip.hidden = !tip.textContent;
  const box = (mark.querySelector("circle") || mark).getBoundingClientRect();
  const root = document.documentElement;
  const left = Math.min(box.left, root.clientWidth - tip.offsetWidth - 8);
  const below = box.bottom + 8, above = box.top - tip.offsetHeight - 8;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (below + tip.offsetHeight > root.clientHeight && above > 0 ? above : below) + "px";
}
function placesIn(svg) {
  if (!places.has(svg)) places.set(svg, [...svg.querySelectorAll("circle, polygon")].flatMap((mark) => {
    const owner = mark.closest("[data-tip], [data-id]"), box = mark.getBBox();
    return owner ? [[box.x + box.width / 2, box.y + box.height / 2, owner]] : [];
  }));
  return places.get(svg);
}
function nearest(svg, x, y) {
  const frame = svg.getBoundingClientRect(), scale = frame.width / svg.viewBox.baseVal.width;
  const [a, b] = [(x - frame.left) / scale, (y - frame.top) / scale];
  let best = null, least = NEAR / scale;
  for (const [px, py, owner] of placesIn(svg)) {
    const away = Math.hypot(px - a, py - b);
    if (away < least) [best, least] = [owner, away];
  }
  return best;
}
function onPoint(event) {
  const element = event.target.closest ? event.target : document.body;
  const svg = element.closest("svg"), row = element.closest("tr[data-id]");
  const mark = svg && (nearest(svg, event.clientX, event.clientY) || element.closest(MARKS));
  if (mark) return show(mark);
  hide();
  light(row);
}
function onKey(event) {
  const mark = event.target.closest && event.target.closest(MARKS);
  if (!mark) return;
  if (event.key === "Escape") return hide();
  const all = [...mark.closest("svg").querySelectorAll(MARKS)], at = all.indexOf(mark);
  const last = all.length - 1;
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last };
  if (!(event.key in to)) return;
  event.preventDefault();
  const next = all[Math.max(0, Math.min(last, to[event.key]))];
  mark.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
function onFocus(event) {
  const mark = event.target.closest(MARKS);
  if (!mark) return;
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", textOf(mark));
  show(mark);
}
for (const name of ["pointermove", "pointerdown"]) document.addEventListener(name, onPoint);
document.addEventListener("keydown", onKey);
document.addEventListener("focusin", onFocus);
document.addEventListener("focusout", hide);
document.addEventListener("scroll", () => {
  const mark = document.activeElement.closest(MARKS);
  if (mark) show(mark);
  else hide();
}, true);
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });
""".strip()
