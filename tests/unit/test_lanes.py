"""Sender threads: fairness between channels, and more places for one that is merely slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from huiying.service.lanes import Lanes
from tests.engine_fixtures import until


class Work:
    """Items that wait for an event, sleep or are done at once; what was done is kept in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gate = threading.Event()
        self.seconds = 0.0

    def __call__(self, item: str) -> None:
        if item.startswith("hang"):
            self.gate.wait(10)
        elif item.startswith("slow"):
            time.sleep(self.seconds)
        elif item.startswith("bad"):
            raise RuntimeError(item)
        self.done.append(item)


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.gate.set()


def fill(lanes: Lanes[str], lane: str, count: int, name: str = "quick", urgency: int = 2) -> None:
    lanes.put((lane, urgency, f"{name}-{number}") for number in range(count))


def test_a_lane_that_hangs_in_all_its_places_holds_up_no_other(work: Work):
    lanes: Lanes[str] = Lanes(work, places=4, widest=4)
    fill(lanes, "hanging", 50, "hang")
    until(lambda: lanes.busy() == 4)
    fill(lanes, "fine", 50)
    until(lambda: len(work.done) == 50)
    assert lanes.busy() == 4
    assert lanes.waiting() == 46
    work.gate.set()
    until(lambda: len(work.done) == 100)
    lanes.close(1)


def test_the_most_urgent_goes_first_and_equals_in_order(work: Work):
    lanes: Lanes[str] = Lanes(work, places=1, widest=1)
    fill(lanes, "one", 1, "hang")
    until(lambda: lanes.busy() == 1)
    fill(lanes, "one", 3, "reminder", 2)
    fill(lanes, "one", 2, "overdue", 0)
    work.gate.set()
    until(lambda: len(work.done) == 6)
    assert work.done[1:] == ["overdue-0", "overdue-1", "reminder-0", "reminder-1", "reminder-2"]
    lanes.close(1)


def test_a_slow_lane_gets_more_places_and_a_quick_one_does_not(work: Work):
    work.seconds = 0.12
    lanes: Lanes[str] = Lanes(work, places=2, widest=64, most_threads=80)
    fill(lanes, "slow", 100, "slow")
    until(lambda: lanes.busy() > 16)
    fill(lanes, "quick", 200)
    until(lambda: len(work.done) == 300)
    assert lanes._lanes["slow"].places > 16
    assert lanes._lanes["quick"].places == 2
    lanes.close(1)


def test_no_more_threads_than_allowed(work: Work):
    lanes: Lanes[str] = Lanes(work, places=8, widest=8, most_threads=3)
    fill(lanes, "a", 20, "hang")
    until(lambda: lanes.busy() == 3)
    time.sleep(0.05)
    assert lanes.threads == 3
    work.gate.set()
    lanes.close(1)


def test_one_bad_item_ends_no_thread(work: Work):
    lanes: Lanes[str] = Lanes(work, places=1, widest=1)
    fill(lanes, "one", 3, "bad")
    fill(lanes, "one", 2)
    until(lambda: len(work.done) == 2)
    # Work that comes in the moment between two items of a thread may call a second one; three bad items would have made four.
    assert 1 <= lanes.threads <= 2
    lanes.close(1)


def test_what_has_not_begun_can_be_taken_back_in_its_order(work: Work):
    lanes: Lanes[str] = Lanes(work, places=1, widest=1)
    fill(lanes, "one", 1, "hang")
    until(lambda: lanes.busy() == 1)
    fill(lanes, "one", 2, "late", 2)
    fill(lanes, "one", 1, "first", 0)
    assert lanes.take_back("one") == ["first-0", "late-0", "late-1"]
    assert lanes.waiting() == 0
    work.gate.set()
    lanes.close(1)


def test_a_lane_takes_no_more_than_it_can_send_soon(work: Work):
    work.seconds = 0.05
    lanes: Lanes[str] = Lanes(work, places=1, widest=1)
    fill(lanes, "slow", 10, "slow")
    until(lambda: len(work.done) == 10)
    assert lanes.room("slow") <= 4 / 0.05
    fill(lanes, "slow", 200, "hang")
    assert lanes.room("slow") == 0
    assert lanes.full() == ["slow"]
    lanes.take_back("slow")
    work.gate.set()
    lanes.close(1)


def test_running_low_is_said_once_for_a_long_queue_and_never_for_a_short_one(work: Work):
    said: list[int] = []
    lanes: Lanes[str] = Lanes(work, places=2, widest=2, on_low=lambda: said.append(1))
    fill(lanes, "short", 3)
    until(lambda: len(work.done) == 3)
    assert said == []
    fill(lanes, "long", 40)
    until(lambda: len(work.done) == 43 and said)
    assert said == [1]
    lanes.close(1)


def test_a_narrow_lane_sends_one_at_a_time_until_it_is_given_back_its_places(work: Work):
    lanes: Lanes[str] = Lanes(work, places=4, widest=8)
    lanes.limit("probed", 1)
    fill(lanes, "probed", 6, "hang")
    until(lambda: lanes.busy() == 1)
    time.sleep(0.05)
    assert lanes.busy() == 1
    lanes.usual_places("probed")
    until(lambda: lanes.busy() == 4)
    work.gate.set()
    lanes.close(1)
