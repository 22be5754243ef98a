"""How vendors count: a sliding window, and a ban for whoever exceeds it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Throttle:
    """``allows()`` counts one request; above ``most`` in ``span`` seconds it says no, for ``ban`` seconds on."""

    def __init__(self, most: int, span: float, ban: float, clock: Callable[[], float]) -> None:
        self._most, self._span, self._ban, self._clock = most, span, ban, clock
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()
        self._banned_until = float("-inf")

    def allows(self) -> bool:
        with self._lock:
            now = self._clock()
            while self._taken and self._taken[0] <= now - self._span:
                self._taken.popleft()
            if now < self._banned_until:
                return False
            if len(self._taken) >= self._most:
                self._banned_until = now + self._ban
                return False
            self._taken.append(now)
            return True
