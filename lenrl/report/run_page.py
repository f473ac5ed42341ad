"""`report.html` of a run: before and after, lengths, curves, completions side by side, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lenrl.measures.format import change, points, share, tokens, with_interval
from lenrl.report import page, plots
from lenrl.report.tables import before_after, decoding_name

SHOWN_PROMPTS = 12
SHOWN_CHARS = 6000  # of a completion

Columns = Mapping[str, Sequence[Any]]


def write(run_dir: Path) -> Path:
    """Write the report of a run's folder from its files; what is missing is left out. Returns its path."""
    evaluation = json_or_none(run_dir / "eval.json") or {"models": [], "pairs": []}
    summary = json_or_none(run_dir / "summary.json") or {}
    tables = _completions(run_dir, evaluation["models"])
    figures = {
        "points": plots.accuracy_tokens(evaluation["models"]),
        "lengths": plots.length_histograms(tables),
        "curves": plots.training_curves(
            json_lines(run_dir / "metrics.jsonl"), json_lines(run_dir / "dev.jsonl")
        ),
    }
    figures = {name: figure for name, figure in figures.items() if figure is not None}
    plotly_js = plotly_js_or_none()
    title = f"{summary.get('recipe') or run_dir.name}: before and after"
    sections = [
        f"<h1>{page.text(title)}</h1>",
        *_headline(evaluation, summary),
        *_plots(figures, plotly_js is not None),
        *_difficulties(evaluation["models"]),
        *_side_by_side(tables),
        *_settings(run_dir, evaluation["models"]),
    ]
    path = run_dir / "report.html"
    draft = run_dir / "report.html.part"
    draft.write_text(page.page(title, sections, figures, plotly_js), encoding="utf-8")
    draft.replace(path)
    return path


