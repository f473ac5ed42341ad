"""The same prompts as different models answered them: data for the page's reader, and the reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lenrl.report import page
from lenrl.report.run_page import shortened
from lenrl.report.sources import Entry

PROMPTS = 40  # shown; they spread evenly from the largest saving to the largest growth
CHARS = (
    1_500  # of a completion, where twenty models are shown; fewer models get more, up to four times as many
)

# Everything that a model wrote goes through textContent.
SCRIPT = """
{
  const data = JSON.parse(document.getElementById("answers").textContent);
  const get = id => document.getElementById(id), list = get("answers-list");
  const made = (tag, text, kind) => {
    const e = document.createElement(tag); e.textContent = text; if (kind) e.className = kind; return e; };
  const verdict = row => ({true: "right", false: "wrong", null: "unknown"})[row.verdict];
  const judged = row => verdict(row) + (row.cut ? ", cut at the cap" : "");
  const change = (a, b) => `${verdict(a)} to ${verdict(b)}`;
  function show() {
    const [a, b] = [get("reader-before").value, get("reader-after").value];
    const shown = data.prompts.filter(p => p.rows[a] && p.rows[b]
      && ["", change(p.rows[a], p.rows[b])].includes(get("reader-verdict").value)
      && ["", p.difficulty].includes(get("reader-difficulty").value));
    const sign = get("reader-order").value === "growth" ? -1 : 1, growth = p => p.rows[b].tokens - p.rows[a].tokens;
    shown.sort((p, q) => sign * (growth(p) - growth(q)));
    get("reader-count").textContent = `${shown.length} of the ${data.prompts.length} problems on this page`;
    list.replaceChildren(...shown.map(p => {
      const [one, two] = [p.rows[a], p.rows[b]], box = document.createElement("details");
      const title = `${p.prompt.replace(/\\s+/g, " ").slice(0, 80)} · ${one.tokens} → ${two.tokens} tokens · `;
      box.append(made("summary", `${title}${judged(one)} → ${judged(two)}`), made("pre", p.prompt));
      const sides = made("div", "", "sides");
      for (const [row, kind, name] of [[one, "before", data.models[a]], [two, "after", data.models[b]]]) {
        const side = document.createElement("div");
        side.append(made("b", `${name}: ${judged(row)}, ${row.tokens} tokens`, kind), made("pre", row.text));
        sides.append(side);
      }
      box.append(sides);
      return box;
    }));
  }
  for (const control of document.querySelectorAll(".filters select")) control.addEventListener("change", show);
  show();
}
"""


def section(entries: Sequence[Entry]) -> tuple[str, dict[str, Any]] | None:
    """The reader's place on the page and its data; None: no two models have answered the same problems."""
    entries = [entry for entry in entries if entry.columns and entry.decoding == entries[0].decoding]
    answers = [_first_answers(entry) for entry in entries]
    if len(answers) < 2:
        return None
    shared = [name for name in answers[0] if sum(name in table for table in answers) > 1]
    if not shared:
        return None
    last = next(table for table in reversed(answers) if any(name in table for name in shared))
    growth = {name: last[name]["tokens"] - answers[0][name]["tokens"] for name in shared if name in last}
    order = sorted(growth, key=lambda name: (growth[name], name))
    step = max(1.0, (len(order) - 1) / (PROMPTS - 1))
    chosen = list(dict.fromkeys(order[min(round(i * step), len(order) - 1)] for i in range(PROMPTS)))
    room = CHARS * max(1, min(4, 20 // len(entries)))
    prompts = [
        {
            "prompt": shortened(answers[0][name]["prompt"], room),
            "difficulty": str(answers[0][name]["difficulty"] or ""),
            "rows": [_shown(table[name], room) if name in table else None for table in answers],
        }
        for name in chosen
    ]
    names = [entry.name for entry in entries]
    words = (
        f"{len(chosen)} of {len(shared)} problems, spread evenly by how much the last model's length differs from the "
        f"first one's; the first sample of each, {entries[0].decoding}, long ones without their middle."
    )
    grades = sorted({prompt["difficulty"] for prompt in prompts} - {""}, key=lambda g: (len(g), g))
    verdicts = [f"{a} to {b}" for a in ("right", "wrong") for b in ("right", "wrong")]
    filters = "".join(
        (
            _select("reader-before", "before", [(str(i), name) for i, name in enumerate(names)], 0),
            _select("reader-after", "after", [(str(i), n) for i, n in enumerate(names)], len(names) - 1),
            _select("reader-verdict", "verdict", [("", "any"), *((v, v) for v in verdicts)], 0),
            _select("reader-difficulty", "difficulty", [("", "any"), *((g, g) for g in grades)], 0),
            _select("reader-order", "order", [("saving", "savings first"), ("growth", "growth first")], 0),
        )
    )
    place = (
        f'<div class="filters">{filters}</div><p class="soft" id="reader-count" role="status"></p>'
        '<div id="answers-list"></div>'
    )
    return page.section("Completions", page.paragraph(words), place), {"models": names, "prompts": prompts}


def _first_answers(entry: Entry) -> dict[str, dict[str, Any]]:
    columns = entry.columns
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["prompt_id"], {"difficulty": None, **row})
    return found


def _shown(row: dict[str, Any], room: int) -> dict[str, Any]:
    return {
        "verdict": row["verdict"],
        "tokens": row["tokens"],
        "cut": row["truncated"],
        "text": shortened(row["completion"], room),
    }


def _select(name: str, label: str, options: Sequence[tuple[str, str]], chosen: int) -> str:
    listed = "".join(
        f'<option value="{page.text(value)}"{" selected" if i == chosen else ""}>{page.text(shown)}</option>'
        for i, (value, shown) in enumerate(options)
    )
    return f'<label>{page.text(label)} <select id="{name}">{listed}</select></label>'
