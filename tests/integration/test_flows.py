"""Incident events through a real Prefect server: what its history shows, and what happens when it fails.

One server serves all of these tests. The breaker's pause is two seconds here instead of fifteen. The runner's crash points
are visited in test_crash_points.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.history import FlowRun, FlowRuns, History
from flows.rest import PrefectApi
from flows.retention import Retention
from huiying.domain.kinds import Band, EventKind
from huiying.now import utc_now
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from tests.engine_fixtures import HOOK_SECRET, until
from tests.fakes.http_server import HttpServer, status
from tests.fakes.moody_proxy import MoodyProxy
from tests.flow_stage import PrefectServer, Stage, stage

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

CANARY = "金丝雀"
PHONE = "13800001234"
GUARD_SECONDS = 1.5


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    made = PrefectServer(tmp_path_factory.mktemp("prefect"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def api(server: PrefectServer) -> PrefectApi:
    return PrefectApi(f"http://127.0.0.1:{server.port}/api", server.auth)


@pytest.fixture(scope="module")
def proxy(server: PrefectServer) -> Iterator[MoodyProxy]:
    """What stands between the runner and the server."""
    with MoodyProxy(server.port) as made:
        yield made


@pytest.fixture(scope="module")
def office(server: PrefectServer, proxy: MoodyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Engine and runner at work; every free text in its tables contains the canary."""
    with stage(server, tmp_path_factory.mktemp("office"), api_port=proxy.port) as made:
        with made.store.transaction("test") as tx:
            tx.run(t.unit.update().values(name=f"{CANARY}单位"))
            tx.run(t.person.update().values(name=f"{CANARY}姓名"))
            tx.run(t.channel.update().where(t.channel.c.id == "hook").values(name=f"{CANARY}渠道"))
        made.start_engine()
        made.start_runner({"FLOW_STAGE_OPEN_SECONDS": "2"})
        yield made


def texts(**more: Any) -> dict[str, Any]:
    return {"title": f"{CANARY}标题", "notice_title": f"{CANARY}事项", "body": f"{CANARY}正文", **more}


def incident_no(office: Stage, incident_id: int) -> str:
    return str(office.world.one(t.incident, t.incident.c.id == incident_id).no)


def runs_of(api: PrefectApi, no: str) -> tuple[FlowRun, ...]:
    found = History(api).runs_of(no)
    assert isinstance(found, FlowRuns)
    return found.runs


# -- in calm use -----------------------------------------------------------------------------------------------------

KINDS = {
    "reminder": EventKind.REMINDER,
    "task": EventKind.ESCALATION,
    "release": EventKind.RELEASE_RECORDED,
    "breached": EventKind.BREACHED,
}
BANDS = {"breached": Band.OVERDUE}
GAP = 1.2


@pytest.fixture(scope="module")
def calm(office: Stage) -> dict[str, int]:
    """Events of several kinds, one after the other. A round in which the machine was busy with something else is
    repeated: what is asked is that a calm round runs inside Prefect, every event of it."""
    for _ in range(3):
        made = _calm_round(office)
        if set(office.modes([made[name] for name in KINDS])) == {"prefect"}:
            break
    return made


def _calm_round(office: Stage) -> dict[str, int]:
    incident, clock = office.new_clock(**texts())
    task = office.world.clock(incident, office.now() + timedelta(hours=2), origin="task", name=f"{CANARY}任务")
    overdue = office.world.clock(incident, office.now() + timedelta(seconds=1 + 3 * GAP))
    clocks = {"reminder": clock, "task": task, "release": None, "breached": overdue}
    events = {
        name: office.due(
            1.0 + number * GAP, clock=(incident, clocks[name]), kind=kind, band=BANDS.get(name, Band.NOTICE)
        )
        for number, (name, kind) in enumerate(KINDS.items())
    }
    office.await_history(list(events.values()), 30.0)
    return {**events, "incident": incident, "clock": clock}


def test_in_calm_use_every_event_runs_inside_prefect(office, calm):
    rows = [office.world.action_row(calm[name]) for name in KINDS]
    assert [(row.mode, row.history) for row in rows] == [("prefect", "prefect")] * len(KINDS)


def test_a_message_that_goes_through_prefect_is_hardly_late(office, calm):
    assert max(office.late(calm[name]) for name in KINDS) < 1.0


