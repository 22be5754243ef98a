"""How xdist deals tests out: a file stays together, all browser tests go to one worker, what takes long begins first.

Two browsers and two servers at once on a small machine only make each other slow; a long file that begins last leaves
the other workers idle.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling

BROWSER_TESTS = "tests/browser/"
#: The longest first; each of these takes as long as hundreds of unit tests.
LONG = (
    BROWSER_TESTS,
    "tests/integration/test_flows.py",
    "tests/integration/test_crash_points.py",
    "tests/integration/test_hostile_texts.py",
    "tests/integration/test_route_matrix.py",
    "tests/integration/test_engine.py",
    "tests/integration/",
    "tests/acceptance/",
    "tests/contract/",
)


class OneBrowser(LoadFileScheduling):  # type: ignore[misc]  # the package carries no types
    """``--dist loadfile`` with one common scope for everything that drives a browser, and an order of our own."""

    def _split_scope(self, nodeid: str) -> Any:
        return BROWSER_TESTS if nodeid.startswith(BROWSER_TESTS) else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        """The next file for a worker that has nothing left to do."""
        waiting = min(self.workqueue, key=rank)
        self.workqueue.move_to_end(waiting, last=False)
        super()._assign_work_unit(node)


def rank(scope: str) -> int:
    """The place of a file in the order; equals keep the order they have."""
    return next((place for place, start in enumerate(LONG) if scope.startswith(start)), len(LONG))
