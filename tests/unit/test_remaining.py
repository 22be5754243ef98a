"""Remaining time and bands: the vectors that the server and the browser share."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from huiying.domain.remaining import Urgency, human_left, urgency
from huiying.service.desk import left_share
from huiying.web.pages.shown_times import clock_time, epoch, when, when_long

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "human_left.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["seconds"]))
def test_the_shared_vectors_hold(vector):
    seconds = vector["seconds"]
    assert human_left(seconds) == vector["zh"]
    assert human_left(seconds, "en") == vector["en"]
    assert urgency(seconds).value == vector["urgency"]


def test_the_vectors_stand_on_both_sides_of_every_boundary():
    seconds = {vector["seconds"] for vector in VECTORS}
    assert {-1, 0, 59, 60, 3599, 3600, 14399, 14400, 86399, 86400} <= seconds
    assert {vector["urgency"] for vector in VECTORS} == {word.value for word in Urgency}


def test_every_band_has_a_sign_of_its_own():
    assert len({word.icon for word in Urgency}) == len(Urgency)


@pytest.mark.parametrize(("passed", "share"), [(0, 100), (1, 80), (4, 20), (5, 0), (9, 0)])
def test_the_bar_shows_what_is_left_of_the_limit(passed, share):
    start = datetime(2026, 11, 22, tzinfo=UTC)
    assert left_share(start, start + timedelta(hours=5), start + timedelta(hours=passed)) == share


def test_instants_are_shown_in_beijing():
    at = datetime(2026, 11, 22, 16, 5, 9, tzinfo=UTC)
    assert (when(at, at), clock_time(at)) == ("11-23 00:05", "00:05:09")
    assert when_long(at) == "2026年11月23日 星期一 00:05"
    assert when_long(at, "en") == "Mon 2026-11-23 00:05"
    assert when(at.isoformat(), at) == "11-23 00:05"
    assert epoch(at) == int(at.timestamp() * 1000)
    assert (when(None, at), epoch(None)) == ("", 0)


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (datetime(2026, 12, 31, 15, 59, tzinfo=UTC), "2027-01-01 04:00"),
        (datetime(2026, 12, 31, 16, 0, tzinfo=UTC), "01-01 04:00"),  # in Beijing the new year has begun
        (datetime(2028, 1, 1, tzinfo=UTC), "2027-01-01 04:00"),
    ],
)
def test_another_year_than_the_present_one_is_said(now, shown):
    assert when("2027-01-01T04:00:00+08:00", now) == shown
