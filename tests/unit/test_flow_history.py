"""Back-filling and reading over the plain REST API, against a scripted server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flows.history import FlowRuns, History, Unavailable, open_history
from flows.reconciler import BUNDLE_FROM, BUNDLE_MOST, Reconciler
from flows.rest import PrefectApi, PrefectRefused, PrefectUnavailable
from huiying.service.hand import DIRECT, PREFECT, new_hand
from huiying.store import tables as t
from huiying.store.db import Store
from tests.engine_fixtures import World, services_on
from tests.fakes.clock import FakeClock
from tests.fakes.prefect_api import AUTH, FakePrefect

ROOT = Path(__file__).parents[2]
ACTOR = "system:test"


@pytest.fixture
def prefect() -> Iterator[FakePrefect]:
    with FakePrefect() as fake:
        yield fake


@pytest.fixture
def api(prefect: FakePrefect) -> PrefectApi:
    return PrefectApi(prefect.url, AUTH, (0.5, 1.0))


@pytest.fixture
def world(store: Store, tmp_path) -> World:
    return World(services_on(store, tmp_path)).furnish()


@pytest.fixture
def reconciler(world: World, api: PrefectApi) -> Reconciler:
    return Reconciler(world.services, api)


def carried_out(world: World, clock: FakeClock, number: int = 1, *, mode: str = DIRECT, owed: bool = True) -> list[int]:
    """Events of one incident that were carried out, then half a minute later."""
    incident = world.incident()
    ids = []
    for _ in range(number):
        clock_id = world.clock(incident, clock() + timedelta(hours=1))
        ids.append(world.action(clock(), incident, clock_id))
    with world.store.transaction("test") as tx:
        done = {"state": "done", "mode": mode, "claimed_at": tx.now, "done_at": tx.now, "owner": "n1/runner/former"}
        tx.run(
            t.timed_action.update().where(t.timed_action.c.id.in_(ids)).values(history="owed" if owed else mode, **done)
        )
    clock.advance(timedelta(seconds=31))
    return ids


def history_of(world: World, action_id: int) -> tuple[str, str | None]:
    row = world.action_row(action_id)
    return row.history, row.flow_run_id


# -- the caller --------------------------------------------------------------------------------------------------------


def test_a_change_carries_credentials_and_a_csrf_token_fetched_once(api, prefect):
    api.post("/flows/", {"name": "提醒"})
    api.post("/flows/", {"name": "超时"})
    assert [flow["name"] for flow in prefect.flows] == ["提醒", "超时"]
    assert prefect.asked.count("GET /api/csrf-token") == 1


def test_a_token_the_server_has_forgotten_is_fetched_anew(api, prefect):
    api.post("/flows/", {"name": "提醒"})
    prefect.tokens += 1
    api.post("/flows/", {"name": "超时"})
    assert len(prefect.flows) == 2


def test_a_busy_server_is_asked_again_within_a_moment(api, prefect):
    prefect.script.extend([200, 503, 429])  # the first answers the question for a token
    began = time.monotonic()
    with pytest.raises(KeyError):
        api.post("/flows/", {"name": "提醒"})
    api.post("/flows/", {"name": "提醒"})
    assert time.monotonic() - began < 1.0
    assert len(prefect.flows) == 1


@pytest.mark.parametrize("status", [500, 401])
def test_a_server_that_fails_or_refuses_us_is_unavailable(api, prefect, status):
    prefect.script.extend([status])
    with pytest.raises(PrefectUnavailable):
        api.get("/admin/version")


def test_a_request_that_does_not_fit_is_refused(api):
    with pytest.raises(PrefectRefused):
        api.post("/nowhere", {})


def test_an_absent_server_is_unavailable_within_a_second():
    began = time.monotonic()
    with pytest.raises(PrefectUnavailable):
        PrefectApi("http://127.0.0.1:9/api", AUTH).get("/admin/version")
    assert time.monotonic() - began < 1.0


# -- back-filling --------------------------------------------------------------------------------------------------------


def test_what_the_engine_did_alone_gets_its_run_with_the_true_times(world, clock, reconciler, prefect):
    due_at = clock()
    (action,) = carried_out(world, clock)
    assert reconciler.step(ACTOR) == 1
    (run,) = prefect.runs
    assert run["name"] == "补记·2026-0001·5小时权威信息发布·提醒"
    assert "补记" in run["tags"]
    assert "event:reminder" in run["tags"]
    assert run["state"]["type"] == "COMPLETED"
    assert "由发送引擎直接处理" in run["state"]["message"]
    assert f"应于{due_at.astimezone().strftime('%Y')}" in run["state"]["message"]
    assert run["parameters"]["action_id"] == action
    assert prefect.artifacts[0]["flow_run_id"] == run["id"]
    assert "运行记录事后补入" in prefect.artifacts[0]["data"]
    assert history_of(world, action) == ("backfilled", run["id"])
    assert reconciler.step(ACTOR) == 0


def test_a_run_left_behind_half_done_is_completed_and_not_made_again(world, clock, reconciler, prefect):
    (action,) = carried_out(world, clock, mode=PREFECT)
    with world.store.reading() as tx:
        from flows.account import load_account

        account = load_account(tx, action)
    flow_id = reconciler._flow_id("提醒")
    prefect.runs.append(
        {
            "id": "left",
            "flow_id": flow_id,
            "idempotency_key": account.key,
            "name": account.name,
            "tags": account.tags,
            "state": {"type": "RUNNING"},
        }
    )
    reconciler.step(ACTOR)
    (run,) = prefect.runs
    assert run["name"].startswith("补记·")
    assert "补记" in run["tags"]
    assert run["state"]["type"] == "COMPLETED"
    assert history_of(world, action) == ("backfilled", "left")


def test_filling_in_twice_makes_one_run_and_one_page(world, clock, reconciler, prefect):
    (action,) = carried_out(world, clock)
    reconciler.step(ACTOR)
    with world.store.transaction("test") as tx:  # as if we had been killed before our own commit
        tx.run(t.timed_action.update().values(history="owed", flow_run_id=None))
    reconciler.step(ACTOR)
    assert len(prefect.runs) == len(prefect.artifacts) == 1
    assert history_of(world, action) == ("backfilled", prefect.runs[0]["id"])


def test_an_incident_far_behind_is_told_in_one_run(world, clock, reconciler, prefect):
    ids = carried_out(world, clock, BUNDLE_MOST + 3)
    assert reconciler.step(ACTOR) == BUNDLE_MOST
    (run,) = prefect.runs
    assert run["parameters"] == {"incident_no": "2026-0001", "action_ids": ids[:BUNDLE_MOST]}
    assert {history_of(world, key) for key in ids[:BUNDLE_MOST]} == {("backfilled", run["id"])}
    assert [reconciler.step(ACTOR) for _ in range(4)] == [1, 1, 1, 0]


def test_a_bundle_that_was_begun_keeps_its_events(world, clock, reconciler, prefect):
    ids = carried_out(world, clock, BUNDLE_FROM)
    job = reconciler._next_job(ACTOR)
    assert job is not None
    more = carried_out(world, clock, 2)
    with world.store.transaction("test") as tx:  # of the same incident, meanwhile
        tx.run(t.timed_action.update().where(t.timed_action.c.id.in_(more)).values(incident_id=1))
    assert reconciler._next_job(ACTOR) == job
    assert reconciler.step(ACTOR) == BUNDLE_FROM
    assert prefect.runs[0]["parameters"]["action_ids"] == ids


def test_an_event_is_told_once_its_messages_are_settled_or_after_half_a_minute(world, clock, reconciler):
    (action,) = carried_out(world, clock)
    with world.store.transaction("test") as tx:
        tx.run(t.timed_action.update().values(claimed_at=tx.now - timedelta(seconds=10)))
        tx.run(
            t.delivery.insert().values(
                notice_no="N-1", action_id=action, channel_id="inbox", band="notice", state="pending",
                visible_at=tx.now, created_at=tx.now,
            )
        )  # fmt: skip
    assert reconciler.step(ACTOR) == 0
    clock.advance(timedelta(seconds=21))
    assert reconciler.step(ACTOR) == 1


def test_an_outage_in_the_middle_leaves_the_event_owed(world, clock, reconciler, prefect):
    (action,) = carried_out(world, clock)
    prefect.script.extend([500])
    assert reconciler.step(ACTOR) == 0
    assert history_of(world, action) == ("owed", None)
    assert reconciler.step(ACTOR) == 1


def test_an_event_that_prefect_refuses_again_and_again_does_not_keep_the_others_from_being_told(
    world, clock, reconciler, prefect
):
    (first,) = carried_out(world, clock)
    (second,) = carried_out(world, clock)
    prefect.refuse = True
    for _ in range(3):
        assert reconciler.step(ACTOR) == 0
    prefect.refuse = False
    assert reconciler.step(ACTOR) == 1
    assert history_of(world, second)[0] == "backfilled"
    assert history_of(world, first)[0] == "owed"


def test_an_event_of_an_unknown_kind_is_told_all_the_same(world, clock, reconciler, prefect):
    (action,) = carried_out(world, clock)
    with world.store.transaction("test") as tx:
        tx.run(t.timed_action.update().values(kind="from_the_future"))
    assert reconciler.step(ACTOR) == 1
    assert history_of(world, action)[0] == "backfilled"


def test_two_nodes_do_not_bundle_the_same_events(world, clock, reconciler, api):
    ids = carried_out(world, clock, BUNDLE_FROM)
    assert reconciler._begin_bundle(ACTOR, ids).action_ids == tuple(ids)
    assert Reconciler(world.services, api)._begin_bundle(ACTOR, ids) is None


def test_runs_of_a_former_life_are_owed_and_those_of_others_are_not(world, clock, reconciler):
    (mine,) = carried_out(world, clock, mode=PREFECT, owed=False)
    (others,) = carried_out(world, clock, mode=PREFECT, owed=False)
    with world.store.transaction("test") as tx:
        tx.run(t.timed_action.update().where(t.timed_action.c.id == others).values(owner="n2/runner/abc"))
    reconciler.take_up(new_hand("n1", "runner", PREFECT))
    assert history_of(world, mine) == ("owed", None)
    assert history_of(world, others) == ("prefect", None)


def test_what_was_claimed_beside_a_run_has_none_of_its_own_and_is_owed(world, clock, reconciler):
    first, second = carried_out(world, clock, 2, mode=PREFECT, owed=False)
    with world.store.transaction("test") as tx:
        tx.run(t.timed_action.update().values(clock_id=1))
    reconciler.settle(ACTOR, first, "run-1")
    assert history_of(world, first) == ("prefect", "run-1")
    assert history_of(world, second) == ("owed", None)


def test_an_open_run_of_an_event_that_was_told_otherwise_is_ended(world, clock, reconciler, prefect):
    (action,) = carried_out(world, clock)
    with world.store.transaction("test") as tx:
        tx.run(t.timed_action.update().values(history="backfilled", flow_run_id="bundle"))
    prefect.runs.append(
        {
            "id": "left",
            "idempotency_key": "x",
            "tags": [],
            "parameters": {"action_id": action},
            "state": {"type": "PENDING"},
        }
    )
    reconciler.step(ACTOR)
    assert prefect.runs[0]["state"]["type"] == "CANCELLED"


# -- reading -------------------------------------------------------------------------------------------------------------


def test_runs_are_read_with_flow_tasks_and_page(world, clock, reconciler, prefect, api):
    carried_out(world, clock)
    reconciler.step(ACTOR)
    for row in prefect.runs:
        row |= {
            "state_type": "COMPLETED",
            "state_name": "补记",
            "start_time": "2026-11-22T11:24:52.762819Z",
            "end_time": None,
        }
    prefect.task_runs.append(
        {
            "id": "t", "flow_run_id": prefect.runs[0]["id"], "name": "送达", "state_type": "FAILED", "state_name": "未送达",
            "state": {"message": "第1次"}, "run_count": 2, "start_time": None, "end_time": None,
        }
    )  # fmt: skip
    found = History(api).runs_of("2026-0001")
    assert isinstance(found, FlowRuns)
    (run,) = found.runs
    assert run.flow == "提醒"
    assert run.is_backfilled
    assert run.page.startswith("# 2026-0001")
    assert run.tasks[-1].attempts == 2
    assert run.started_at is not None
    assert run.started_at.tzinfo is not None
    assert History(api).runs_of("2026-0002") == FlowRuns(())


def test_a_run_that_was_told_afterwards_has_its_steps_with_their_true_times(world, clock, reconciler, prefect):
    due_at = clock()
    carried_out(world, clock)
    reconciler.step(ACTOR)
    compose, record = prefect.task_runs
    assert (compose["name"], compose["state_type"], record["name"]) == ("编写", "COMPLETED", "登记")
    assert compose["start_time"] == due_at.isoformat()
    assert record["end_time"] == clock().isoformat()
    assert {row["flow_run_id"] for row in prefect.task_runs} == {prefect.runs[0]["id"]}


def test_steps_that_were_not_recorded_are_told_again_and_at_last_done_without(
    world, clock, reconciler, prefect, monkeypatch
):
    monkeypatch.setattr("flows.reconciler._STEPS_PATIENCE", 0.05)
    (action,) = carried_out(world, clock)
    prefect.recorder_is_away = True
    assert reconciler.step(ACTOR) == 0
    assert history_of(world, action)[0] == "owed"
    prefect.recorder_is_away = False
    assert reconciler.step(ACTOR) == 1
    assert len(prefect.runs) == 1
    assert [row["name"] for row in prefect.task_runs] == ["编写", "登记"]
    prefect.recorder_is_away = True
    (other,) = carried_out(world, clock)
    assert [reconciler.step(ACTOR) for _ in range(4)] == [0, 0, 0, 1]
    assert history_of(world, other)[0] == "backfilled"


def test_a_bundle_has_a_step_for_each_of_its_events(world, clock, reconciler, prefect):
    carried_out(world, clock, BUNDLE_FROM)
    assert reconciler.step(ACTOR) == BUNDLE_FROM
    assert len(prefect.task_runs) == BUNDLE_FROM + 1
    assert len({row["name"] for row in prefect.task_runs}) == BUNDLE_FROM + 1


def test_a_step_that_a_killed_run_left_open_is_closed_and_not_doubled(world, clock, reconciler, prefect):
    carried_out(world, clock)
    reconciler.step(ACTOR)
    prefect.task_runs[0] |= {"state_type": "RUNNING", "state_name": "Running"}
    with world.store.transaction("test") as tx:
        tx.run(t.timed_action.update().values(history="owed"))
    assert reconciler.step(ACTOR) == 1
    assert [(row["name"], row["state_type"]) for row in prefect.task_runs] == [
        ("编写", "COMPLETED"),
        ("登记", "COMPLETED"),
    ]


def test_an_absent_server_is_said_and_never_raised(tmp_path, world):
    assert isinstance(History(PrefectApi("http://127.0.0.1:9/api", AUTH)).runs_of("2026-0001"), Unavailable)
    assert isinstance(History(PrefectApi("http://127.0.0.1:9/api", AUTH)).task_runs("x"), Unavailable)


def test_an_answer_of_another_shape_is_said_and_never_raised(api, prefect):
    api.post("/flows/", {"name": "x"})
    prefect.runs.append({"tags": ["incident:2026-0001"]})
    assert isinstance(History(api).runs_of("2026-0001"), Unavailable)


def test_an_installation_without_prefect_says_so(world):
    off = world.services.settings.model_copy(update={"prefect_enabled": False})
    assert isinstance(open_history(off), Unavailable)
    assert isinstance(open_history(world.services.settings), History)


def test_reading_the_history_does_not_import_prefect():
    program = "import sys, flows.history; sys.exit('prefect' in sys.modules)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False).returncode == 0
