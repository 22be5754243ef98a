"""Sender threads, shared fairly: every channel has a lane of its own, and none can hold up the others.

A lane starts with a few places. One whose other side is slow but answers gets more, because its threads only wait; one
that hangs keeps what it has until its breaker parks it. Threads are made when a lane has work and a place but no thread
is idle, so a channel that hangs in all of its places never takes a thread another channel needs.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from loguru import logger

from huiying.now import monotonic

T = TypeVar("T")

#: A lane whose quickest recent answer took longer than this is waiting for the other side, not for our processor.
SLOW = 0.08
#: How far ahead a lane may be filled: longer than that and a lease could run out before the turn comes.
HORIZON = 4.0
_MOST_WAITING = 1024
_LEAST_WAITING = 32
_SAMPLES = 16
_IDLE_SECONDS = 30.0


@dataclass
class _Lane(Generic[T]):
    places: int
    widest: int
    items: list[tuple[int, int, T]] = field(default_factory=list)
    busy: int = 0
    was_long: bool = False
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def ran_low(self) -> bool:
        """True once when a lane that had a long queue has little left: more should be fetched before it runs dry."""
        if not self.was_long or len(self.items) > self.places:
            self.was_long = self.was_long or len(self.items) > 2 * self.places
            return False
        self.was_long = False
        return True

    def wanted(self) -> int:
        """Threads it could use now."""
        return max(0, min(len(self.items), self.places - self.busy))

    def room(self) -> int:
        """What can be sent within the horizon, less what is already waiting."""
        typical = sum(self.seconds) / len(self.seconds) if self.seconds else 0.0
        reach = int(self.places * HORIZON / typical) if typical > 0 else 256
        return min(max(reach, _LEAST_WAITING, 2 * self.places), _MOST_WAITING) - len(self.items)

    def grow(self, most: int) -> None:
        """Double the places of a slow lane that has more waiting than it has places."""
        if (
            len(self.seconds) >= min(_SAMPLES, self.places)
            and len(self.items) > self.places
            and min(self.seconds) > SLOW
        ):
            self.places = min(2 * self.places, self.widest, most)
            self.seconds.clear()


class Lanes(Generic[T]):
    """Runs ``work`` for every item put into a lane, the most urgent first, on as many threads as it takes."""

    def __init__(
        self,
        work: Callable[[T], object],
        *,
        places: int = 16,
        widest: int = 256,
        most_threads: int = 320,
        on_low: Callable[[], None] | None = None,
    ) -> None:
        self._work = work
        self._places = places
        self._widest = widest
        self._most = most_threads
        self._on_low = on_low
        self._lanes: dict[str, _Lane[T]] = {}
        self._numbers = itertools.count()
        self._ready = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._called = 0  # idle threads that have been notified and are not awake yet
        self._starting = 0
        self._closing = False

    # -- filling -----------------------------------------------------------------------------------------------------

    def put(self, items: Iterable[tuple[str, int, T]]) -> None:
        """Queue items (lane, urgency, item); a lower urgency number goes first, equals in order."""
        with self._ready:
            for lane_id, urgency, item in items:
                heapq.heappush(self._lane(lane_id).items, (urgency, next(self._numbers), item))
            self._staff()

    def _lane(self, lane_id: str) -> _Lane[T]:
        lane = self._lanes.get(lane_id)
        if lane is None:
            lane = self._lanes[lane_id] = _Lane(self._places, self._widest)
        return lane

    def _staff(self) -> None:
        """Wake idle threads, or make new ones, until every lane that has work and a place has a thread on its way."""
        wanted = sum(lane.wanted() for lane in self._lanes.values()) - self._called - self._starting
        for _ in range(wanted):
            if self._idle > self._called:
                self._called += 1
                self._ready.notify()
            elif len(self._threads) < self._most and not self._closing:
                self._starting += 1
                thread = threading.Thread(target=self._run, name=f"sender-{next(self._numbers)}", daemon=True)
                self._threads.add(thread)
                thread.start()

    def room(self, lane_id: str) -> int:
        """How many more items the lane can take now."""
        with self._ready:
            return max(0, self._lane(lane_id).room())

    def full(self) -> list[str]:
        """Lanes that can take nothing more."""
        with self._ready:
            return [key for key, lane in self._lanes.items() if lane.room() <= 0]

    def waiting(self) -> int:
        """Items waiting in all lanes."""
        with self._ready:
            return sum(len(lane.items) for lane in self._lanes.values())

    def busy(self) -> int:
        """Items being worked on."""
        with self._ready:
            return sum(lane.busy for lane in self._lanes.values())

    @property
    def threads(self) -> int:
        """Threads that exist now."""
        return len(self._threads)

    def ids(self) -> list[str]:
        """Every lane there is."""
        with self._ready:
            return list(self._lanes)

    def limit(self, lane_id: str, places: int) -> None:
        """Keep a lane narrow: a probe after a parking, the inbox."""
        with self._ready:
            lane = self._lane(lane_id)
            lane.places = lane.widest = places

    def usual_places(self, lane_id: str) -> None:
        """As many places as a fresh lane has."""
        with self._ready:
            lane = self._lane(lane_id)
            lane.places, lane.widest = self._places, self._widest
            lane.seconds.clear()
            self._staff()

    def take_back(self, lane_id: str) -> list[T]:
        """Empty a lane of what has not begun."""
        with self._ready:
            lane = self._lane(lane_id)
            items, lane.items = lane.items, []
            return [item for _, _, item in sorted(items, key=lambda entry: entry[:2])]

    # -- working -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._ready:
            self._starting -= 1
        while True:
            taken = self._next()
            if taken is None:
                return
            lane, item = taken
            began = monotonic()
            try:
                self._work(item)
            except Exception:  # noqa: BLE001 - a thread outlives whatever one item does
                logger.exception("a sender's item failed")
            self._done(lane, monotonic() - began)

    def _next(self) -> tuple[_Lane[T], T] | None:
        with self._ready:
            while True:
                if self._closing:
                    break
                lane = self._choose()
                if lane is not None:
                    lane.busy += 1
                    return lane, heapq.heappop(lane.items)[2]
                self._idle += 1
                woken = self._ready.wait(_IDLE_SECONDS)
                self._idle -= 1
                self._called = max(0, self._called - 1) if woken else self._called
                if not woken and len(self._threads) > self._places:
                    break
            self._threads.discard(threading.current_thread())
            return None

    def _choose(self) -> _Lane[T] | None:
        """The lane with the most urgent item that has a place; among equals the least busy."""
        best: _Lane[T] | None = None
        for lane in self._lanes.values():
            if lane.wanted() and (best is None or _turn(lane) < _turn(best)):
                best = lane
        return best

    def _done(self, lane: _Lane[T], seconds: float) -> None:
        with self._ready:
            lane.busy -= 1
            lane.seconds.append(seconds)
            before = lane.places
            lane.grow(self._most)
            if lane.places != before:
                self._staff()
            low = lane.ran_low()
        if low and self._on_low is not None:
            self._on_low()

    def close(self, seconds: float) -> None:
        """Begin nothing more, and wait a while for what has begun."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
            threads = list(self._threads)
        until = monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, until - monotonic()))


def _turn(lane: _Lane[T]) -> tuple[int, int]:
    return lane.items[0][0], lane.busy
