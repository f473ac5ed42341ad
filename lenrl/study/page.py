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
  --text: #1c2530; --soft: #5b6673; --back: #ffffff; --card: #f4f6f8;
  --grid: #d9dee4;
  --before: #7a8794; --after: #c2570c; --focus: #1a5fd0; }
@media (prefers-color-scheme: dark) { :root {
  --text: #e6eaef; --soft: #a3adb8; --back: #12171d; --card: #1b222a;
  --grid: #36404b; --before: #93a1af; --after: #ff9a4d; --focus: #7db2ff; } }
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
  const style = getComputedStyle(document.documentElement);
  const themed = (value, key) => {
    if (Array.isArray(value)) return value.map(item => themed(item, key));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k)]));
    return /color$/i.test(key) && roles.includes(value) ? style.getPropertyValue("--" + value).trim() : value;
  };
  for (const [id, figure] of Object.entries(figures))
    Plotly.react(id, themed(figure.data, "data"), themed(figure.layout, "layout"),
      {responsive: true, displaylogo: false});
}
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
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


def page(title: str, sections: Iterable[str], figures: Mapping[str, Any], plotly_js: str | None) -> str:
    """The whole document; `figures` by the ids of `plot`."""
    drawn = ""
    if figures and plotly_js is not None:
        drawn = (
            f'<script type="application/json" id="figures">{script_data(dict(figures))}</script>'
            f"<script>{plotly_js}</script><script>{DRAW}</script>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main>{drawn}</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"


def paragraph(words: str) -> str:
    return f'<p class="soft">{text(words)}</p>'


def plot(name: str, label: str) -> str:
    """The place of a figure; the label is read out instead of it."""
    return f'<div class="plot" id="{text(name)}" role="img" aria-label="{text(label)}"></div>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(summary: str, *parts: str) -> str:
    return f"<details><summary>{text(summary)}</summary>{''.join(parts)}</details>"


def preformatted(words: Any) -> str:
    return f'<pre tabindex="0">{text(words)}</pre>'
