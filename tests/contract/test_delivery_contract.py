"""The outbox on SQLite and on PostgreSQL: who takes what, who may record, and that nothing is lost or told twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from huiying.domain.kinds import ActionState, Band, EventKind, Role
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Partial, Permanent, RateLimited, Transient
from huiying.domain.retry import MOST_ATTEMPTS
from huiying.domain.routes import NOBODY_IN_PERSON
from huiying.service.breaches import sweep_breaches
from huiying.service.claims import Claimed, claim_delivery, claim_due
from huiying.service.delivery import Attempt, deciding_now, give_back, record_outcomes, send_claimed
from huiying.service.expand import Batch, expand_due, expand_one
from huiying.service.hand import PREFECT, Hand, new_hand
from huiying.service.outage import consolidate_backlog
from huiying.service.queries import unacknowledged
from huiying.store import outbox
from huiying.store import tables as t
from huiying.store.db import Store
from notifiers.contract import Address, ChannelConfig
from tests.builders import at
from tests.engine_fixtures import World, services_on
from tests.fakes.clock import FakeClock

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Script:
    """Notifiers whose answers a test writes down; everything sent is kept."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Notice, Address]] = []
        self.answers: dict[str, Callable[[], Outcome]] = {}

    def make(self, config: ChannelConfig) -> Any:
        script, channel_id = self, config.channel_id

        class Scripted:
            def send(self, notice: Notice, to: Address, now: Any, deadline_seconds: float) -> Outcome:
                script.sent.append((channel_id, notice, to))
                return script.answers.get(channel_id, Accepted)()

            def close(self) -> None: ...

        return Scripted()

    def on(self, channel_id: str) -> list[Notice]:
        return [notice for channel, notice, _ in self.sent if channel == channel_id]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def world(store: Store, clock: FakeClock, tmp_path: Path, script: Script) -> World:
    """An office with a group robot that anybody may use without limit, and a personal webhook."""
    clock.set(at("2026-03-10 10:00"))
    made = World(services_on(store, tmp_path, script.make)).furnish()
    made.webhook("group", "http://127.0.0.1:1/group")
    made.webhook("personal", "http://127.0.0.1:1/personal", "personal", rank=10)
    return made


def much(_channel_id: str) -> int:
    return 1000


def expand(world: World, hand: Hand | None = None, room: Callable[[str], int] = much, **more: Any) -> Batch:
    older = more.pop("older_than", timedelta(0))
    return expand_due(world.services, world.senders, hand or world.hand, room=room, older_than=older, **more)


def claim(world: World, hand: Hand | None = None, **more: Any) -> list[Claimed]:
    return claim_due(world.services, world.senders, hand or world.hand, room=much, most=1000, **more)


def send(world: World, claimed: list[Claimed], hand: Hand | None = None) -> list[Attempt]:
    attempts = [send_claimed(world.senders, item) for item in claimed]
    record_outcomes(world.services, hand or world.hand, attempts)
    return attempts


def work(world: World) -> None:
    """What an engine does in one look."""
    while batch := expand(world).claimed:
        send(world, batch)
    while claimed := claim(world):
        send(world, claimed)


def due(world: World, **more: Any) -> tuple[int, int, int]:
    """An incident, a clock with two hours left, and a reminder that is due now."""
    now = world.store.now()
    incident = world.incident()
    clock = world.clock(incident, now + 2 * HOUR)
    return incident, clock, world.action(now, incident, clock, **more)


def states(world: World) -> dict[tuple[str, str], str]:
    return {(row.person_id, row.channel_id): row.state for row in world.rows(t.delivery)}


def delivery(world: World, person: str, channel: str) -> Any:
    return world.one(t.delivery, t.delivery.c.person_id == person, t.delivery.c.channel_id == channel)


# -- expanding ---------------------------------------------------------------------------------------------------------


def test_an_action_is_expanded_once_and_whoever_comes_second_finds_nothing(world: World):
    _, _, action = due(world)
    runner = new_hand("n1", "runner", PREFECT)
    first = expand_one(world.services, world.senders, action, runner)
    assert first is not None
    assert first.state is ActionState.DONE
    assert len(first.deliveries) == 5
    assert expand_one(world.services, world.senders, action, runner) is None
    assert expand(world).expansions == []
    row = world.action_row(action)
    assert (row.state, row.mode, row.owner, row.history) == ("done", "prefect", runner.owner, "prefect")
    assert row.claimed_at == row.done_at == world.store.now()


