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


def test_without_scripts_the_text_is_there_and_no_control_that_does_nothing(browser, run):  # noqa: F811
    path = report.write_run(run)
    with opened(browser, path, "light", f"{run.name}: before and after", java_script_enabled=False) as page:
        assert "87.5%" in page.locator("table").first.inner_text()
        assert page.locator("noscript p").count() == 1 and page.locator("#answers-list details").count() == 3
        page.locator("#answers-list summary").first.press("Enter")
        assert page.locator("#answers-list .answer:visible").count() == 2
        assert page.locator("select:visible").count() == page.locator("#theme:visible").count() == 0


def test_a_phone_shows_one_column_and_scrolls_down_only(browser, run):  # noqa: F811
    path, phone = report.write_run(run), {"width": 360, "height": 700}
    with opened(browser, path, "dark", f"{run.name}: before and after", viewport=phone) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        boxes = [box.bounding_box() for box in page.locator(".card").all()]
        assert len(boxes) == 2 and boxes[0]["x"] == boxes[1]["x"]
        page.locator("#answers-list summary").first.press("Enter")
        sides = [box.bounding_box() for box in page.locator(".answer:visible").all()]
        assert len(sides) == 2 and sides[0]["x"] == sides[1]["x"] and sides[0]["y"] < sides[1]["y"]
