"""What becomes of a due action, of a backlog, of an attempt, of a queue at a robot: all pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest

from huiying.domain.backlog import consolidate, is_stale
from huiying.domain.bundle import Waiting, Window, depart
from huiying.domain.expansion import (
    Ack,
    Action,
    ClockView,
    Decision,
    IncidentView,
    Scene,
    Step,
    broken,
    decide,
    overtaken,
    speak_for,
)
from huiying.domain.kinds import ActionState, Audience, Band, ChannelKind, ClockState, EventKind, IncidentState, Role
from huiying.domain.outcome import Accepted, Partial, Permanent, RateLimited, Transient
from huiying.domain.plan import AFTER_DUE
from huiying.domain.retry import (
    BREAKER_AFTER,
    BREAKER_LONGEST,
    BROKEN,
    MOST_ATTEMPTS,
    MOST_BROKEN_ATTEMPTS,
    Breaker,
    after_attempt,
    judge,
    pause,
)
from huiying.domain.roster import Duty, Roster
from huiying.domain.routes import Reach, Way, Ways
from tests.builders import at, hours

DUE = at("2026-03-10 13:00")
INBOX = Way("inbox", ChannelKind.INBOX, Audience.PERSONAL, rank=0)
ROBOT = Way("robot", ChannelKind.DINGTALK, Audience.GROUP)
HOOK = Way("hook", ChannelKind.WEBHOOK, Audience.PERSONAL)
ROSTER = Roster(
    (Duty("officer", Role.DUTY_OFFICER, "office"), Duty("principal", Role.PRINCIPAL, "office")), (), ("admin",)
)
INCIDENT = IncidentView(1, "2026-0001", IncidentState.GRADED, drill=False, chain=("office",))
CLOCK = ClockView(7, ClockState.RUNNING, DUE)
WAYS = Ways((INBOX, HOOK, ROBOT), {"officer": Reach(), "principal": Reach()})


def scene(now: datetime, **more: Any) -> Scene:
    given = {"roster": ROSTER, "ways": WAYS, "incident": INCIDENT, "clock": CLOCK, **more}
    return Scene(now=now, **given)


def action(due_at: datetime, kind: EventKind = EventKind.REMINDER, number: int = 1, **step: Any) -> Action:
    band = step.pop("band", Band.OVERDUE if kind is EventKind.BREACHED else Band.NOTICE)
    told = {"to": (Role.DUTY_OFFICER,), "audience": frozenset({Audience.PERSONAL}), "of": "half", **step}
    return Action(number, kind, 1, 7, told["of"], 1, 0, due_at, Step(band=band, **told))


HALF = action(DUE - hours(2.5))
BREACH = action(DUE + AFTER_DUE, EventKind.BREACHED, 9, to=(Role.PRINCIPAL,), of="breach")


def people(decision: Decision) -> set[str]:
    return {route.person_id for route in decision.routes}


# -- one action --------------------------------------------------------------------------------------------------------


def test_a_due_reminder_reaches_whoever_is_on_duty_now():
    decision = decide(HALF, scene(HALF.due_at))
    assert decision.state is ActionState.DONE
    assert people(decision) == {"officer"}
    assert not decision.breach


@pytest.mark.parametrize("state", [state for state in ClockState if not state.is_open])
def test_a_clock_that_is_no_longer_open_needs_no_reminder(state: ClockState):
    decision = decide(HALF, scene(HALF.due_at, clock=replace(CLOCK, state=state)))
    assert (decision.state, decision.reason) == (ActionState.SUPERSEDED, f"clock_{state}")


@pytest.mark.parametrize("state", [state for state in IncidentState if not state.is_open])
def test_an_incident_that_is_over_needs_no_reminder(state: IncidentState):
    assert decide(HALF, scene(HALF.due_at, incident=replace(INCIDENT, state=state))).reason == f"incident_{state}"


def test_what_has_happened_is_told_even_when_the_incident_is_over():
    closed = action(DUE, EventKind.CLOSED, band=Band.INFO)
    over = replace(INCIDENT, state=IncidentState.CLOSED)
    assert decide(closed, scene(DUE, incident=over)).state is ActionState.DONE


def ack(step: str = "half", clock: int | None = 7, incident: int = 1, seconds: int = 3600) -> Ack:
    return Ack(incident, clock, step, HALF.due_at + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("given", "stops"),
    [
        (ack(), True),
        (ack(clock=None), False),  # of the whole incident: written for each clock it named, not for later ones
        (ack(step="other"), False),
        (ack(clock=8), False),
        (ack(incident=2), False),
        (ack(seconds=0), False),  # expires at this very moment
        (ack(seconds=1), True),
    ],
)
def test_an_acknowledgement_stops_exactly_the_step_it_was_given_for(given: Ack, stops: bool):
    asking = replace(HALF, step=replace(HALF.step, unacknowledged_only=True))
    assert (decide(asking, scene(HALF.due_at, acks=(given,))).reason == "acknowledged") is stops
    assert decide(HALF, scene(HALF.due_at, acks=(given,))).state is ActionState.DONE  # when: always


def test_a_breach_is_recorded_by_its_action_and_only_while_nobody_has():
    assert decide(BREACH, scene(BREACH.due_at)).breach
    noticed = replace(CLOCK, state=ClockState.BREACHED)
    again = decide(BREACH, scene(BREACH.due_at, clock=noticed))
    assert (again.breach, again.state) == (False, ActionState.DONE)


def test_exactly_at_due_nothing_is_breached():
    early = replace(BREACH, due_at=DUE)
    assert decide(early, scene(DUE)).reason == "due_moved"


def test_a_breach_that_is_overtaken_is_recorded_all_the_same():
    decision = decide(BREACH, scene(DUE + hours(1)), later=action(DUE + hours(1), number=10, band=Band.OVERDUE))
    assert (decision.state, decision.breach) == (ActionState.SUPERSEDED, True)


def test_a_warning_after_the_due_time_has_come_too_late():
    assert decide(HALF, scene(DUE + timedelta(seconds=1))).reason == "past_due"


def test_of_several_steps_due_together_only_the_last_speaks_for_all():
    ten = action(DUE - timedelta(minutes=10), EventKind.ESCALATION, 5, to=(Role.PRINCIPAL,), of="left_10m")
    now = DUE - timedelta(minutes=9)
    assert overtaken([ten, HALF]) == {HALF.id: ten}
    speaker = speak_for(ten, [HALF], scene(now))
    assert speaker.step.to == (Role.PRINCIPAL, Role.DUTY_OFFICER)
    assert people(decide(speaker, scene(now))) == {"officer", "principal"}


def test_whoever_has_acknowledged_is_not_spoken_for():
    asking = replace(HALF, step=replace(HALF.step, unacknowledged_only=True))
    ten = action(DUE - timedelta(minutes=10), number=5, to=(Role.PRINCIPAL,), of="left_10m")
    speaker = speak_for(ten, [asking], scene(ten.due_at, acks=(Ack(1, 7, "half", DUE),)))
    assert speaker.step.to == (Role.PRINCIPAL,)


def test_other_clocks_and_other_events_overtake_nothing():
    other = replace(action(DUE, number=3), clock_id=8)
    told = replace(action(DUE, EventKind.CHANGED, 4), clock_id=None)
    assert overtaken([HALF, other, told]) == {}


def test_a_daily_step_writes_its_successor_and_skips_what_was_slept_through():
    daily = action(DUE + hours(20), EventKind.ESCALATION, band=Band.OVERDUE, daily_at=(time(9), time(15)))
    late = replace(CLOCK, state=ClockState.BREACHED)
    now = at("2026-03-13 10:00")
    assert decide(daily, scene(now, clock=late)).next_at == at("2026-03-13 15:00")
    assert decide(daily, scene(now, clock=replace(CLOCK, state=ClockState.SATISFIED_LATE))).next_at is None


def test_what_cannot_be_read_is_told_to_the_administrators():
    with pytest.raises(ValueError):
        Step.read({"to": ["nobody"], "band": "notice"})
    decision = broken(HALF, scene(HALF.due_at))
    assert people(decision) == {"admin"}
    assert decision.state is ActionState.DONE


def test_a_step_is_read_as_it_was_frozen():
    step = Step.read(
        {
            "to": ["principal"],
            "audience": ["phone"],
            "when": "unacknowledged",
            "of": "x",
            "band": "warning",
            "daily_at": ["09:00"],
        }
    )
    assert step == Step((Role.PRINCIPAL,), (), frozenset({Audience.PHONE}), True, "x", Band.WARNING, (time(9),))


# -- a backlog ---------------------------------------------------------------------------------------------------------

STALE = timedelta(minutes=10)


def test_ten_minutes_are_not_stale_and_a_second_more_is():
    assert not is_stale(HALF, HALF.due_at + STALE, STALE)
    assert is_stale(HALF, HALF.due_at + STALE + timedelta(seconds=1), STALE)
    assert not is_stale(replace(HALF, kind=EventKind.DAILY_BRIEF), DUE + hours(5), STALE)


def test_a_backlog_gives_one_page_per_recipient_and_channel():
    now = DUE + hours(3)
    hourly = action(DUE + hours(1), EventKind.ESCALATION, 4, to=(Role.DUTY_OFFICER, Role.PRINCIPAL), band=Band.OVERDUE)
    result = consolidate([HALF, BREACH, hourly], lambda _action: scene(now))
    assert sorted((page.person_id, page.channel_id) for page in result.pages) == [
        ("officer", "hook"), ("officer", "inbox"), ("principal", "hook"), ("principal", "inbox"),
    ]  # fmt: skip
    assert all(list(page.clocks) == [7] and page.band is Band.OVERDUE for page in result.pages)
    assert [d.state for d in result.decisions] == [ActionState.BUNDLED] * 3
    assert [d.breach for d in result.decisions] == [False, True, False]


def test_what_is_over_by_now_is_superseded_and_not_told():
    result = consolidate([HALF], lambda _action: scene(DUE, clock=replace(CLOCK, state=ClockState.SATISFIED)))
    assert result.pages == ()
    assert result.decisions[0].state is ActionState.SUPERSEDED


# -- attempts ----------------------------------------------------------------------------------------------------------

NOW = at("2026-03-10 12:00")


def test_the_pause_doubles_up_to_a_minute_with_full_jitter():
    assert [pause(n, 1.0) for n in (1, 2, 3, 4, 5, 6, 50)] == [2, 4, 8, 16, 32, 60, 60]
    assert pause(5, 0.0) == 0
    assert pause(5, 0.5) == 16


@pytest.mark.parametrize(
    ("outcome", "attempts", "state", "name"),
    [
        (Accepted("x"), 1, "sent", "accepted"),
        (Partial(("a",)), 1, "partial", "partial"),
        (Permanent("no"), 1, "failed", "permanent"),
        (Transient("no"), 1, "pending", "transient"),
        (Transient("no", ambiguous=True), 1, "pending", "ambiguous"),
        (Transient("no"), MOST_ATTEMPTS, "dead", "transient"),
        (Transient("no", code=BROKEN), MOST_BROKEN_ATTEMPTS - 1, "pending", "transient"),
        (Transient("no", code=BROKEN), MOST_BROKEN_ATTEMPTS, "dead", "transient"),
        (RateLimited(NOW + timedelta(seconds=5)), 1, "pending", "rate_limited"),
        (RateLimited(NOW + timedelta(minutes=10)), 1, "failed", "rate_limited"),
        (RateLimited(NOW + timedelta(seconds=5)), MOST_ATTEMPTS, "dead", "rate_limited"),
    ],
)
def test_every_outcome_has_one_verdict(outcome: Any, attempts: int, state: str, name: str):
    verdict = judge(outcome, attempts, NOW, 0.5)
    assert (verdict.state, verdict.outcome) == (state, name)
    assert verdict.fell_through is (state in {"failed", "dead"})


def test_an_ambiguous_attempt_may_have_arrived():
    assert judge(Transient("", ambiguous=True), 1, NOW, 0.5).may_have_arrived
    assert not judge(Transient(""), 1, NOW, 0.5).may_have_arrived


@pytest.mark.parametrize(("asked", "waits"), [(0.0, 1.0), (20.0, 20.0), (86400.0, 600.0)])
def test_retry_after_is_honoured_and_capped(asked: float, waits: float):
    again = judge(Transient("", retry_after=asked), 1, NOW, 0.5).again_at
    assert again == NOW + timedelta(seconds=waits)


def test_the_breaker_opens_after_three_failures_and_doubles_to_ten_minutes():
    breaker, now, waits = Breaker(), NOW, []
    for _ in range(9):
        breaker = after_attempt(breaker, Transient("x"), now, now)
        waits.append(int((breaker.parked_until - now).total_seconds()) if breaker.parked_until else 0)
        now = breaker.parked_until or now
    assert waits == [0, 0, 30, 60, 120, 240, 480, 600, 600]
    assert after_attempt(breaker, Accepted(), now, now) == Breaker()


def test_attempts_begun_before_the_parking_say_nothing_new():
    parked = Breaker(3, NOW + timedelta(seconds=30))
    assert after_attempt(parked, Transient("x"), NOW, NOW + timedelta(seconds=5)) == parked


def test_a_rate_limit_parks_at_once_and_never_for_longer_than_ten_minutes():
    breaker = after_attempt(Breaker(), RateLimited(NOW + hours(9)), NOW, NOW)
    assert breaker.parked_until == NOW + BREAKER_LONGEST
    assert breaker.failures >= BREAKER_AFTER


@pytest.mark.parametrize("outcome", [Permanent("gone"), Transient("ours", code=BROKEN)])
def test_one_bad_message_parks_no_channel(outcome: Any):
    assert after_attempt(Breaker(2), outcome, NOW, NOW) == Breaker(2)


# -- a robot's window --------------------------------------------------------------------------------------------------

WINDOWS = (Window(18, timedelta(minutes=1), reserve=4),)


def queue(count: int, urgency: int = 2, start: int = 0) -> list[Waiting]:
    return [Waiting(f"N-{start + n:04d}", urgency, DUE, NOW - timedelta(seconds=10)) for n in range(count)]


def test_a_short_queue_leaves_one_by_one():
    assert [len(load) for load in depart(queue(14), [], WINDOWS, NOW).loads] == [1] * 14


def test_a_long_queue_leaves_in_bundles_with_what_is_overdue_first():
    waiting = queue(290) + queue(10, urgency=0, start=500)
    plan = depart(waiting, [], WINDOWS, NOW)
    assert len(plan.loads) == 12
    assert all(len(load) <= 25 for load in plan.loads)
    assert set(plan.loads[0][:10]) == {f"N-{500 + n:04d}" for n in range(10)}
    assert sum(map(len, plan.loads)) == 300
    assert plan.again_at is None


def test_the_last_places_are_kept_for_what_is_overdue():
    sent = [NOW - timedelta(seconds=20)] * 14
    assert depart(queue(1), sent, WINDOWS, NOW).loads == ()
    assert len(depart(queue(1, urgency=0), sent, WINDOWS, NOW).loads) == 1


def test_a_full_window_says_when_it_opens():
    sent = [NOW - timedelta(seconds=n) for n in range(18)]
    plan = depart(queue(3, urgency=0), sent, WINDOWS, NOW)
    assert (plan.loads, plan.again_at) == ((), NOW - timedelta(seconds=17) + timedelta(minutes=1))


def test_places_used_in_a_future_that_was_set_back_do_not_count():
    sent = [NOW + hours(2)] * 18
    assert len(depart(queue(1), sent, WINDOWS, NOW).loads) == 1


def test_reminders_gather_when_the_window_is_half_full_and_overdue_ones_do_not():
    sent = [NOW - timedelta(seconds=20)] * 9
    young = [replace(item, since=NOW - timedelta(seconds=1)) for item in queue(2)]
    assert depart(young, sent, WINDOWS, NOW).loads == ()
    assert depart(young, sent, WINDOWS, NOW).again_at == NOW + timedelta(seconds=2)
    assert depart(young, sent, WINDOWS, NOW + timedelta(seconds=2)).loads == (("N-0000", "N-0001"),)
    assert len(depart([replace(young[0], urgency=0)], sent, WINDOWS, NOW).loads) == 1


def test_a_carrier_travels_with_its_own_and_nobody_else():
    carrier = replace(queue(1)[0], notice_no="C", is_carrier=True)
    plan = depart([*queue(30), carrier], [], WINDOWS, NOW)
    assert plan.loads[0] == ("C",)


@pytest.mark.parametrize("count", [1, 17, 18, 19, 25, 26, 300, 500])
def test_no_message_is_lost_or_sent_twice_whatever_the_queue(count: int):
    sent: list[datetime] = []
    waiting, now, seen = queue(count), NOW, []
    for _ in range(1000):
        plan = depart(waiting, sent, WINDOWS, now)
        sent += [now] * len(plan.loads)
        seen += [number for load in plan.loads for number in load]
        waiting = [item for item in waiting if item.notice_no not in set(seen)]
        assert sum(1 for moment in sent if moment > now - timedelta(minutes=1)) <= 18
        if not waiting:
            break
        assert plan.again_at is not None
        assert plan.again_at > now
        now = plan.again_at
    assert sorted(seen) == sorted({item.notice_no for item in queue(count)})