def test_copies_of_one_message_wait_for_one_signature_and_a_regrading_is_named(world: World):
    incident, _, _ = due(world, to=(Role.DUTY_OFFICER, Role.LIAISON))
    world.action(world.store.now(), incident, None, EventKind.REGRADED, to=(Role.DUTY_OFFICER,))
    work(world)
    assert len(world.rows(t.delivery)) > 4  # inbox, personal and group copies
    with world.store.reading() as tx:
        found = unacknowledged(tx)
    assert sorted((row["person"], row["event_zh"]) for row in found) == [
        ("liaison", "提醒"), ("officer", "定级变更"), ("officer", "提醒"),
    ]  # fmt: skip
    assert {row["channel"] for row in found} == {"personal"}


def test_the_direct_path_expands_and_claims_in_one_transaction(world: World):
    _, _, action = due(world)
    batch = expand(world)
    # The inbox is in the house: its messages are there with the decision, the rest is in our hands.
    assert sorted(Counter(states(world).values()).items()) == [("sending", 3), ("sent", 2)]
    assert {key for key, state in states(world).items() if state == "sent"} == {
        ("officer", "inbox"),
        ("liaison", "inbox"),
    }
    assert sorted(item.notice_no for item in batch.claimed) == sorted(
        row.notice_no for row in world.rows(t.delivery) if row.state == "sending"
    )
    assert {row.token for row in world.rows(t.delivery)} == {1}
    assert world.action_row(action).history == "owed"


def test_what_the_senders_have_no_room_for_waits_in_the_outbox(world: World):
    due(world)
    batch = expand(world, room=lambda channel: 0 if channel == "group" else 10)
    assert "group" not in {item.channel_id for item in batch.claimed}
    assert states(world)["", "group"] == "pending"
    assert [item.channel_id for item in claim(world)] == ["group"]


def test_nothing_is_taken_before_it_is_due(world: World, clock: FakeClock):
    _, _, action = due(world)
    clock.advance(-SECOND)
    assert expand(world).expansions == []
    assert expand_one(world.services, world.senders, action, world.hand) is None


def test_a_fresh_action_is_left_to_the_runner_for_as_long_as_asked(world: World, clock: FakeClock):
    due(world)
    assert expand(world, older_than=SECOND).expansions == []
    clock.advance(SECOND)
    assert len(expand(world, older_than=SECOND).expansions) == 1


def test_while_dispatch_is_held_nothing_is_expanded_or_claimed(world: World):
    _, _, action = due(world)
    expand(world, room=lambda _channel: 0)
    due(world)
    held = {"key": "dispatch_held", "value": {"reason": "x"}, "updated_at": world.store.now()}
    with world.store.transaction("test") as tx:
        tx.run(t.setting.insert().values(**held))
    assert expand(world).expansions == []
    assert claim(world) == []
    assert expand_one(world.services, world.senders, action, world.hand) is None


def test_eight_takers_at_once_expand_every_action_exactly_once(world: World):
    for _ in range(40):
        due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    hands = [new_hand("n1", f"engine-{n}") for n in range(8)]
    barrier = threading.Barrier(8)

    def take(hand: Hand) -> list[str]:
        barrier.wait()
        taken: list[str] = []
        while True:
            batch = expand(world, hand, most=3)
            if not batch.expansions:
                return taken
            taken += [item.notice_no for item in batch.claimed]

    with ThreadPoolExecutor(8) as pool:
        taken = [number for numbers in pool.map(take, hands) for number in numbers]
    assert len(taken) == len(set(taken)) == 40  # for the group
    assert len(world.rows(t.delivery)) == 80
    assert len({row.notice_no for row in world.rows(t.inbox_message)}) == 40
    assert {row.state for row in world.rows(t.timed_action)} == {"done"}


def test_notice_numbers_run_on_within_the_shanghai_day(world: World, clock: FakeClock):
    clock.set(at("2026-03-10 23:59:59"))
    with world.store.transaction("test") as tx:
        assert outbox.allot_numbers(tx, 2) == ["N-20260310-0001", "N-20260310-0002"]
    clock.advance(SECOND)
    with world.store.transaction("test") as tx:
        assert outbox.allot_numbers(tx, 1) == ["N-20260311-0001"]
        assert outbox.allot_numbers(tx, 0) == []


def test_an_action_that_cannot_be_read_is_told_to_the_administrators_and_holds_up_nobody(world: World):
    _, _, broken = due(world, to=())
    with world.store.transaction("test") as tx:
        bad = {"to": ["no_such_role"], "band": "notice"}
        tx.run(t.timed_action.update().where(t.timed_action.c.id == broken).values(detail=bad))
    _, _, good = due(world)
    work(world)
    assert world.action_row(broken).state == world.action_row(good).state == "done"
    assert [row.person_id for row in world.rows(t.delivery, t.delivery.c.action_id == broken)] == ["admin"]


