"""A headless browser for tests of pages, where the machine has one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_S = 120


def render_page(page_path: Path, fragment: str = "") -> str:
    """The document of a page after its scripts ran, as HTML. Skip the test without a browser."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("needs Chromium; `make test` installs it where LINNAEA_CI is set")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=5000"]
    address = page_path.resolve().as_uri() + (f"#{fragment}" if fragment else "")
    profile = f"--user-data-dir={page_path.parent / 'browser-profile'}"
    done = subprocess.run(
        [browser, *options, profile, "--dump-dom", address], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    return done.stdout