def test_a_run_is_named_and_found_by_numbers_and_clock_names(office, calm, api):
    no = incident_no(office, calm["incident"])
    runs = {run.parameters["action_id"]: run for run in runs_of(api, no)}
    reminder = runs[calm["reminder"]]
    assert reminder.name == f"{no}·5小时权威信息发布·提醒"
    assert reminder.flow == "提醒"
    assert set(reminder.tags) == {
        f"incident:{no}",
        f"clock:{calm['clock']}",
        "rule:authoritative_release",
        "event:reminder",
    }
    assert set(reminder.parameters) == {"action_id", "incident_no", "clock_id", "due_at"}
    assert reminder.parameters["due_at"].endswith("+08:00")
    assert runs[calm["task"]].name.startswith(f"{no}·5小时部门任务时钟·")
    assert runs[calm["release"]].name == f"{no}·发布登记"
    assert runs[calm["breached"]].flow == "超时"


def test_the_steps_of_a_run_are_shown_with_their_outcome(office, calm, api):
    def complete() -> FlowRun | None:
        runs = runs_of(api, incident_no(office, calm["incident"]))
        found = next(run for run in runs if run.parameters["action_id"] == calm["reminder"])
        return found if len(found.tasks) == 4 and all(task.state == "COMPLETED" for task in found.tasks) else None

    run = until(complete, 5.0, 0.2)  # task states travel in the background
    hook = office.delivered(calm["reminder"])[0].notice_no
    assert [task.name for task in run.tasks] == [
        "编写",
        f"送达·工作群·签名网络回调·{hook}",
        "送达·站内收件箱2件",
        "登记",
    ]
    assert run.tasks[1].state_name == "已送出"
    assert run.state_name == "已办理"
    assert run.message == "已送出3件"


def test_the_page_shows_what_was_decided_and_why(office, calm, api):
    run = next(
        run
        for run in runs_of(api, incident_no(office, calm["incident"]))
        if run.parameters["action_id"] == calm["reminder"]
    )
    assert "## 时限与依据" in run.page
    assert "5小时权威信息发布" in run.page
    assert "文件明定" in run.page
    assert "对象：值班员1件，联络员1件，工作群1件" in run.page
    for row in office.world.rows(t.delivery, t.delivery.c.action_id == calm["reminder"]):
        assert row.notice_no in run.page


def test_no_free_text_person_address_or_secret_reaches_prefect(office, calm, server, api):
    until(lambda: len(_task_runs(api)) >= 4 * len(KINDS), 5.0, 0.2)
    time.sleep(0.5)  # the last states travel in the background
    kept = b"".join(path.read_bytes() for path in sorted((server.folder / "prefect").glob("prefect.db*")))
    answers = json.dumps([api.post(f"/{what}/filter", {}) for what in ("flow_runs", "task_runs", "artifacts")])
    for secret in (CANARY, PHONE, HOOK_SECRET, str(office.receiver.port)):
        for form in (secret.encode(), json.dumps(secret)[1:-1].encode()):
            assert form not in kept
            assert form not in answers.encode()
            assert form not in office.log.read_bytes()
    assert api.post("/logs/filter", {}) == []


def _task_runs(api: PrefectApi) -> list[Any]:
    found: list[Any] = api.post("/task_runs/filter", {})
    return found


def test_a_failing_receiver_shows_in_the_task_while_the_outbox_goes_on(office, api):
    with HttpServer() as broken:
        broken.fail_with(status(503, f"{CANARY}回执".encode()))
        with office.store.transaction("test") as tx:
            tx.run(t.channel.update().where(t.channel.c.id == "hook").values(enabled=False))
        office.world.webhook("other", f"{broken.base_url}/{CANARY}")
        action = office.due(0.8)
        try:
            until(lambda: any(row.state == "sent" for row in office.delivered(action)), 10.0)
        finally:
            with office.store.transaction("test") as tx:
                tx.run(t.channel.update().where(t.channel.c.id == "hook").values(enabled=True))
                tx.run(t.channel.update().where(t.channel.c.id == "other").values(enabled=False))
    row = office.world.action_row(action)
    no = incident_no(office, row.incident_id)

    def retried() -> Any:
        tasks = [task for run in runs_of(api, no) for task in run.tasks if "签名网络回调" in task.name]
        done = (task for task in tasks if task.attempts > 1 and task.state == "COMPLETED")
        # Prefect shows the state a moment before its message.
        return next((task for task in done if task.message), None)

    task = until(retried, 10.0, 0.2)
    assert "第2次" in task.message


# -- when Prefect fails ------------------------------------------------------------------------------------------------


def series(made: Stage, incident: int, number: int, gap: float = 0.5) -> list[int]:
    """Events of one incident, so many seconds apart, the last of them due. Each has a clock of its own: of what is due
    together on one clock only the last speaks."""
    ids = []
    for _ in range(number):
        ids.append(made.due(0.3, clock=(incident, made.world.clock(incident, made.now() + timedelta(hours=1)))))
        time.sleep(gap)
    time.sleep(0.3)
    return ids


