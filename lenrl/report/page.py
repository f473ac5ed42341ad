"""One self-contained HTML page: no network, light and dark, readable without a mouse and without scripts.

Whatever comes from a model, a data set or a recipe is text: it goes through `text` or `script_data`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Nothing may be loaded from anywhere; data and blob are plotly's own way to save a picture.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"

STYLE = """
:root { color-scheme: light dark;
  --text: light-dark(#1c2530, #e6eaef); --soft: light-dark(#5b6673, #a3adb8);
  --back: light-dark(#ffffff, #12171d); --card: light-dark(#f4f6f8, #1b222a);
  --grid: light-dark(#d9dee4, #36404b); --focus: light-dark(#1a5fd0, #7db2ff);
  --before: light-dark(#7a8794, #93a1af); --after: light-dark(#c2570c, #ff9a4d); }
button, select { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--grid);
  border-radius: .3rem; padding: .15rem .5rem; }
#theme { float: right; }
th button { border: 0; background: none; padding: 0; font-weight: inherit; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
.filters { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin: .5rem 0; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.soft, small { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; }
.card { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.5rem; }
.before { color: var(--before); } .after { color: var(--after); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
.plot { width: 100%; height: 26rem; }
details { border-bottom: 1px solid var(--grid); padding: .3rem 0; }
summary { cursor: pointer; padding: .2rem; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
@media (max-width: 40rem) { .sides { grid-template-columns: 1fr; } }
pre { background: var(--card); padding: .7rem; margin: .3rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere;
  max-height: 24rem; overflow-y: auto; font-size: .85rem; border-radius: .3rem; }
"""

# Roles become the theme's colours each time it changes; a colour list is replaced item by item.
DRAW = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const roles = ["text", "grid", "before", "after"];
function draw() {
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = role => { probe.style.color = `var(--${role})`; return getComputedStyle(probe).color; };
  const themed = (value, key) => {
    if (Array.isArray(value)) return value.map(item => themed(item, key));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k)]));
    return /color$/i.test(key) && roles.includes(value) ? colour(value) : value;
  };
  for (const [id, figure] of Object.entries(figures))
    Plotly.react(id, themed(figure.data, "data"), themed(figure.layout, "layout"),
      {responsive: true, displaylogo: false});
  probe.remove();
}
draw();
document.addEventListener("themed", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
"""

THEME = """
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, chosen = root.style.colorScheme;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = dark ? "light" : "dark";
  document.dispatchEvent(new Event("themed"));
});
"""

# A cell's number stands in data-value; cells without one sort last in both directions.
SORT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = button.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") === "descending", column = head.cellIndex;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const rank = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return up ? order : -order;
  };
  body.append(...[...body.rows].sort(rank));
});
"""


def text(value: Any) -> str:
    """Escaped for any place in the page's body or attributes; control characters become visible."""
    shown = "".join(c if c in "\n\t" or ord(c) >= 32 else chr(0x2400 + ord(c)) for c in str(value))
    return html.escape(shown.encode("utf-8", "replace").decode(), quote=True)


def script_data(value: Any) -> str:
    """JSON that can't end the script element it stands in."""
    found = json.dumps(value, allow_nan=False)
    for char in "<>&\u2028\u2029":
        found = found.replace(char, f"\\u{ord(char):04x}")
    return found


def page(
    title: str,
    sections: Iterable[str],
    figures: Mapping[str, Any],
    plotly_js: str | None,
    scripts: Sequence[str] = (),
) -> str:
    """The whole document; `figures` by the ids of `plot`, `scripts` (`THEME`, `SORT`, ...) run last."""
    drawn = ""
    if figures and plotly_js is not None:
        drawn = (
            f'<script type="application/json" id="figures">{script_data(dict(figures))}</script>'
            f"<script>{plotly_js}</script><script>{DRAW}</script>"
        )
    theme = '<button id="theme" type="button">light or dark</button>' if THEME in scripts else ""
    run = f"<script>{''.join(scripts)}</script>" if scripts else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>"
        f"<body>{theme}<main>{''.join(sections)}</main>{drawn}{run}</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"


def paragraph(words: str) -> str:
    return f'<p class="soft">{text(words)}</p>'


def plot(name: str, label: str, height: int | None = None) -> str:
    """The place of a figure, `height` pixels high; the label is read out instead of it."""
    style = f' style="height: {height}px"' if height else ""
    return f'<div class="plot" id="{text(name)}" role="img" aria-label="{text(label)}"{style}></div>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def sortable(header: Sequence[str], rows: Iterable[Sequence[tuple[str, float | str | None]]]) -> str:
    """A table whose header sorts it; a cell is (what is shown, what it is sorted by)."""
    head = "".join(f'<th scope="col"><button type="button">{text(cell)}</button></th>' for cell in header)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-value="{text("" if by is None else by)}">{text(shown)}</td>' for shown, by in row
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(summary: str, *parts: str) -> str:
    return f"<details><summary>{text(summary)}</summary>{''.join(parts)}</details>"


def preformatted(words: Any) -> str:
    return f'<pre tabindex="0">{text(words)}</pre>'