def _headline(evaluation: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    pairs = before_after(evaluation["models"])
    if not pairs:
        why = summary.get("evaluation_skipped") or "this folder has no eval.json with two models"
        return [page.paragraph(f"Not evaluated: {why}")]
    first = pairs[0][0]
    words = (
        f"{first['prompts']} {first['split']} problems of {first['task']}. Base: {first['model']}. "
        "95 % intervals over problems."
    )
    return [page.paragraph(words), _cards(pairs), page.section("Figures", _figures_table(evaluation, pairs))]


def _cards(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    cards = []
    for before, after in pairs:
        for what, key, written in (("accuracy", "accuracy", share), ("tokens", "tokens_mean", tokens)):
            cards.append(
                f'<div class="card"><small>{page.text(what)}, {page.text(decoding_name(before))}</small>'
                f'<b><span class="before">{page.text(written(before[key]))}</span> → '
                f'<span class="after">{page.text(written(after[key]))}</span></b></div>'
            )
    return f'<div class="cards">{"".join(cards)}</div>'


def _figures_table(evaluation: Mapping[str, Any], pairs: Sequence[Any]) -> str:
    compared = {pair["decoding"]: pair for pair in evaluation["pairs"]}
    rows = []
    for before, after in pairs:
        pair = compared.get(before["decoding"], {})
        for name, entry in (("before", before), ("after", after)):
            rows.append(
                (
                    f"{name}, {decoding_name(entry)}",
                    with_interval(entry["accuracy"], entry["accuracy_ci95"], share),
                    with_interval(entry["tokens_mean"], entry["tokens_mean_ci95"], tokens),
                    tokens(entry["tokens_p95"]),
                    tokens(entry["tokens_correct"]),
                    tokens(entry["tokens_wrong"]),
                    share(entry["truncated_share"]),
                )
            )
        if pair:
            diff = with_interval(pair["accuracy_diff"], pair["accuracy_diff_ci95"], points)
            ratio = with_interval(pair["tokens_ratio"], pair["tokens_ratio_ci95"], change)
            rows.append(
                (f"difference, {before['decoding']} (accuracy in points)", diff, ratio, "", "", "", "")
            )
    header = ("", "accuracy", "tokens", "p95", "tokens if right", "tokens if wrong", "truncated")
    return page.table(header, rows)


def _plots(figures: Mapping[str, Any], drawable: bool) -> list[str]:
    if not drawable:
        return [page.paragraph("No plots: they need plotly. Install it with: pip install 'lenrl[report]'")]
    titles = {
        "points": (
            "Accuracy and tokens",
            "Accuracy over tokens before and after; the table above has the numbers",
        ),
        "lengths": ("Lengths by verdict", "Histograms of completion lengths, sampled, before and after"),
        "curves": ("Training", "Accuracy, tokens, reward and truncation over the optimizer steps"),
    }
    return [page.section(titles[name][0], page.plot(name, titles[name][1])) for name in figures]


def _difficulties(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    for before, after in before_after(entries):
        grades = before["by_difficulty"]
        if not grades:
            continue
        rows = [
            (
                grade,
                figures["prompts"],
                share(figures["accuracy"]),
                share(after["by_difficulty"][grade]["accuracy"]),
                tokens(figures["tokens_mean"]),
                tokens(after["by_difficulty"][grade]["tokens_mean"]),
            )
            for grade, figures in grades.items()
        ]
        header = ("difficulty", "problems", "accuracy before", "after", "tokens before", "after")
        return [page.section(f"By difficulty, {before['decoding']}", page.table(header, rows))]
    return []


def _side_by_side(tables: Sequence[tuple[str, Columns]]) -> list[str]:
    """The same prompts before and after: evenly spread from the largest saving to the largest growth."""
    if len(tables) != 2:
        return []
    before, after = ({row["prompt_id"]: row for row in reversed(_rows(columns))} for _, columns in tables)
    shared = sorted(
        before.keys() & after.keys(), key=lambda name: (after[name]["tokens"] - before[name]["tokens"], name)
    )
    step = max(1, (len(shared) - 1) / (SHOWN_PROMPTS - 1))
    chosen = dict.fromkeys(
        shared[round(i * step)] for i in range(SHOWN_PROMPTS) if round(i * step) < len(shared)
    )
    readers = [_reader(before[name], after[name]) for name in chosen]
    words = "Sampled completions, from the largest saving to the largest growth."
    return [page.section("Completions", page.paragraph(words), *readers)]


def _reader(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    title = " ".join(str(before["prompt"]).split())[:80]
    sides = "".join(
        f'<div><b class="{role}">{role}: {_judged(row)}, {row["tokens"]} tokens</b>'
        f"{page.preformatted(shortened(row['completion']))}</div>"
        for role, row in (("before", before), ("after", after))
    )
    head = f"{title} · {before['tokens']} → {after['tokens']} tokens · {_judged(before)} → {_judged(after)}"
    return page.folded(
        head, page.preformatted(shortened(before["prompt"])), f'<div class="sides">{sides}</div>'
    )


def _settings(run_dir: Path, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = []
    recipe = run_dir / "recipe.yaml"
    if recipe.is_file():
        parts.append(page.folded("recipe.yaml", page.preformatted(recipe.read_text(errors="replace"))))
    for entry in entries[:1]:
        fingerprint = json.dumps(entry.get("fingerprint"), indent=2)
        parts.append(page.folded("Fingerprint of the evaluation", page.preformatted(fingerprint)))
    return [page.section("Settings", *parts)] if parts else []


def _completions(run_dir: Path, entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, Columns]]:
    """Columns of the first decoding's completions before and after (sampled, where there is one)."""
    for pair in before_after(entries):
        paths = [run_dir / str(entry.get("completions")) for entry in pair]
        if all(path.is_file() for path in paths):
            return [
                (role, pq.read_table(path).to_pydict())
                for role, path in zip(("before", "after"), paths, strict=True)
            ]
    return []


def _rows(columns: Columns) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _judged(row: Mapping[str, Any]) -> str:
    verdict = {True: "right", False: "wrong", None: "unknown"}[row["verdict"]]
    return f"{verdict}, cut at the cap" if row["truncated"] else verdict


def shortened(words: str, room: int = SHOWN_CHARS) -> str:
    """A text of at most about `room` characters; what is left out is the middle, and said."""
    if len(words) <= room:
        return words
    half = room // 2
    return f"{words[:half]}\n[... {len(words) - 2 * half} characters left out ...]\n{words[-half:]}"


def json_or_none(path: Path) -> Any:
    """A file's content; None: there is no such file."""
    return json.loads(path.read_text()) if path.is_file() else None


def json_lines(path: Path) -> list[dict[str, Any]]:
    """JSON lines; an unfinished last line of a killed run is left out."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def plotly_js_or_none() -> str | None:
    """plotly's own script; None: it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    return get_plotlyjs()
