"""The reference folder beside the checkout: source documents and the table of their time rules.

The product does not need it. Tests that prove something against it skip loudly where it is missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def shared_path(name: str) -> Path:
    """A file or folder of the reference folder, or a skip that says how to have the test run."""
    folder = Path(os.environ.get("HUIYING_SHARED") or ROOT.parent / "shared")
    path = folder / name
    if not path.exists():
        pytest.skip(f"SKIPPED PROOF: no {name} in {folder}; set HUIYING_SHARED to the folder of reference documents")
    return path
