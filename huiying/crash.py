"""Named crash points: a trial kills the process exactly here.

``HUIYING_CRASH_AT=<name>`` (or ``<name>:<n>`` for the n-th passage) ends the process as ``kill -9`` would. Without the
variable a crash point costs one comparison. The list is closed so that a trial can visit every one of them.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "register_before_commit",
    "register_after_commit",
    "change_before_commit",
    "change_after_commit",
    "expand_before_commit",
    "expand_after_commit",
    "claim_before_commit",
    "claim_after_commit",
    "send_before",
    "send_after",
    "record_before_commit",
    "record_after_commit",
    "backfill_before",
    "backfill_after",
    "flow_after_expand",
    "audit_before_head",
)

_armed, _, _count = os.environ.get("HUIYING_CRASH_AT", "").partition(":")
_left = int(_count or 1)


def crash_point(name: str) -> None:
    """End the process here when a trial asked for it."""
    global _left  # noqa: PLW0603 - one counter for the whole process is the point
    if name != _armed:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
