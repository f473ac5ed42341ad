"""Hooks of mkdocs.yml: links that leave docs/ lead to copies, formulas become MathML, each card is in the nav.

A link to a file outside docs/ (a recipe, a module, an example) works on the code host as it stands; in the site it
leads to a page under source/ that shows the file. Pages of `OUTSIDE` are in the site too, so that a build checks
their links and anchors.
"""

import html
import logging
import posixpath
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("README.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md")
LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?(\))")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
ELSEWHERE = re.compile(
    r"""<(?:script|img|iframe|link rel="(?:stylesheet|preconnect)")[^>]*(?:src|href)="(?:https?:)?//[^"]*"""
)
LOG = logging.getLogger("mkdocs.hooks.site")
SHOWN = {".py": "python", ".yaml": "yaml"}  # as a page; other files are copied


def on_config(config: MkDocsConfig) -> None:
    """Every card is listed under Methods, in the order of the table of cards."""
    table = (ROOT / "docs" / "methods" / "README.md").read_text(encoding="utf-8")
    cards = dict.fromkeys(
        f"methods/{name}" for name in re.findall(r"^\| \[\w+\]\((\w+\.md)\)", table, re.MULTILINE)
    )
    nav: list[Any] = config.nav or []
    methods = next(entry["Methods"] for entry in nav if "Methods" in entry)
    methods[1:1] = cards


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds what links outside docs/ lead to."""
    places = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    places += OUTSIDE
    added: set[str] = set()
    while places:
        place = places.pop()
        if not place.startswith("docs/") and place not in added:
            added.add(place)
            files.append(_outside(place, config))
        if place.endswith(".md"):
            text = FENCE.sub("", (ROOT / place).read_text(encoding="utf-8"))
            targets = (_target(place, match[2]) for match in LINK.finditer(text))
            places += [to for to in targets if to and not to.startswith("docs/") and to not in added]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of a page, as they are in the site."""
    place = _place(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = _target(place, match[2])
        link = match[2] if target is None else posixpath.relpath(_uri(target), here or ".")
        return f"{match[1]}{link}{match[3] or ''}{match[4]}"

    parts = re.split(f"({FENCE.pattern})", markdown, flags=FENCE.flags)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in parts)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers show without a script."""
    return FORMULA.sub(
        lambda match: latex2mathml.converter.convert(
            html.unescape(match[2]), display="inline" if match[1] == "span" else "block"
        ),
        content,
    )


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> None:
    """A page that would load anything from elsewhere is warned of, which ends a strict build."""
    if found := ELSEWHERE.search(output):
        LOG.warning("%s loads something from elsewhere: %s", page.file.src_uri, found[0])


def _outside(place: str, config: MkDocsConfig) -> File:
    path = ROOT / place
    kind = SHOWN.get(path.suffix)
    if path.suffix == ".md":
        return File.generated(config, _uri(place), content=path.read_text(encoding="utf-8"))
    if kind is None:
        return File.generated(config, _uri(place), abs_src_path=str(path))
    text = f"# {place}\n\n```{kind}\n{path.read_text(encoding='utf-8').rstrip()}\n```\n"
    return File.generated(config, _uri(place), content=text)


def _target(place: str, link: str) -> str | None:
    """The file, from the root of the repository, that a link of the file `place` leads to; None: no such file."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
    if (ROOT / target).is_dir():
        target = f"{target}/README.md"
    return target if (ROOT / target).is_file() else None


def _uri(place: str) -> str:
    """The place in the site of a file of the repository."""
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    return f"source/{place}.md" if Path(place).suffix in SHOWN else f"source/{place}"


def _place(uri: str) -> str:
    if not uri.startswith("source/"):
        return f"docs/{uri}"
    place = uri.removeprefix("source/")
    return place if (ROOT / place).is_file() else place.removesuffix(".md")
