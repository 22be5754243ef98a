"""Whether the runner may promise to carry out events through Prefect. A pure state machine on the monotonic clock.

Closed: we promise. Two failures in a row open it: for 15 s we promise nothing and the engine does everything at once.
Afterwards it is half open: one probe decides, and nothing but a probe closes it again.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES_TO_OPEN = 2
OPEN_SECONDS = 15.0
#: How often a server that is not back yet is asked again.
PROBE_SECONDS = 1.0


@dataclass(slots=True)
class Breaker:
    """Starts half open: before the first answer of a Prefect server there is nothing to promise."""

    failures: int = 0
    closed: bool = False
    next_probe_at: float = 0.0

    def probe_due(self, now: float) -> bool:
        """Whether the server should be asked how it is."""
        return not self.closed and now >= self.next_probe_at

    def note_probe(self, now: float, *, answered: bool) -> None:
        """What the probe said."""
        self.closed = answered
        self.failures = 0
        self.next_probe_at = now + PROBE_SECONDS

    def note_run(self, now: float, *, succeeded: bool) -> None:
        """A run through Prefect ended, or failed to. News of runs that began before the breaker opened changes nothing."""
        if not self.closed:
            return
        self.failures = 0 if succeeded else self.failures + 1
        if self.failures >= FAILURES_TO_OPEN:
            self.closed = False
            self.next_probe_at = now + OPEN_SECONDS