def test_case_40_a_reminder_after_the_shift_change_reaches_the_new_shift(world: World, clock: FakeClock):
    change = at("2026-03-11 08:30")
    with world.store.transaction("test") as tx:
        for person, start in (("leader", change - 12 * HOUR), ("principal", change)):
            shift = {"unit_id": "office", "role": "duty_officer", "person_id": person}
            tx.run(t.shift.insert().values(starts_at=start, ends_at=start + 12 * HOUR, **shift))
    incident = world.incident()
    deadline = world.clock(incident, change + HOUR)
    for moment in (change - SECOND, change):
        world.action(moment, incident, deadline, to=(Role.DUTY_OFFICER,), audience=("personal",))
        clock.set(moment)
        expand(world)
    told = [row.person_id for row in world.rows(t.delivery, t.delivery.c.channel_id == "inbox")]
    assert told == ["leader", "principal"]


def test_a_daily_step_writes_its_successor_once(world: World, clock: FakeClock):
    incident = world.incident()
    late = world.clock(incident, world.store.now() - HOUR, state="breached")
    first = world.action(
        world.store.now(), incident, late, EventKind.ESCALATION, band=Band.OVERDUE, daily_at=["09:00", "15:00"]
    )
    expand(world)
    following = world.one(t.timed_action, t.timed_action.c.state == "pending")
    assert following.due_at == at("2026-03-10 15:00")
    assert following.repetition == world.action_row(first).repetition + 1
    clock.set(at("2026-03-10 15:00"))
    expand(world)
    assert world.one(t.timed_action, t.timed_action.c.state == "pending").due_at == at("2026-03-11 09:00")


# -- breaches ----------------------------------------------------------------------------------------------------------


def test_a_breach_is_recorded_once_with_its_true_due_time_and_the_moment_it_was_noticed(world: World, clock: FakeClock):
    incident = world.incident()
    due_at = world.store.now() + HOUR
    deadline = world.clock(incident, due_at)
    world.breach(incident, deadline, due_at)
    clock.set(due_at)
    assert expand(world).expansions == []  # exactly at due is on time
    clock.advance(3 * SECOND)
    assert [made.breach for made in expand(world).expansions] == [True]
    row = world.one(t.clock)
    assert (row.state, row.noticed_at, row.attribution) == ("breached", due_at + 3 * SECOND, "late_response")
    event = world.one(t.clock_event)
    assert (event.what, event.due_to, event.at) == ("breached", due_at, due_at + 3 * SECOND)
    assert len(world.audited("clock.breached")) == 1
    world.breach(incident, deadline, due_at)
    assert [made.breach for made in expand(world).expansions] == [False]
    assert sweep_breaches(world.services, world.hand, timedelta(0)) == 0
    assert len(world.rows(t.clock_event)) == 1


def test_a_clock_without_actions_is_found_by_the_sweep(world: World, clock: FakeClock):
    incident = world.incident()
    world.clock(incident, world.store.now() + HOUR, binding=False)
    clock.advance(HOUR + SECOND)
    assert sweep_breaches(world.services, world.hand, 2 * SECOND) == 0
    clock.advance(2 * SECOND)
    assert sweep_breaches(world.services, world.hand, 2 * SECOND) == 1
    assert world.one(t.clock).state == "breached"


def test_a_breach_is_recorded_although_nobody_needs_to_hear_of_it_any_more(world: World, clock: FakeClock):
    incident = world.incident()
    due_at = world.store.now() + HOUR
    deadline = world.clock(incident, due_at)
    world.breach(incident, deadline, due_at)
    world.action(due_at + MINUTE, incident, deadline, EventKind.ESCALATION, band=Band.OVERDUE)
    clock.set(due_at + 2 * MINUTE)
    by_state = {made.state: made for made in expand(world).expansions}
    assert by_state[ActionState.SUPERSEDED].breach
    assert {"supervisor", "principal", "officer"} <= {row.person_id for row in world.rows(t.delivery)}


# -- claiming and recording --------------------------------------------------------------------------------------------


def only(claimed: list[Claimed], channel: str) -> Claimed:
    return next(item for item in claimed if item.channel_id == channel)


def test_a_lease_runs_out_at_its_end_and_not_before(world: World, clock: FakeClock):
    due(world)
    expand(world)
    clock.advance(30 * SECOND - timedelta(microseconds=1))
    assert claim(world) == []
    clock.advance(timedelta(microseconds=1))
    again = claim(world)
    assert {item.token for item in again} == {2}
    assert all(not isinstance(item.letter, Exception) and item.letter.resend for item in again)


