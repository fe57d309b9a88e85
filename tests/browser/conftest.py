"""A browser for the tests of pages: headless Chromium, where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Start Chromium with a fresh profile; where it or Playwright is missing, skip, or fail if it is required."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    missing = "Playwright" if find_spec("playwright") is None else "Chromium" if program is None else None
    if missing is not None:
        required = request.config.getoption("--require-browser", default=False)
        (pytest.fail if required else pytest.skip)(
            f"{missing} is not installed (pip install playwright; apt-get install chromium)"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def expect(browser: Any) -> Any:
    """Give Playwright's assertions, which wait for what is asserted."""
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a page from a file, off the network; at the end nothing may stand on the console or have been asked for."""
    heard: list[str] = []
    contexts = []

    def open_page(html: str, width: int = 1400, height: int = 900, **settings: Any) -> Any:
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(10_000)
        tab.on("console", lambda message: heard.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: heard.append(f"error: {error}"))
        tab.on("request", lambda asked: heard.append(asked.url) if asked.url not in (path.as_uri(), "data:,") else None)
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert heard == []
