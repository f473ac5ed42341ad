"""`lenrl compare`: runs, sweeps and evaluations side by side."""

from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser
from lenrl.terminal import Terminal

EXAMPLES = (
    "lenrl compare outputs/grpo/NAME outputs/drpo/NAME",
    "lenrl compare outputs/sweeps/efficient/HASH --out alphas.html",
    "lenrl compare outputs/drpo/NAME evaluations/of-another-model --figures figures/",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "compare",
        "Compare what was measured of several models: which one is best, by how much, and which others can't be "
        "told apart from it. Writes a page that needs no network: accuracy over tokens with intervals, a table, "
        "lengths by verdict, training curves, the effect of each swept setting, and the same problems as the models "
        "answered them. A RUN is a run's folder, a sweep's (all its finished trials), or what `lenrl eval --out` "
        "wrote. Differences are to each run's own base, problem by problem.",
        EXAMPLES,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="the page (default report.html)"
    )
    parser.add_argument("--figures", type=Path, metavar="DIR", help="also CSV, SVG and PNG of every figure")
    options = parser.read(arguments)

    from rich.padding import Padding
    from rich.text import Text

    from lenrl.api.verbs import compare
    from lenrl.report import cascades, pictures
    from lenrl.report.tables import cascades_table, compared_tables

    compared = compare(options.runs, options.out)
    console = Terminal()
    for table in compared_tables(compared.tables()):
        console.print(table)
    if rows := cascades.rows(compared.cascades, few=True):
        console.print(cascades_table(rows, cascades.HEADER, cascades.CAPTION))
    for standing in compared.standings:
        console.print(
            Text(f"Best, {standing.decoding} (* in the table; ~ not told apart from it):", style="bold")
        )
        for card in standing.cards:
            told = Text(f"{card.label}: {card.name}, {card.figure}. {card.note}")
            console.print(Padding(told, (0, 0, 0, 2), expand=False))
    for sentence in compared.leads:
        console.print(Text(sentence))
    for warning in compared.warnings:
        console.print(Text(f"not alike: {warning}"))
    written = [options.out]
    if options.figures is not None:
        written += pictures.write(compared, options.figures)
    console.print(Text(f"written: {', '.join(map(str, written))}"), soft_wrap=True)
    return 0