def test_whoever_slept_through_the_lease_changes_nothing(world: World, clock: FakeClock, script: Script):
    due(world)
    sleeper = expand(world).claimed
    clock.advance(31 * SECOND)
    other = new_hand("n2", "engine")
    awake = claim(world, other)
    before = [world.rows(table) for table in (t.delivery, t.inbox_message, t.delivery_attempt)]
    assert record_outcomes(world.services, world.hand, [send_claimed(world.senders, c) for c in sleeper]).verdicts == {}
    assert [world.rows(table) for table in (t.delivery, t.inbox_message, t.delivery_attempt)] == before
    send(world, awake, other)
    assert {row.state for row in world.rows(t.delivery)} == {"sent"}
    assert len(script.on("group")) == 2  # at least once, and the second says so
    assert script.on("group")[1].notice_no == script.on("group")[0].notice_no


def test_a_restart_voids_its_own_leases_at_once_and_nobody_elses(world: World):
    due(world)
    expand(world)
    due(world)
    other = new_hand("n1", "engine-2")
    expand(world, other)
    reborn = Hand(world.hand.process, "another-life")
    with world.store.transaction("test") as tx:
        assert outbox.release_owned_before(tx, reborn.process, reborn.owner) == 3
    again = claim(world, reborn)
    assert len(again) == 3
    assert all(not isinstance(item.letter, Exception) and item.letter.resend for item in again)


def test_a_delivery_that_takes_its_holders_along_goes_another_way(world: World, clock: FakeClock):
    due(world, audience=("group",))
    expand(world)
    for _ in range(5):
        clock.advance(31 * SECOND)
        claim(world)
    row = world.one(t.delivery, t.delivery.c.channel_id == "group")
    assert (row.state, row.token) == ("failed", 5)
    assert ("officer", "personal") in states(world)


def test_an_outcome_is_recorded_with_its_attempt_and_one_audit_entry(world: World):
    due(world)
    send(world, expand(world).claimed)
    row = delivery(world, "", "group")
    assert (row.state, row.attempts, row.outcome, row.owner) == ("sent", 1, "accepted", "")
    assert row.sent_at == row.first_sent_at is not None
    attempts = world.rows(t.delivery_attempt)
    assert len(attempts) == 5
    assert {a.mode for a in attempts} == {"direct"}
    # One entry for the inboxes in the transaction that decided, one for what was sent.
    assert len(world.audited("deliveries.recorded")) == 2


def test_an_inbox_message_is_written_together_with_its_outcome(world: World):
    due(world, to=(Role.DUTY_OFFICER,), audience=("personal",))
    send(world, expand(world).claimed)
    message = world.one(t.inbox_message)
    assert message.person_id == "officer"
    assert message.notice_no in message.text
    assert "2026-0001" in message.subject
    assert "绝不外发的标题" not in message.text + message.subject


def test_a_transient_failure_is_tried_again_later_under_the_same_number(world: World, clock: FakeClock, script: Script):
    due(world, audience=("group",))
    script.answers["group"] = lambda: Transient("忙", ambiguous=True)
    send(world, expand(world).claimed)
    row = delivery(world, "", "group")
    assert (row.state, row.outcome, row.attempts) == ("pending", "ambiguous", 1)
    assert world.store.now() <= row.visible_at <= world.store.now() + 2 * SECOND
    clock.advance(2 * SECOND)
    script.answers.clear()
    send(world, claim(world))
    first, second = script.on("group")
    assert (first.notice_no, first.resend, second.notice_no, second.resend) == (
        first.notice_no,
        False,
        first.notice_no,
        True,
    )
    assert delivery(world, "", "group").state == "sent"


def test_after_the_last_attempt_it_is_dead_and_goes_another_way(world: World, clock: FakeClock, script: Script):
    due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    script.answers["group"] = lambda: Transient("忙")
    work(world)
    for _ in range(40):
        clock.advance(11 * MINUTE)
        if delivery(world, "", "group").state != "pending":
            break
        work(world)
    row = delivery(world, "", "group")
    assert (row.state, row.attempts) == ("dead", MOST_ATTEMPTS)
    assert [notice.previous_failed for notice in script.on("personal")] == ["前一渠道「group」未送达：忙"]


