"""Whose turn it is to write, and how many outcomes may be unrecorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from huiying.domain.errors import Unavailable
from huiying.service.delivery import Attempt
from huiying.service.recorder import NARROW, Recorder
from huiying.service.turns import Turns
from tests.engine_fixtures import until


def some(number: int) -> Attempt:
    """An attempt as far as a recorder looks at it."""
    return cast("Attempt", number)


def test_who_records_passes_those_who_look():
    turns, order = Turns(), []
    waiting = threading.Barrier(3)

    def take(name: str, *, first: bool) -> None:
        waiting.wait(5)
        with turns.turn(first=first):
            order.append(name)
            time.sleep(0.01)

    with turns.turn():
        looks = threading.Thread(target=take, args=("look",), kwargs={"first": False})
        records = threading.Thread(target=take, args=("record",), kwargs={"first": True})
        looks.start()
        records.start()
        waiting.wait(5)
        time.sleep(0.1)  # both stand at the door now, in whatever order
    looks.join(5)
    records.join(5)
    assert order == ["record", "look"]


def test_a_turn_is_given_back_by_whoever_fails():
    turns = Turns()
    try:
        with turns.turn():
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with turns.turn(first=True):
        pass


class Store:
    """Takes attempts, unless it is away."""

    def __init__(self) -> None:
        self.away = threading.Event()
        self.taken: list[Any] = []
        self.bad: Any = None

    def record(self, attempts: Sequence[Attempt]) -> None:
        if self.away.is_set():
            raise Unavailable("数据库暂时不可用")
        if self.bad in attempts:
            raise ValueError(self.bad)
        self.taken += attempts


def test_nobody_sends_on_while_too_much_is_unrecorded_and_the_first_window_is_narrow():
    store = Store()
    store.away.set()
    recorder = Recorder(store.record)
    recorder.start()
    for number in range(NARROW):
        assert recorder.wait_for_room(0.0)
        recorder.put(some(number))
    assert not recorder.wait_for_room(0.05)
    store.away.clear()
    assert recorder.wait_for_room(5.0)
    until(lambda: len(store.taken) == NARROW, 5.0)
    for number in range(2 * NARROW - 1):
        recorder.put(some(number))
        assert recorder.wait_for_room(0.5)
    recorder.close(5.0)


def test_what_cannot_be_recorded_at_all_is_given_up_alone():
    store = Store()
    given_up: list[Any] = []
    store.bad = some(3)
    recorder = Recorder(store.record, given_up.extend)
    for number in range(8):
        recorder.put(some(number))
    recorder.start()
    until(lambda: not recorder.waiting, 5.0)
    recorder.close(5.0)
    assert given_up == [3]
    assert sorted(store.taken) == [0, 1, 2, 4, 5, 6, 7]
