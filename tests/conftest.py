"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread a process: two torch processes on two cores otherwise wait for each other's barriers.
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the research data and weights that cannot be part of the repository."""
    folder = Path(os.environ.get("EQUISCOPE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "weights").is_dir():
        pytest.skip(f"needs the project's shared data, which is not at {folder} (set EQUISCOPE_SHARED)")
    return folder