def test_a_permanent_failure_takes_the_personal_channels_of_those_not_yet_reached(world: World, script: Script):
    due(world, audience=("group",), to=(Role.DUTY_OFFICER, Role.LIAISON))
    script.answers["group"] = lambda: Permanent("机器人已停用", "400102")
    work(world)
    assert delivery(world, "", "group").state == "failed"
    assert {key for key, state in states(world).items() if key[1] == "personal"} == {
        ("officer", "personal"), ("liaison", "personal"),
    }  # fmt: skip
    assert delivery(world, "officer", "personal").fallback_of == delivery(world, "", "group").notice_no
    assert world.audited("delivery.undeliverable") == []


def test_a_personal_message_that_reaches_nobody_goes_to_the_group_which_learns_no_address(world: World, script: Script):
    due(world, audience=("personal",), to=(Role.DUTY_OFFICER,))
    script.answers["personal"] = lambda: Permanent("officer@example.cn 已停用")
    work(world)
    (told,) = script.on("group")
    assert told.previous_failed == f"前一渠道「personal」未送达；{NOBODY_IN_PERSON}"
    assert told.mentions == ()
    assert delivery(world, "", "group").fallback_of == delivery(world, "officer", "personal").notice_no
    assert world.audited("delivery.undeliverable") == []


def test_when_nothing_is_left_the_administrators_are_told_and_the_chain_keeps_it(world: World, script: Script):
    due(world, audience=("personal",), to=(Role.DUTY_OFFICER,))
    script.answers = dict.fromkeys(["group", "personal"], lambda: Permanent("地址已停用"))
    work(world)
    told = world.one(t.inbox_message, t.inbox_message.c.person_id == "admin")
    assert "未能送达" in told.text
    assert len(world.audited("delivery.undeliverable")) == 1
    assert delivery(world, "officer", "personal").state == "failed"


def test_one_delivery_of_each_action_person_and_channel(world: World, script: Script):
    script.answers = dict.fromkeys(["group", "personal"], lambda: Permanent("坏了"))
    for _ in range(3):
        due(world)
    work(world)
    rows = world.rows(t.delivery)
    assert len(rows) == len({(row.action_id, row.person_id, row.channel_id) for row in rows})


def test_a_partial_delivery_is_named_as_such(world: World, script: Script):
    due(world, audience=("group",))
    script.answers["group"] = lambda: Partial(("138****1234",), "号码无效")
    work(world)
    assert delivery(world, "", "group").state == "partial"


def test_a_message_of_ours_that_cannot_be_made_blocks_nobody_and_dies(world: World, clock: FakeClock, script: Script):
    def poison() -> Outcome:
        raise RuntimeError("a fault of ours")

    due(world, audience=("group",))
    script.answers["group"] = poison
    for _ in range(8):
        work(world)
        clock.advance(2 * MINUTE)
    assert (delivery(world, "", "group").state, delivery(world, "", "group").attempts) == ("dead", 5)
    assert delivery(world, "officer", "inbox").state == "sent"
    assert world.one(t.channel, t.channel.c.id == "group").failures == 0  # the channel is not to blame


def test_what_is_over_while_it_waits_is_not_sent(world: World, clock: FakeClock, script: Script):
    _, deadline, _ = due(world, audience=("group",))
    expand(world, room=lambda _channel: 0)
    with world.store.transaction("test") as tx:
        tx.run(t.clock.update().where(t.clock.c.id == deadline).values(state="satisfied"))
    assert claim(world) == []
    inboxes = {("officer", "inbox"): "sent", ("liaison", "inbox"): "sent"}
    assert states(world) == {**inboxes, ("", "group"): "superseded"}
    assert script.sent == []


def test_a_delivery_given_back_is_claimed_again(world: World):
    due(world)
    claimed = expand(world).claimed
    before = world.rows(t.delivery_attempt)  # of the inboxes
    record_outcomes(world.services, world.hand, [give_back(item) for item in claimed])
    assert world.rows(t.delivery_attempt) == before
    again = claim(world)
    assert {item.token for item in again} == {2}
    assert all(not isinstance(item.letter, Exception) and not item.letter.resend for item in again)


def test_the_ordinal_counts_a_clocks_messages_to_one_reader(world: World, clock: FakeClock):
    incident, deadline, _ = due(world)
    work(world)
    clock.advance(MINUTE)
    world.action(world.store.now(), incident, deadline)
    work(world)
    rows = world.rows(t.delivery, t.delivery.c.person_id == "officer", t.delivery.c.channel_id == "inbox")
    assert [row.ordinal for row in rows] == [1, 2]


def test_the_deciding_clock_runs_on_from_the_claim(world: World):
    due(world)
    claimed = expand(world).claimed[0]
    assert timedelta(0) <= deciding_now(claimed) - world.store.now() < 5 * SECOND


# -- Prefect's path ----------------------------------------------------------------------------------------------------


