"""Where the tests of files of embeddings write theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
from embeddings_files import EXTENSIONS, NAMES, unit, write


@pytest.fixture(params=EXTENSIONS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"photos{request.param}"


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return write(tmp_path / "photos.npz", NAMES, unit(len(NAMES)))
