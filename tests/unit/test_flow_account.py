"""What Prefect is shown of an event: names, tags, parameters and the page, from our tables."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from config.policy_loader import load_policies
from flows.account import Account, load_account, load_accounts
from flows.artifact import render, render_bundle
from huiying.domain.errors import NotFound
from huiying.domain.kinds import Band, EventKind
from huiying.domain.policy import policy_to_dict
from huiying.store import tables as t
from huiying.store.db import Store
from tests.engine_fixtures import World, services_on

START = datetime(2026, 1, 17, 0, 12, tzinfo=UTC)  # 08:12 in Beijing


@pytest.fixture
def world(sqlite_store: Store, tmp_path) -> World:
    return World(services_on(sqlite_store, tmp_path)).furnish()


@pytest.fixture
def policy_hash(world: World) -> str:
    policy = next(policy for policy in load_policies().policies if policy.id == "release-5h")
    with world.store.transaction("test") as tx:
        tx.run(t.policy.insert().values(hash=policy.hash, id=policy.id, body=policy_to_dict(policy), loaded_at=tx.now))
    return policy.hash


def account(world: World, action_id: int) -> Account:
    with world.store.reading() as tx:
        return load_account(tx, action_id)


def event(world: World, policy_hash: str, step_id: str, kind: EventKind = EventKind.REMINDER, **more: Any) -> Account:
    incident = world.incident()
    clock = world.clock(incident, START + timedelta(hours=5), policy_hash=policy_hash)
    action = world.action(START + timedelta(hours=4), incident, clock, kind, step_id=step_id)
    if more:
        with world.store.transaction("test") as tx:
            tx.run(t.timed_action.update().where(t.timed_action.c.id == action).values(**more))
    return account(world, action)


@pytest.mark.parametrize(
    ("step_id", "kind", "repetition", "words"),
    [
        ("share_80", EventKind.ESCALATION, 0, "80%升级提醒"),
        ("share_50", EventKind.REMINDER, 0, "50%提醒"),
        ("left_30m", EventKind.REMINDER, 0, "剩余30分钟提醒"),
        ("unacknowledged_1h", EventKind.ESCALATION, 0, "起算后1小时升级提醒"),
        ("unacknowledged_1h", EventKind.ESCALATION, 2, "起算后1小时升级提醒第3次"),
        ("breach", EventKind.BREACHED, 0, "超时"),
        ("overdue_hourly", EventKind.ESCALATION, 3, "超时第3小时督办"),
        ("overdue_daily", EventKind.ESCALATION, 1, "超时每日督办第2次"),
        ("unheard_of", EventKind.REMINDER, 0, "提醒"),
    ],
)
def test_the_name_says_number_clock_and_point_of_the_plan(world, policy_hash, step_id, kind, repetition, words):
    made = event(world, policy_hash, step_id, kind, repetition=repetition)
    assert made.name == f"2026-0001·5小时权威信息发布·{words}"


def test_tags_and_parameters_are_numbers_and_ids(world, policy_hash):
    made = event(world, policy_hash, "share_80")
    assert made.tags == ["incident:2026-0001", "clock:1", "rule:authoritative_release", "event:reminder"]
    assert made.parameters == {
        "action_id": 1,
        "incident_no": "2026-0001",
        "clock_id": 1,
        "due_at": "2026-01-17T12:12:00.000+08:00",
    }


def test_the_name_of_a_department_task_is_free_text_and_is_not_shown(world):
    incident = world.incident()
    clock = world.clock(
        incident, START + timedelta(hours=2), timedelta(hours=2), origin="task", name="请李某某处长回电"
    )
    made = account(world, world.action(START, incident, clock))
    assert made.name == "2026-0001·2小时部门任务时钟·提醒"
    assert "李某某" not in render(made)


def test_an_event_of_the_whole_incident_shows_the_clocks_that_bind(world):
    incident = world.incident()
    world.clock(incident, START + timedelta(hours=5))
    world.clock(incident, START + timedelta(hours=48), timedelta(hours=48), name="权威回应", binding=False)
    made = account(world, world.action(START, incident, kind=EventKind.REGISTERED))
    assert made.name == "2026-0001·登记"
    assert made.parameters["clock_id"] is None
    assert [clock.label for clock in made.others] == ["5小时权威信息发布"]


def test_an_event_without_incident_has_a_name_a_tag_and_a_page_of_its_own(world):
    made = account(world, world.action(START, kind=EventKind.DAILY_BRIEF))
    assert made.name == "每日简报"
    assert made.tags == ["event:daily_brief"]
    assert made.artifact_key == "daily-brief"


def test_a_page_key_holds_what_prefect_allows(world, policy_hash):
    assert re.fullmatch(r"[a-z0-9-]+", event(world, policy_hash, "share_80").artifact_key)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (timedelta(hours=5), "5小时"),
        (timedelta(hours=48), "48小时"),
        (timedelta(minutes=90), "1小时30分钟"),
        (timedelta(days=10), "10天"),
        (timedelta(hours=5, seconds=17), ""),
    ],
)
def test_a_limit_is_said_only_where_it_is_a_round_one(world, limit, words):
    incident = world.incident()
    clock = world.clock(incident, START + limit, limit)
    assert account(world, world.action(START, incident, clock)).name == f"2026-0001·{words}权威信息发布·提醒"


def test_the_same_number_given_again_after_a_restore_has_another_key(world):
    action = world.action(START)
    before = account(world, action).key
    with world.store.transaction("test") as tx:
        tx.run(t.timed_action.update().values(created_at=tx.now + timedelta(seconds=1)))
    assert account(world, action).key != before


def test_the_page_counts_recipients_by_role_and_lists_notice_numbers(world, policy_hash):
    world.webhook("hook", "http://127.0.0.1:9/never")
    made = event(world, policy_hash, "share_80")
    with world.store.transaction("test") as tx:
        for number, role, channel in (
            ("N-1", "duty_officer", "inbox"),
            ("N-2", "duty_officer", "hook"),
            ("N-3", "", "hook"),
        ):
            tx.run(
                t.delivery.insert().values(
                    notice_no=number, action_id=made.action_id, channel_id=channel, role=role, person_id="officer",
                    band=str(Band.NOTICE), state="sent", visible_at=tx.now, created_at=tx.now, sent_at=tx.now, attempts=1,
                )
            )  # fmt: skip
    page = render(account(world, made.action_id))
    assert "对象：值班员2件，工作群1件" in page
    assert all(number in page for number in ("N-1", "N-2", "N-3"))
    assert "officer" not in page
    assert "文件明定" in page
    assert "本系统理解" in page


def test_a_bundle_lists_every_event_with_its_true_times(world, policy_hash):
    made = [event(world, policy_hash, "share_80", claimed_at=START + timedelta(hours=4, milliseconds=120))]
    page = render_bundle("2026-0001", made)
    assert "2026-01-17 12:12:00.000" in page
    assert "晚0.12秒" in page


def test_an_unknown_event_is_refused(world):
    with world.store.reading() as tx, pytest.raises(NotFound):
        load_accounts(tx, [4711])


def test_what_is_read_names_no_column_of_free_text(world, policy_hash, monkeypatch):
    seen: list[str] = []
    engine = world.store.engine
    sa.event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: seen.append(statement))
    event(world, policy_hash, "share_80")
    read = "\n".join(statement for statement in seen if statement.startswith("SELECT"))
    for column in ("title", "notice_title", "incident.body", "person", "reason", "ended_reason", "clock.detail"):
        assert column not in read
