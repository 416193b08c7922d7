"""The look of the report, and the few lines of script that show what is pointed at."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 16px; font: 16px/1.5 system-ui, sans-serif; color: #1c2430;
  background: #fff; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0 0 4px; }
h2 { font-size: 1.25rem; margin: 40px 0 8px; padding-top: 12px; border-top: 2px solid #d8dee6; }
h3 { font-size: 1rem; margin: 24px 0 4px; }
p, li { max-width: 75ch; }
.note { background: #fff4d6; border-left: 4px solid #c98a00; padding: 8px 12px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 8px 24px; }
figure { margin: 8px 0; min-width: 0; }
figcaption { font-size: .875rem; color: #4b5768; }
figure svg { display: block; width: 100%; height: auto; max-width: 600px; }
.wide { overflow-x: auto; }
.wide svg { width: auto; max-width: none; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: 3px 10px; border-bottom: 1px solid #d8dee6; text-align: right; white-space: nowrap; }
th[scope=row] { text-align: left; font-weight: 600; }
.words td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
summary { cursor: pointer; margin: 8px 0; font-weight: 600; }
[data-tip] { cursor: pointer; }
[data-tip]:hover, [data-tip]:focus { stroke: #1c2430; stroke-width: 2; outline: none; }
#tip { position: absolute; z-index: 1; max-width: min(340px, calc(100vw - 16px));
  padding: 8px 10px; white-space: pre-line; font-size: .8125rem; line-height: 1.35;
  color: #fff; background: #1c2430; border-radius: 4px; pointer-events: none; }
""".strip()

SCRIPT = """
const tip = document.getElementById("tip");
function show(event) {
  const mark = event.target.closest ? event.target.closest("[data-tip]") : null;
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const box = mark.getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = Math.max(8, Math.min(box.left, room)) + window.scrollX + "px";
  tip.style.top = box.bottom + 6 + window.scrollY + "px";
}
for (const name of ["pointerover", "pointerdown", "focusin"]) document.addEventListener(name, show);
""".strip()