def test_a_flows_deliveries_are_hidden_until_its_tasks_have_had_their_time(world: World, clock: FakeClock):
    _, _, action = due(world)
    runner = new_hand("n1", "runner", PREFECT)
    expand_one(world.services, world.senders, action, runner)
    assert claim(world) == []
    clock.advance(timedelta(milliseconds=1199))
    assert claim(world) == []
    clock.advance(timedelta(milliseconds=1))
    assert len(claim(world)) == 5


def test_a_flow_that_starts_late_still_gets_a_moment(world: World, clock: FakeClock):
    _, _, action = due(world)
    clock.advance(5 * SECOND)
    expand_one(world.services, world.senders, action, new_hand("n1", "runner", PREFECT))
    assert {row.visible_at - world.store.now() for row in world.rows(t.delivery)} == {timedelta(milliseconds=300)}


def test_each_task_claims_its_own_delivery_and_only_once(world: World):
    _, _, action = due(world)
    runner = new_hand("n1", "runner", PREFECT)
    made = expand_one(world.services, world.senders, action, runner)
    assert made is not None
    number = made.deliveries[0].notice_no
    claimed = claim_delivery(world.services, world.senders, number, runner)
    assert claimed is not None
    assert (claimed.notice_no, claimed.mode) == (number, "prefect")
    assert claim_delivery(world.services, world.senders, number, runner) is None
    assert claim_delivery(world.services, world.senders, "N-20260310-9999", runner) is None
    send(world, [claimed], runner)
    assert world.one(t.delivery, t.delivery.c.notice_no == number).state == "sent"
    assert claim_delivery(world.services, world.senders, number, runner) is None


def test_another_hand_may_not_take_a_hidden_delivery(world: World):
    _, _, action = due(world)
    made = expand_one(world.services, world.senders, action, new_hand("n1", "runner", PREFECT))
    assert made is not None
    assert claim_delivery(world.services, world.senders, made.deliveries[0].notice_no, world.hand) is None


def test_a_flow_leaves_what_belongs_into_a_digest(world: World, clock: FakeClock):
    _, _, action = due(world)
    clock.advance(11 * MINUTE)
    assert expand_one(world.services, world.senders, action, new_hand("n1", "runner", PREFECT)) is None


# -- robots with a rate limit ------------------------------------------------------------------------------------------


@pytest.fixture
def robot(world: World) -> str:
    """A webhook that takes eighteen messages a minute, as a DingTalk robot does."""
    with world.store.transaction("test") as tx:
        tx.run(
            t.channel.update()
            .where(t.channel.c.id == "group")
            .values(settings={"url": "http://127.0.0.1:1/g", "per_minute": 18})
        )
    return "group"


def test_three_hundred_due_at_once_travel_in_few_messages_and_all_are_accounted_for(
    world: World, clock: FakeClock, script: Script, robot: str
):
    for number in range(100):
        now, incident = world.store.now(), world.incident()
        deadline = world.clock(
            incident, now - HOUR if number < 10 else now + 2 * HOUR, state="breached" if number < 10 else "running"
        )
        band = Band.OVERDUE if number < 10 else Band.NOTICE
        world.action(
            now, incident, deadline, EventKind.ESCALATION, audience=("group",), to=(Role.DUTY_OFFICER,), band=band
        )
    work(world)
    posts = script.on(robot)
    assert len(posts) <= 18
    rows = world.rows(t.delivery, t.delivery.c.channel_id == robot)
    assert {row.state for row in rows} == {"sent", "bundled"}
    carriers = {row.notice_no for row in rows if row.state == "sent"}
    assert {row.bundle_no for row in rows if row.state == "bundled"} <= carriers
    lines = [line for notice in posts for line in notice.lines]
    assert len(lines) + sum(1 for notice in posts if not notice.lines) == 100
    assert all(line.startswith("超 ") for line in posts[0].lines[:10])
    assert all(len(notice.lines) <= 25 for notice in posts)


def test_two_processes_share_one_window(world: World, clock: FakeClock, script: Script, robot: str):
    for turn in range(30):
        due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
        hand = new_hand("n1", f"engine-{turn % 2}")
        send(world, expand(world, hand).claimed, hand)
        clock.advance(SECOND)
    assert len(script.on(robot)) <= 18
    assert len(world.rows(t.channel_send)) == len(script.on(robot))
    for _ in range(10):
        clock.advance(20 * SECOND)
        work(world)
    rows = world.rows(t.delivery, t.delivery.c.channel_id == robot)
    assert {row.state for row in rows} <= {"sent", "bundled"}


