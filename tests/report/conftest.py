"""A headless Chromium of the system, without a network."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser, path, theme, title, **options):
    """A page of a file in a theme; at the end, that it said nothing, failed nowhere and asked no network."""
    context = browser.new_context(color_scheme=theme, **options)
    page = context.new_page()
    heard = []
    page.on("console", lambda said: heard.append(said.text))
    page.on("pageerror", lambda fault: heard.append(str(fault)))
    page.on("request", lambda asked: None if asked.url.startswith("file:") else heard.append(asked.url))
    page.goto(path.as_uri())
    yield page
    assert heard == [] and page.title() == title
    context.close()
