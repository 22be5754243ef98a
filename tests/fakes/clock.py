"""A wall clock that moves only when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

#: Monday 2 June 2025, 09:00 in Beijing.
START = datetime(2025, 6, 2, 1, 0, tzinfo=UTC)


class FakeClock:
    """Call it for the present instant, aware, in UTC; hand it to ``Store(engine, clock, fixed_clock=True)``."""

    def __init__(self, start: datetime = START) -> None:
        self.set(start)

    def __call__(self) -> datetime:
        """The present instant."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Let time pass (or, with a negative span, step the clock back); gives the new instant."""
        self._now += by
        return self._now

    def set(self, at: datetime) -> None:
        """Go to an aware instant."""
        if at.tzinfo is None:
            raise ValueError("a naive datetime was given to the fake clock")
        self._now = at.astimezone(UTC)
