"""A real headless Chromium, and what the tests ask of a page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)
MARKS = ".mark-rect path, .mark-line path, .mark-symbol path, .mark-area path, .mark-rule line"
# Installed before a page's own scripts: layout shifts from the first paint on.
WATCH = """
window.shifted = 0;
new PerformanceObserver((list) => list.getEntries().forEach((e) => { window.shifted += e.value; }))
  .observe({ type: "layout-shift", buffered: true });
"""


class Page:
    """A page in the browser.

    Args:
        driver: The browser.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, width: int = 1280, dark: bool = False) -> None:
        """Load a page at a width and in a scheme of colours, and wait until it is ready."""
        self.driver.get("about:blank")  # ends what the page before still asks for,
        self.driver.get_log("browser")  # and what it said of it
        device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        self.driver.get(url)
        self.wait("return document.documentElement.dataset.ready === 'true'")

    def run(self, script: str, *arguments: Any) -> Any:
        """Value of a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any, seconds: float = 30.0) -> None:
        """Wait until a script gives a true value."""
        end = time.monotonic() + seconds
        while not self.run(script, *arguments):
            assert time.monotonic() < end, f"never true: {script}; {self.complaints()}"
            time.sleep(0.02)

    def draw_all(self) -> None:
        """Draw every panel, as scrolling through the page does."""
        done = "gdro.drawAll().then(() => arguments[0](''), (e) => arguments[0](e.stack))"
        assert self.driver.execute_async_script(f"const done = arguments[0]; {done}") == ""

    def all(self, selector: str) -> list[WebElement]:
        """Elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        """The only element of a CSS selector."""
        (found,) = self.all(selector)
        return found

    def marks(self) -> dict[str, int]:
        """Drawn marks of each panel, by figure and place; empty paths do not count."""
        return self.run(
            """
            const found = {};
            document.querySelectorAll("section [data-panel]").forEach((place) => {
              const marks = [...place.querySelectorAll(arguments[0])].filter((m) =>
                m.tagName === "line" || (m.getAttribute("d") || "").length > 8);
              found[`${place.closest("section").id}/${place.dataset.panel}`] = marks.length;
            });
            return found;
            """,
            MARKS,
        )

    def complaints(self) -> list[str]:
        """Messages on the console, and what Vega warned of."""
        logged = [entry["message"] for entry in self.driver.get_log("browser")]
        return logged + (self.run("return window.gdro ? gdro.problems : []") or [])


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary and driver, "chromium and chromedriver are missing; `make browser` installs them"
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        yield Page(browser)
    finally:
        browser.quit()