def test_a_flow_sends_its_own_through_a_robot_only_where_nobody_else_waits(world: World, robot: str):
    _, _, action = due(world, audience=("group",))
    runner = new_hand("n1", "runner", PREFECT)
    made = expand_one(world.services, world.senders, action, runner)
    assert made is not None
    number = next(item.notice_no for item in made.deliveries if item.channel_id == robot)
    assert claim_delivery(world.services, world.senders, number, runner) is not None
    for _ in range(20):
        due(world, audience=("group",))
    expand(world, room=lambda _channel: 0)
    _, _, late = due(world, audience=("group",))
    made = expand_one(world.services, world.senders, late, runner)
    assert made is not None
    number = next(item.notice_no for item in made.deliveries if item.channel_id == robot)
    with world.store.transaction("test") as tx:
        tx.run(t.channel_send.insert(), [{"channel_id": robot, "sent_at": tx.now}] * 18)
    assert claim_delivery(world.services, world.senders, number, runner) is None


def test_a_carrier_that_fails_for_good_takes_all_it_carries_another_way(
    world: World, clock: FakeClock, script: Script, robot: str
):
    with world.store.transaction("test") as tx:
        tx.run(t.channel_send.insert(), [{"channel_id": robot, "sent_at": tx.now}] * 12)
    for _ in range(5):
        due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    script.answers[robot] = lambda: Permanent("机器人已停用")
    work(world)
    assert script.on(robot) == []  # gathering
    clock.advance(3 * SECOND)
    work(world)
    assert len(script.on(robot)) == 1
    assert len(script.on(robot)[0].lines) == 5
    assert len(script.on("personal")) == 5
    assert len({notice.incident_no for notice in script.on("personal")}) == 5


def test_a_robot_that_is_banned_is_left_alone_and_its_queue_takes_another_way(
    world: World, clock: FakeClock, script: Script
):
    script.answers["group"] = lambda: RateLimited(world.store.now() + 10 * MINUTE, "130101")
    due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    work(world)
    channel = world.one(t.channel, t.channel.c.id == "group")
    assert channel.parked_until == world.store.now() + 10 * MINUTE
    before = len(script.on("group"))
    assert {row.state for row in world.rows(t.delivery, t.delivery.c.channel_id == "group")} == {"failed"}
    due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    work(world)
    assert len(script.on("group")) == before
    assert len(script.on("personal")) == 3
    clock.advance(10 * MINUTE)
    script.answers.clear()
    due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    work(world)
    assert len(script.on("group")) == before + 1
    assert world.one(t.channel, t.channel.c.id == "group").failures == 0


def test_without_another_way_a_banned_channels_message_waits_for_it(world: World, clock: FakeClock, script: Script):
    script.answers["personal"] = lambda: RateLimited(world.store.now() + 5 * MINUTE)
    due(world, audience=("personal",), to=(Role.DUTY_OFFICER,))
    work(world)
    row = delivery(world, "officer", "personal")
    assert (row.state, row.visible_at) == ("pending", world.store.now() + 5 * MINUTE)
    clock.advance(5 * MINUTE)
    script.answers.clear()
    work(world)
    assert delivery(world, "officer", "personal").state == "sent"


def test_three_failures_park_a_channel_and_one_message_probes_it(world: World, clock: FakeClock, script: Script):
    script.answers["group"] = lambda: Transient("连接被拒绝")
    for _ in range(5):
        due(world, audience=("group",), to=(Role.DUTY_OFFICER,))
    work(world)
    channel = world.one(t.channel, t.channel.c.id == "group")
    assert channel.parked_until == world.store.now() + 30 * SECOND
    sent = len(script.on("group"))
    work(world)
    assert len(script.on("group")) == sent
    clock.advance(30 * SECOND)
    claimed = [item for item in claim(world) if item.channel_id == "group"]
    assert len(claimed) == 1
    script.answers.clear()
    send(world, claimed)
    assert len([item for item in claim(world) if item.channel_id == "group"]) == 4


# -- after an outage ---------------------------------------------------------------------------------------------------


def consolidated(world: World) -> Batch:
    batch = consolidate_backlog(world.services, world.senders, world.hand, much)
    assert batch is not None
    return batch


