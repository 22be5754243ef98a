"""One writer at a time within a process: waiting here is fair and quick, SQLite's busy handler is neither.

Who records goes before who looks: an outcome that is not yet written is a message that goes out twice when the process
is killed, while a look that comes a little later loses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock whose ``first`` callers pass the others."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._taken = False
        self._first = 0

    @contextmanager
    def turn(self, *, first: bool = False) -> Iterator[None]:
        """Hold the turn; ``first`` goes before everybody who has not begun."""
        with self._free:
            self._first += first
            self._free.wait_for(lambda: not self._taken and (first or not self._first))
            self._first -= first
            self._taken = True
        try:
            yield
        finally:
            with self._free:
                self._taken = False
                self._free.notify_all()
