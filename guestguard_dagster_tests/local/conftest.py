"""Fixtures of the tests of local services."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def roomy_folder() -> Iterator[Path]:
    """A folder for servers, removed afterwards even where another account owns what is in it."""
    folder = Path(tempfile.mkdtemp(prefix="guestguard-local-"))
    yield folder
    shutil.rmtree(folder)