def claimed_by_a_flow(made: Stage, incident: int) -> list[int]:
    """Events of which the last was claimed by a flow just now; while the breaker is still open the engine takes them."""
    ids: list[int] = []
    for _ in range(8):
        until(made.is_healthy, 10.0)
        ids.append(made.due(1.0, clock=(incident, made.world.clock(incident, made.now() + timedelta(hours=1)))))
        until(lambda: made.world.action_row(ids[-1]).state != "pending", 5.0, 0.002)
        if made.world.action_row(ids[-1]).mode == "prefect":
            return ids
    raise AssertionError("the runner does not carry out events any more")


def test_a_prefect_that_refuses_hangs_or_dies_delays_nothing_and_its_history_is_complete_afterwards(
    office: Stage, server: PrefectServer, proxy: MoodyProxy, api: PrefectApi
):
    incident = office.world.incident()
    ids = series(office, incident, 1)

    proxy.feel("busy")
    ids += series(office, incident, 3)
    proxy.feel("pass")
    until(office.is_healthy, 10.0)

    server.pause()
    ids += series(office, incident, 4)
    assert office.beats() < 3.0  # a hanging server does not keep the runner from saying how it is
    server.go_on()

    tried = claimed_by_a_flow(office, incident)
    server.kill()  # the run has begun and its message is on its way
    claimed = tried[-1]
    ids += [*tried, *series(office, incident, 3)]
    server.start()
    until(office.is_healthy, 10.0)
    ids += series(office, incident, 1)

    office.await_arrival(ids, 10.0)
    late = [office.late(key) for key in ids]
    assert max(late) <= GUARD_SECONDS, late
    assert max(len(times) for times in office.arrivals().values()) == 1
    assert {"prefect", "direct"} == set(office.modes(ids))
    office.await_history(ids, 30.0)

    runs = runs_of(api, incident_no(office, incident))
    told = Counter(key for run in runs for key in _events_of(run) if run.state == "COMPLETED")
    assert set(told) == set(ids), [(run.parameters, run.state, run.message) for run in runs]
    assert max(told.values()) == 1
    marked = {key for run in runs if run.is_backfilled for key in _events_of(run)}
    assert marked >= {key for key in ids if office.world.action_row(key).mode == "direct"}
    healed = next(run for run in runs if run.parameters.get("action_id") == claimed)
    assert healed.is_backfilled
    assert healed.name.startswith("补记·")
    assert healed.page
    for run in runs:
        if run.is_backfilled:
            _has_its_steps(office, run)


def _has_its_steps(office: Stage, run: FlowRun) -> None:
    """A run that was told afterwards shows its tasks, none of them open, each at the time when it really happened."""
    keys = _events_of(run)
    assert [task.name for task in run.tasks].count("登记") == 1, run.tasks
    assert len(run.tasks) >= (2 + 1 if "action_id" in run.parameters else len(keys) + 1)
    assert {task.state for task in run.tasks} <= {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    if "action_id" in run.parameters and office.world.action_row(keys[0]).mode == "direct":
        claimed_at = office.world.action_row(keys[0]).claimed_at
        (compose,) = [task for task in run.tasks if task.name == "编写"]
        assert compose.started_at == claimed_at
        assert compose.ended_at == claimed_at


def test_the_old_end_of_the_history_is_cut_with_its_pages(api: PrefectApi, tmp_path: Path):
    flow_id = api.post("/flows/", {"name": "旧"})["id"]
    state = {"type": "COMPLETED", "name": "已办理"}
    made = [
        api.post("/flow_runs/", {"flow_id": flow_id, "name": f"旧{n}", "tags": ["old"], "state": state})["id"]
        for n in "12"
    ]
    api.post("/artifacts/", {"key": "old", "type": "markdown", "data": "x", "flow_run_id": made[0]})
    now = store_at(tmp_path, timedelta())
    assert Retention(now, api, 180).delete_batch() == 0
    half_a_year_on = store_at(tmp_path, timedelta(days=181))
    while Retention(half_a_year_on, api, 180).delete_batch():
        pass
    assert api.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": made}}}) == []
    assert api.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": made}}}) == []


def store_at(folder: Path, ahead: timedelta) -> Store:
    """An empty store whose clock is so far ahead."""
    return Store(open_engine(f"sqlite:///{folder / 'empty.db'}"), lambda: utc_now() + ahead, fixed_clock=True)


def test_it_ends_within_three_seconds_while_prefect_hangs(office, server):
    until(office.is_healthy, 10.0)
    server.pause()
    try:
        office.due(0.2)
        time.sleep(0.5)
        began = time.monotonic()
        office.runner.terminate()
        assert office.runner.wait(5) == 0
        assert time.monotonic() - began < 3.0
    finally:
        server.go_on()


def _events_of(run: FlowRun) -> list[int]:
    return list(run.parameters.get("action_ids") or [run.parameters["action_id"]])