def test_case_38_down_across_the_due_time_records_the_breach_and_gives_one_alert(
    world: World, clock: FakeClock, script: Script
):
    clock.set(at("2026-03-10 10:00"))
    due_at = at("2026-03-10 13:00")
    incident = world.incident()
    deadline = world.clock(incident, due_at)
    for minutes in (60, 30, 10):
        world.action(due_at - minutes * MINUTE, incident, deadline)
    breach = world.breach(incident, deadline, due_at)
    for hour in (1, 2, 3):
        world.action(due_at + hour * HOUR, incident, deadline, EventKind.ESCALATION, band=Band.OVERDUE)
    clock.set(at("2026-03-10 16:00"))
    send(world, consolidated(world).claimed)
    work(world)
    row = world.one(t.clock)
    assert (row.state, row.due_at, row.noticed_at) == ("breached", due_at, at("2026-03-10 16:00"))
    assert world.action_row(breach).state == "bundled"
    rows = world.rows(t.delivery)
    assert len(rows) == len({(r.person_id, r.channel_id) for r in rows})
    assert len(script.on("group")) == 1
    assert script.on("group")[0].clock_name == "权威信息发布"
    assert script.on("group")[0].remaining_seconds in {-10800, -10801}
    assert {row.person_id for row in world.rows(t.inbox_message)} == {"officer", "liaison", "supervisor", "principal"}
    assert consolidate_backlog(world.services, world.senders, world.hand, much) is None


def test_case_39_planning_the_same_step_twice_gives_one_message(world: World):
    due(world)
    first = world.rows(t.timed_action)[0]
    values = {
        c.name: getattr(first, c.name) for c in t.timed_action.columns if c.name not in {"id", "created_at", "state"}
    }
    with world.store.transaction("test") as tx:
        assert outbox.insert_action(tx, {k: v for k, v in values.items() if k in _INSERTED}) is None
    work(world)
    work(world)
    assert len(world.rows(t.delivery, t.delivery.c.channel_id == "group")) == 1


_INSERTED = {
    "dedup_key",
    "kind",
    "incident_id",
    "clock_id",
    "step_id",
    "generation",
    "repetition",
    "urgency",
    "due_at",
    "detail",
}


def test_an_outage_of_days_gives_one_digest_for_each_recipient_and_channel(
    world: World, clock: FakeClock, script: Script
):
    start = world.store.now()
    for number in range(30):
        incident = world.incident(notice_title=f"事项{number}")
        limit = 5 if number % 3 == 0 else 48
        due_at = start + timedelta(hours=limit)
        deadline = world.clock(incident, due_at, timedelta(hours=limit))
        world.action(start + HOUR, incident, deadline)
        world.breach(incident, deadline, due_at)
    clock.advance(72 * HOUR)
    send(world, consolidated(world).claimed)
    work(world)
    assert {row.state for row in world.rows(t.timed_action, t.timed_action.c.kind != "digest")} == {"bundled"}
    assert {row.state for row in world.rows(t.clock)} == {"breached"}
    digest = world.one(t.timed_action, t.timed_action.c.kind == "digest")
    assert (digest.state, digest.history) == ("done", "owed")
    rows = world.rows(t.delivery)
    assert {row.action_id for row in rows} == {digest.id}
    assert len(rows) == len({(row.person_id, row.channel_id) for row in rows})
    (posted,) = script.on("group")
    assert (len(posted.lines), posted.hidden_lines, posted.layout) == (25, 5, "digest")
    assert all("事项" in line for line in posted.lines)
    assert [int(line.split("事项")[1].split("（")[0]) % 3 for line in posted.lines[:10]] == [0] * 10
    inbox = world.one(t.inbox_message, t.inbox_message.c.person_id == "principal")
    assert inbox.text.count("事项") >= 25


def test_what_was_settled_during_the_outage_is_not_told(world: World, clock: FakeClock, script: Script):
    _, deadline, action = due(world)
    with world.store.transaction("test") as tx:
        tx.run(t.clock.update().where(t.clock.c.id == deadline).values(state="satisfied"))
    clock.advance(HOUR)
    batch = consolidated(world)
    assert (batch.digest_id, batch.claimed) == (None, [])
    assert world.action_row(action).state == "superseded"


def test_fresh_steps_of_other_clocks_are_told_by_themselves(world: World, clock: FakeClock, script: Script):
    due(world)
    clock.advance(HOUR)
    _, _, fresh = due(world)
    consolidated(world)
    assert world.action_row(fresh).state == "pending"
    work(world)
    assert world.action_row(fresh).state == "done"


def test_after_everything_the_audit_chain_is_whole(world: World, clock: FakeClock, script: Script):
    from huiying.domain.audit import GENESIS, entry_hash

    due(world)
    script.answers["group"] = lambda: Permanent("坏了")
    work(world)
    clock.advance(HOUR)
    previous = GENESIS
    for row in world.rows(t.audit):
        assert row.prev_hash == previous
        previous = entry_hash(row.seq, row.at, row.actor, row.action, row.subject, row.payload_hash, row.prev_hash)
        assert row.hash == previous
