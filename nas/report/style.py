"""The look of the report: on paper, on a dark screen, on a phone, in print."""

from __future__ import annotations

from nas.report.draw.palette import DARK

_LOOK = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #4b5768; --paper: #fff; --line: #d8dee6; --link: #0b5cad;
  --note: #fff4d6; --edge: #c98a00; --on: #e6f0fa; --tip: #1c2430; --said: #fff; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 12px; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); overflow-wrap: break-word; }
a { color: var(--link); }
h1 { font-size: 1.6rem; margin: 0 0 4px; }
h2 { font-size: 1.3rem; margin: 40px 0 8px; padding-top: 12px; border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 28px 0 4px; }
p, li { max-width: 75ch; margin: 6px 0; }
nav a { display: inline-block; margin: 4px 16px 4px 0; }
.note { background: var(--note); border-left: 4px solid var(--edge); padding: 8px 12px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px 32px; }
figure { margin: 8px 0; min-width: 0; }
figcaption { font-size: .875rem; color: var(--soft); max-width: 75ch; }
figcaption b { color: var(--ink); }
figure > svg { display: block; width: 100%; height: auto; max-width: 520px; }
.wide { overflow-x: auto; }
.wide svg { display: block; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); padding-left: 4px; }
th { font-weight: 600; }
thead th { white-space: normal; vertical-align: bottom; min-width: 4.6em; }
th small { display: block; font-weight: 400; color: var(--soft); }
th a, th span { white-space: nowrap; }
@media (max-width: 600px) {
  th:first-child { white-space: normal; min-width: 8em; }
}
.words td { text-align: left; vertical-align: top; white-space: normal; overflow-wrap: anywhere; }
.words th { white-space: normal; vertical-align: top; min-width: 9em; max-width: 14em; }
details { margin: 4px 0; }
summary { cursor: pointer; padding: 4px 0; font-size: .875rem; font-weight: 600; }
svg [data-tip], svg [data-id] { cursor: pointer; outline: none; }
tr.on > * { background: var(--on); }
svg .on, svg .on > circle { stroke: var(--ink); stroke-width: 3; }
svg g.on > polygon { stroke-width: 4; }
#tip { position: fixed; z-index: 2; max-width: min(340px, calc(100vw - 16px)); padding: 8px 10px;
  white-space: pre-line; overflow-wrap: anywhere; font-size: .8125rem; line-height: 1.4; color: var(--said);
  background: var(--tip); border-radius: 4px; box-shadow: 0 1px 6px #0006; pointer-events: none; }
@media print {
  body { max-width: none; font-size: 11pt; }
  nav, #tip { display: none; }
  .wide { overflow: visible; }
  .wide svg { max-width: 100%; height: auto; }
  .pair { grid-template-columns: 1fr 1fr; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  table { font-size: 8pt; }
  th, td { padding: 2px 5px; }
}
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e8edf3; --soft: #aab6c4; --paper: #14181f; --line: #323b48; --link: #7cbcff; --note: #3a2f10;
    --edge: #d9a32b; --on: #22344a; --tip: #e8edf3; --said: #14181f; }
"""


# Charts name their colours, so that they are right as files of their own; in the page each has a replacement.
_DARK_MARKS = "\n".join(
    f"  svg [fill='{light}'] {{ fill: {dark}; }}\n  svg [stroke='{light}'] {{ stroke: {dark}; }}"
    for light, dark in DARK.items()
)
STYLE = f"{_LOOK.strip()}\n{_DARK_MARKS}\n}}"
