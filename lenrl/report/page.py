"""The page of one run or of many: one HTML file that needs no network, from `page.html.j2`, `.css` and `.js`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl import __version__
from lenrl.errors import BadInput
from lenrl.files import write_text
from lenrl.redact import visible
from lenrl.report import cascades, reader
from lenrl.report.compare import Compared
from lenrl.report.entries import Training
from lenrl.report.panels import Figure, in_words
from lenrl.report.sources import run_entries

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
CAPTIONS = {  # of each kind of figure: title, and what is to be seen
    "front": (
        "Accuracy and tokens",
        "Accuracy over tokens of every model, with 95 % intervals; grey line: the most that mixtures of the base's "
        "controls at decoding reach, where there are any",
    ),
    "budgets": (
        "Right within a budget",
        "Share of completions that are right and no longer than a budget; grey: the base, dotted: the best of all "
        "runs at that budget",
    ),
    "lengths": (
        "Lengths by verdict",
        "Share of completions by length: right ones solid, wrong ones dotted; grey: the base",
    ),
    "by_length": (
        "Accuracy by length",
        "Accuracy of completions of about a length, of all with 95 % intervals, thin: of a difficulty each; star: the "
        "best length. Length is not set by anyone here: easy problems are short",
    ),
    "reach": (
        "Reach",
        "Accuracy by length of the problem; star and diamond: the longest up to which 90 % and 50 % are solved, with "
        "95 % intervals; dotted: the longest that was trained; grey: the base",
    ),
    "cascades": (
        "First short, then long",
        "Accuracy over tokens of a cascade: the model is asked first, its base where a score says that the first is "
        "least sure, from never to always; grey: at random, dotted: by one who knows the verdicts",
    ),
    "effects": (
        "Effect of the settings",
        "Accuracy and tokens by each setting; the dotted line joins the means of a decoding",
    ),
    "curves": (
        "Training",
        "Rollouts over the optimizer steps; development problems as diamonds; of many runs a panel each, grey: the "
        "median of all",
    ),
}


def write(
    compared: Compared,
    path: Path,
    title: str = "Runs compared",
    unmeasured: str = "",
    others: Sequence[tuple[str, Compared]] = (),
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: where it goes; its folder is made.
        unmeasured: why nothing was measured, where nothing was.
        others: what was measured on other data, by its name.

    Raises:
        BadInput: jinja2, which fills the template, is not installed.
    """
    plotly_js = plotly_js_or_none()
    drawn = compared.figures()
    page = _template().render(
        title=title,
        version=__version__,
        lead=compared.lead() if compared.entries else f"Not evaluated: {unmeasured}",
        compared=compared,
        others=others,
        plots=_groups(drawn),
        figures=_inert(drawn),
        cascades=cascades,
        asked=cascades.rows(compared.cascades),
        answers=reader.side_by_side(compared.entries),
        plotly_js=plotly_js,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    return path


def write_run(run_dir: Path, recipe: str | None = None, unmeasured: str | None = None) -> Path:
    """Write `report.html` of a run's folder: its model against its base; what is missing is left out.

    Args:
        recipe: the method's name, for the title.
        unmeasured: why the run has no `eval.json`.

    Raises:
        BadInput: jinja2 is not installed.
    """
    if (run_dir / "eval.json").is_file():
        compared = Compared(run_entries(run_dir, run_dir, run_dir.name))
    else:
        compared = Compared([], {run_dir.name: Training.of(run_dir)})
    title = f"{recipe or run_dir.name}: before and after"
    evaluated = sorted((run_dir / "evals").glob("*/eval.json"))
    others = [(f.parent.name, Compared(run_entries(f.parent, run_dir, run_dir.name))) for f in evaluated]
    unmeasured = unmeasured or "this folder has no eval.json"
    return write(compared, run_dir / "report.html", title, unmeasured, others)


def plotly_js_or_none() -> str | None:
    """plotly's own script; None: it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    return get_plotlyjs()


def _groups(drawn: Mapping[str, Figure]) -> list[dict[str, Any]]:
    """The figures of a kind together, as the page shows one of them at a time."""
    groups: dict[str, dict[str, Any]] = {}
    for name, figure in drawn.items():
        kind = name.split("-")[0]
        title, caption = CAPTIONS[kind]
        group = groups.setdefault(kind, {"title": title, "caption": caption, "figures": []})
        plot = {"id": name, "label": figure.get("label", ""), "words": in_words(figure)}
        group["figures"].append(plot | {"height": figure["layout"]["height"]})
    return list(groups.values())


def _inert(value: Any, key: str = "") -> Any:
    """A figure whose names are text alone: plotly would make links and pictures of HTML in them."""
    if isinstance(value, Mapping):
        return {name: _inert(inner, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_inert(inner, key) for inner in value]
    return value.replace("<", "&lt;") if isinstance(value, str) and key != "hovertemplate" else value


def _template() -> Template:
    """The page's template; whatever comes from a model, a data set or a recipe is text in it."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise BadInput("the page needs jinja2: pip install 'lenrl[report]'") from None
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else visible(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.globals |= {
        "file": lambda name: Markup((HERE / name).read_text(encoding="utf-8")),
        "script": Markup,
    }
    return environment.get_template("page.html.j2")
