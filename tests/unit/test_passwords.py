"""What a password must be like, and what a session still needs: pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiying.domain.access import AccessRole
from huiying.domain.errors import InvalidInput
from huiying.domain.passwords import check, fault
from huiying.domain.signing import (
    IDLE,
    LONGEST,
    SHOWN_FOR,
    Stage,
    Standing,
    ends_at,
    idle_too_long,
    next_stage,
    obliged,
    password_outdated,
    why_locked,
)

NOW = datetime(2025, 6, 2, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "password",
    ["Lake-7-lantern", "三江Shuidian9号", "aB3 aB3 xY", "correct Horse 9 battery", "x" + "Qz7!" * 5, "A1-" + "bz" * 50],
)
def test_good_passwords(password: str):
    assert fault(password, "zhang", "张一") == ""


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("Ab3-efghi", "10 至 128"),
        ("Ab3-" + "efgh" * 32, "10 至 128"),
        ("lakelantern", "三类"),
        ("lakelantern7", "三类"),
        ("12345678-90", "三类"),
        ("Lake-7\tlantern", "控制字符"),
        ("Lake-7-Zhang-x", "编号或姓名"),
        ("Lake-7-张一-lantern", "编号或姓名"),
        ("P@ssw0rd2026", "容易被猜中"),
        ("Admin@2026!!", "容易被猜中"),
        ("Huiying-2026", "容易被猜中"),
        ("Ab-12345678", "容易被猜中"),
        ("Xy-qwertyu9", "容易被猜中"),
        ("Xy-987654321", "容易被猜中"),
        ("1qaz@WSX3edc", "容易被猜中"),
        ("2026@Dmin-2026", "容易被猜中"),
        ("1qaz2WSX-9x", "容易被猜中"),
        ("Lake-7777-x", "容易被猜中"),
    ],
)
def test_poor_passwords(password: str, words: str):
    found = fault(password, "zhang", "张一")
    assert words in found


def test_a_refused_password_is_not_repeated():
    with pytest.raises(InvalidInput) as refused:
        check("P@ssw0rd2026", "zhang", "张一")
    assert "P@ssw0rd" not in str(refused.value)


@given(st.text(max_size=200))
def test_every_text_gets_an_answer(password: str):
    assert isinstance(fault(password, "zhang", "张一"), str)


@pytest.mark.parametrize(
    ("enrolled", "second_done", "must_change", "is_obliged", "stage"),
    [
        (False, False, False, False, Stage.OPEN),
        (False, False, False, True, Stage.ENROL),
        (False, False, True, False, Stage.PASSWORD),
        (False, False, True, True, Stage.PASSWORD),
        (True, False, False, False, Stage.SECOND_FACTOR),
        (True, False, True, True, Stage.SECOND_FACTOR),
        (True, True, True, True, Stage.PASSWORD),
        (True, True, False, True, Stage.OPEN),
    ],
)
def test_the_next_step_of_signing_in(enrolled, second_done, must_change, is_obliged, stage):
    assert next_stage(Standing(enrolled, second_done, must_change, is_obliged)) is stage


@pytest.mark.parametrize("role", AccessRole)
def test_who_needs_a_second_factor(role: AccessRole):
    needs = role.value in {"approver", "auditor", "administrator"}
    assert obliged([role], everybody=False) is needs
    assert obliged([role, AccessRole.DUTY], everybody=False) is needs
    assert obliged([role], everybody=True)
    assert not obliged([], everybody=False)


def test_idle_and_outdated_to_the_microsecond():
    tick = timedelta(microseconds=1)
    assert not idle_too_long(NOW, NOW + IDLE - tick)
    assert idle_too_long(NOW, NOW + IDLE)


def test_a_desk_locks_when_it_is_idle_and_at_the_end_of_a_shift_and_is_over_a_day_later():
    tick = timedelta(microseconds=1)
    assert why_locked(NOW, NOW, NOW + IDLE - tick) == ""
    assert why_locked(NOW, NOW, NOW + IDLE) == "idle"
    end = NOW + LONGEST
    assert why_locked(end - tick, NOW, end - tick) == ""
    assert why_locked(end, NOW, end) == "limit"
    assert ends_at(NOW) == end + SHOWN_FOR
    ninety = timedelta(days=90)
    assert not password_outdated(NOW, NOW + ninety - tick, 90)
    assert password_outdated(NOW, NOW + ninety, 90)
    assert not password_outdated(NOW, NOW + ninety, 0)
    assert not password_outdated(None, NOW, 90)
