"""A run's own report in a browser."""

import pytest

from lenrl.report import page as report
from tests.report.conftest import opened
from tests.report.test_report import run  # noqa: F401 - a fixture


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_is_drawn_and_readable_and_silent(browser, run, theme):  # noqa: F811
    path = report.write_run(run)
    with opened(browser, path, theme, f"{run.name}: before and after") as page:
        for name in ("front", "lengths", "curves"):
            assert page.locator(f"#{name} .main-svg path").count() > 3, name
            assert page.locator(f"#{name}").bounding_box()["height"] > 200
        words = page.locator("#front .xtick text").first.evaluate("text => getComputedStyle(text).fill")
        assert words == page.evaluate("getComputedStyle(document.body).color")
        first = page.locator("details summary").first
        first.focus()
        page.keyboard.press("Enter")
        assert page.locator("details[open]").count() >= 1
        assert "</script>" in page.locator("details[open]").first.inner_text()
