"""Fixtures that several rooms share. Tests never write into the user's own cache."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from random_model import random_model_dir  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent

# Set before any test module is imported. The folder outlives a run, so that the compact table of a million taxa is made
# once; its names are content hashes, so nothing stale is found there.
os.environ["LINNAEA_CACHE"] = str(ROOT / "build" / "test-cache")


@pytest.fixture(autouse=True)
def _restore_log():
    """A command that runs in this process shows its log; the next test begins without that."""
    package = logging.getLogger("linnaea")
    level, handlers = package.level, list(package.handlers)
    yield
    package.setLevel(level)
    package.handlers[:] = handlers


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the project."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Photographs and tables kept beside the checkout, never in it; a test that asks for them skips without them."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the data beside the checkout is not here")
    return path


@pytest.fixture(scope="session")
def inat():
    """The default vocabulary, over a million species, loaded once a session."""
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    return load_vocabulary()
