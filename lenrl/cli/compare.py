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
        "Compare what was measured of several models, and write a page that needs no network: accuracy over\n"
        "tokens with intervals, a table, lengths by verdict, training curves, the effect of each setting that\n"
        "differs, and the same problems as the models answered them. A RUN is a run's folder, a sweep's (all its\n"
        "finished trials), or what `lenrl eval --out` wrote. Differences are to the first model, problem by problem.",
        EXAMPLES,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="the page (default report.html)"
    )
    parser.add_argument("--figures", type=Path, metavar="DIR", help="also CSV, SVG and PNG of every figure")
    options = parser.read(arguments)

    from rich.text import Text

    from lenrl.api.verbs import compare
    from lenrl.report import pictures
    from lenrl.report.tables import compared_table

    compared = compare(options.runs, options.out)
    console = Terminal()
    console.print(compared_table(compared.rows()))
    for warning in compared.warnings:
        console.print(Text(f"not alike: {warning}"), soft_wrap=True)
    written = [options.out]
    if options.figures is not None:
        written += pictures.write(compared, options.figures)
    console.print(Text(f"written: {', '.join(map(str, written))}"), soft_wrap=True)
    return 0
