"""How xdist deals tests out: a file stays together, and all browser tests go to one worker.

Two browsers and two servers at once on a small machine only make each other slow.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling

BROWSER_TESTS = "tests/browser/"


class OneBrowser(LoadFileScheduling):  # type: ignore[misc]  # the package carries no types
    """``--dist loadfile`` with one common scope for everything that drives a browser."""

    def _split_scope(self, nodeid: str) -> Any:
        return BROWSER_TESTS if nodeid.startswith(BROWSER_TESTS) else super()._split_scope(nodeid)
