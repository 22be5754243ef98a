"""The paper one shift leaves to the next, and the changes of shift that were not signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from huiying.domain.handover import (
    Change,
    Duty,
    Facts,
    Matter,
    Running,
    Shift,
    Signed,
    Unanswered,
    digest,
    snapshot,
    turns_after,
    unsigned_changes,
)
from huiying.domain.kinds import ClockState
from tests.builders import at, hours

NOW = at("2026-11-22 18:00")
MATTER = Matter("2026-0002", "示例", "突发事件", "重大", "处置回应中", "示例市水务局")


def clock(name: str, due: str, state: ClockState = ClockState.RUNNING, no: str = "2026-0002") -> Running:
    return Running(no, name, at(due), state)


def test_a_snapshot_lists_what_is_open_most_urgent_first():
    facts = Facts(
        "示例市政务公开办",
        matters=(MATTER, replace(MATTER, no="2026-0001")),
        clocks=(clock("甲", "2026-11-23 09:00"), clock("乙", "2026-11-22 17:00"), clock("丙", "2026-11-22 19:05")),
        unanswered=(Unanswered("HY-2", "2026-0002", "张一", "值班员", NOW - hours(1)),),
    )
    made = snapshot(facts, "夜间注意水位", NOW)
    assert [matter["no"] for matter in made["matters"]] == ["2026-0001", "2026-0002"]
    assert [(c["name"], c["state_zh"], c["left"]) for c in made["clocks"]] == [
        ("乙", "已超时", "超 1 小时 00 分"),
        ("丙", "计时中", "剩 1 小时 05 分"),
        ("甲", "计时中", "剩 15 小时 00 分"),
    ]
    assert made["at"] == "2026-11-22T18:00:00+08:00"
    assert made["unanswered"][0]["sent_at"] == "2026-11-22T17:00:00+08:00"
    assert made["notes"] == "夜间注意水位"


@pytest.mark.parametrize(
    ("until", "found"),
    [
        (None, ["丙", "季度统计"]),  # twelve hours
        (NOW + hours(16), ["丙", "季度统计", "甲"]),
        (NOW - hours(1), ["丙", "季度统计"]),  # a shift that is over says nothing
    ],
)
def test_what_falls_due_in_the_next_shift_is_in_order_and_without_what_is_over(until: Any, found: list[str]):
    facts = Facts(
        "办",
        clocks=(clock("甲", "2026-11-23 09:00"), clock("乙", "2026-11-22 17:00"), clock("丙", "2026-11-22 19:05")),
        duties=(Duty("季度统计", at("2026-11-23 00:00")),),
        until=until,
    )
    assert [one["what"] for one in snapshot(facts, "", NOW)["falling_due"]] == found


def test_the_hash_is_of_the_content_and_of_all_of_it():
    first, again = snapshot(Facts("办", matters=(MATTER,)), "", NOW), snapshot(Facts("办", matters=(MATTER,)), "", NOW)
    assert digest(first) == digest(again)
    assert digest(first) != digest(snapshot(Facts("办", matters=(MATTER,)), "备注", NOW))
    assert digest(first) != digest(snapshot(Facts("办"), "", NOW))
    assert digest(first) != digest(snapshot(Facts("办", matters=(MATTER,)), "", NOW + timedelta(seconds=1)))


# -- changes of shift --------------------------------------------------------------------------------------------------

DAY = Shift("office", "duty_officer", "zhang", at("2026-11-22 08:00"), NOW)
NIGHT = Shift("office", "duty_officer", "li", NOW, at("2026-11-23 08:00"))
OPEN = Change("office", "duty_officer", NOW, "zhang", ("li",), offered=False)


@pytest.mark.parametrize(
    ("minutes", "found"), [(-31, []), (-30, [OPEN]), (0, [OPEN]), (24 * 60 - 1, [OPEN]), (24 * 60, [])]
)
def test_a_change_is_shown_from_half_an_hour_ahead_for_a_day(minutes: int, found: list[Change]):
    assert unsigned_changes([DAY, NIGHT], [], NOW + timedelta(minutes=minutes)) == found


def test_one_signature_is_not_enough_and_two_are():
    offered = Signed("office", "zhang", NOW - timedelta(minutes=10), taken=False)
    assert unsigned_changes([DAY, NIGHT], [offered], NOW) == [replace(OPEN, offered=True)]
    assert unsigned_changes([DAY, NIGHT], [replace(offered, taken=True)], NOW) == []


def test_the_hand_over_of_another_day_or_unit_or_person_does_not_count():
    taken = Signed("office", "zhang", NOW, taken=True)
    for other in (
        replace(taken, signed_out_at=NOW - hours(24)),
        replace(taken, unit_id="water"),
        replace(taken, from_person="li"),
    ):
        assert unsigned_changes([DAY, NIGHT], [other], NOW) == [OPEN]


@pytest.mark.parametrize(
    "shifts",
    [
        [DAY],  # nobody follows
        [DAY, replace(NIGHT, person_id="zhang")],  # the same person goes on
        [DAY, replace(NIGHT, unit_id="water")],
        [DAY, replace(NIGHT, role="liaison")],
        [DAY, replace(NIGHT, starts_at=NOW + hours(2))],
        [replace(DAY, role="liaison"), replace(NIGHT, role="liaison")],  # a duty that hands nothing over
    ],
)
def test_where_nobody_takes_over_nothing_is_missing(shifts: list[Shift]):
    assert unsigned_changes(shifts, [], NOW) == []


OFFICER, LEADER_ROLE = "duty_officer", "shift_leader"


def turn(person: str, begin: str, end: str, role: str = OFFICER, unit: str = "office") -> Shift:
    return Shift(unit, role, person, at(f"2026-11-{begin}"), at(f"2026-11-{end}"))


ROSTER = (
    turn("zhang", "22 08:30", "22 20:30"),
    turn("wang", "22 08:30", "22 20:30", LEADER_ROLE),
    turn("li", "22 20:30", "23 08:30"),
    turn("zhao", "22 20:30", "23 08:30", LEADER_ROLE),
    turn("sun", "22 20:30", "23 08:30", unit="water"),
    turn("zhang", "23 08:30", "23 20:30"),
)


@pytest.mark.parametrize(
    ("person", "now", "follow"),
    [
        ("zhang", "22 13:00", ["li"]),  # in the middle of the turn: not the leader who is on duty with them
        ("zhang", "22 20:00", ["li"]),
        ("zhang", "22 21:00", ["li"]),  # somewhat late
        ("zhang", "23 00:00", []),  # long over, and the next one has not begun
        ("wang", "22 13:00", ["zhao"]),
        ("li", "22 13:00", []),  # not on duty yet
        ("zhao", "23 07:00", []),  # nobody is entered after them
        ("nobody", "22 13:00", []),
    ],
)
def test_a_turn_is_handed_over_to_the_same_duty_from_its_end_on(person: str, now: str, follow: list[str]):
    found = turns_after(ROSTER, "office", person, at(f"2026-11-{now}"))
    assert [shift.person_id for shift in found] == follow


def test_nobody_follows_where_the_same_person_goes_on():
    again = (*ROSTER, turn("zhang", "22 20:30", "22 23:30"))
    assert turns_after(again, "office", "zhang", at("2026-11-22 13:00")) == []
