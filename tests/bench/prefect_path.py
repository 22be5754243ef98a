"""Lateness through Prefect in calm use: from due to the receiver's hand, the durable claim included.

``python -m tests.bench.prefect_path`` measures planned events (a reminder is known long before) and immediate ones (a
registration is due as it is committed), one every five seconds; ``--quick`` takes a shorter interval for CI.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.flow_stage import PrefectServer, Stage, stage

INTERVAL = 5.0
QUICK_INTERVAL = 1.5
#: How far ahead a planned event is written.
AHEAD = 2.0
_WARM_UP = 2


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds of lateness, and how many of the events ran inside Prefect."""

    events: int
    inside: int
    p50: float
    p99: float
    worst: float

    @property
    def share_inside(self) -> float:
        """1.0 when every event ran inside Prefect."""
        return self.inside / self.events


@contextmanager
def prefect_server() -> Iterator[PrefectServer]:
    """A server of our own in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="huiying-bench-", ignore_cleanup_errors=True) as folder:
        server = PrefectServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def measure(
    n: int, interval: float = INTERVAL, *, planned: bool = True, server: PrefectServer | None = None
) -> Percentiles:
    """Send ``n`` events through Prefect, one every ``interval`` seconds."""
    if server is None:
        with prefect_server() as own:
            return measure(n, interval, planned=planned, server=own)
    with tempfile.TemporaryDirectory(prefix="huiying-bench-") as folder, stage(server, Path(folder)) as made:
        made.start_engine()
        made.start_runner()
        _send(made, _WARM_UP, min(interval, QUICK_INTERVAL), planned=planned)
        ids = _send(made, n, interval, planned=planned)
        return _percentiles([1000 * made.late(key) for key in ids], made.modes(ids).count("prefect"))


def _send(made: Stage, n: int, interval: float, *, planned: bool) -> list[int]:
    ids = []
    for _ in range(n):
        began = time.monotonic()
        ids.append(made.due(AHEAD if planned else 0.0))
        time.sleep(max(0.0, interval - (time.monotonic() - began)))
    made.await_arrival(ids, AHEAD + 15.0)
    return ids


def _percentiles(late: list[float], inside: int) -> Percentiles:
    ordered = sorted(late)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return Percentiles(len(ordered), inside, at(0.5), at(0.99), round(ordered[-1], 1))


def main() -> None:
    """Print one JSON line per kind of event."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=24)
    parser.add_argument("--interval", type=float, default=INTERVAL)
    parser.add_argument("--quick", action="store_true", help=f"8 events, one every {QUICK_INTERVAL} s")
    options = parser.parse_args()
    events, interval = (8, QUICK_INTERVAL) if options.quick else (options.events, options.interval)
    with prefect_server() as server:
        for planned in (True, False):
            made = measure(events, interval, planned=planned, server=server)
            line = {"events": "planned" if planned else "immediate", "interval": interval, **asdict(made)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
