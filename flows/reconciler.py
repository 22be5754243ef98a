"""Writes into Prefect's history what the engine did alone, so that it is complete after every outage.

A flow run's states cannot be back-dated: its true times stand in its name, parameters, state message and page, and in its
task runs, and the run is marked 补记. The idempotency key is the action's id, so a kill between Prefect's commit and ours creates nothing
twice, and a run that was left behind half done is completed instead of being created again. Where an incident is far
behind, one run stands for many of its events.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from loguru import logger

from flows.account import Account, load_accounts, shown
from flows.artifact import lateness, render, render_bundle
from flows.history import MARK
from flows.rest import PrefectApi, PrefectRefused, PrefectUnavailable
from flows.task_story import Step, event_of, steps_of, steps_of_bundle
from huiying.crash import crash_point
from huiying.domain.errors import HuiyingError, Unavailable
from huiying.domain.kinds import DeliveryState
from huiying.now import monotonic
from huiying.service.hand import DIRECT, Hand
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx

#: With more than this many owed for one incident they are told in one run, at most this many at a time.
BUNDLE_FROM = 6
BUNDLE_MOST = 50
#: An event is told once its messages are settled, or after this in any case.
_SETTLED_AFTER = timedelta(seconds=3)
_TOLD_AFTER = timedelta(seconds=30)
#: No run of ours lasts as long as this: one that still claims to run was left behind.
_LEFT_BEHIND = timedelta(seconds=90)
_LOOK_FOR_LEFT_BEHIND_EVERY = 60
_MOST_REFUSALS = 3
#: Prefect's recorder takes a moment to write down the steps of a run.
_STEPS_PATIENCE = 2.0
_MODES = {DIRECT: "由发送引擎直接处理"}

_A, _D = t.timed_action.c, t.delivery.c
_OWED = sa.text("timed_action.history = 'owed'")
_UNENDED = sa.and_(_A.history == "prefect", _A.flow_run_id.is_(None))
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Job:
    """The events one run will stand for; ``bundle`` is the bundle's key, empty for a single event."""

    action_ids: tuple[int, ...]
    bundle: str = ""


class Reconciler:
    """Fills in the history step by step; the caller sets the pace."""

    def __init__(self, services: Services, api: PrefectApi) -> None:
        self._store = services.store
        self._api = api
        self._flow_ids: dict[str, str] = {}
        self._steps = 0
        self._refusals: Counter[Job] = Counter()
        self._untold: set[int] = set()
        self._without_steps: Counter[str] = Counter()

    # -- what live runs leave to us ----------------------------------------------------------------------------------

    def settle(self, actor: str, action_id: int, flow_run_id: str | None) -> None:
        """Note the run of an event claimed by a flow; without a closed run its history is owed.

        What was due beside it and claimed in the same transaction had no run of its own.
        """
        action = t.timed_action
        with self._store.transaction(actor) as tx:
            if flow_run_id is not None:
                tx.run(action.update().where(_A.id == action_id).values(flow_run_id=flow_run_id))
            one = tx.one(sa.select(_A.clock_id, _A.claimed_at).where(_A.id == action_id))
            lost = _A.id == action_id
            if one is not None and one.clock_id is not None:
                lost = sa.or_(lost, sa.and_(_A.clock_id == one.clock_id, _A.claimed_at == one.claimed_at))
            _owe(tx, lost)

    def take_up(self, hand: Hand) -> None:
        """At the start: runs that a former life of this runner did not bring to an end."""
        former = sa.and_(_A.owner.startswith(f"{hand.process}/", autoescape=True), _A.owner != hand.owner)
        # Looked up beforehand: going through the whole table must not hold up those who write.
        with self._store.reading() as tx:
            found = [row.id for row in tx.all(sa.select(_A.id).where(former, _UNENDED))]
        for start in range(0, len(found), _CHUNK):
            with self._store.transaction(hand.actor) as tx:
                _owe(tx, _A.id.in_(found[start : start + _CHUNK]))

    # -- filling in --------------------------------------------------------------------------------------------------

    def step(self, actor: str) -> int:
        """Fill in one run; gives the number of events it stands for. What Prefect refuses or misses is left for later."""
        self._steps += 1
        job: Job | None = None
        try:
            if self._steps % _LOOK_FOR_LEFT_BEHIND_EVERY == 1:
                self._end_left_behind()
            job = self._next_job(actor)
            if job is not None:
                self._fill_in(actor, job)
        except PrefectUnavailable as error:
            self._flow_ids.clear()  # its database may be another one now
            logger.warning("history not filled in: {}", error)
            return 0
        except (PrefectRefused, HuiyingError, ValueError) as error:
            self._flow_ids.clear()
            if job is None or isinstance(error, Unavailable):
                raise
            self._note_refusal(job, error)
            return 0
        return len(job.action_ids) if job is not None else 0

    def _note_refusal(self, job: Job, error: Exception) -> None:
        """What cannot be told again and again must not keep the others from being told (until the next start)."""
        self._refusals[job] += 1
        logger.error("history of actions {} cannot be told: {}", job.action_ids, type(error).__name__)
        if self._refusals[job] >= _MOST_REFUSALS:
            self._untold.update(job.action_ids)

    def _next_job(self, actor: str) -> Job | None:
        with self._store.reading() as tx:
            found = tx.all(_FIRST_OWED, _moments(tx) | {"untold": sorted(self._untold) or [0]})
            if not found:
                return None
            first = found[0]
            if _is_bundle_key(first.flow_run_id):
                return _begun_bundle(tx, first.flow_run_id)
            rows = [] if first.incident_id is None or first.mode != DIRECT else _owed_of(tx, first.incident_id)
        if len(rows) < BUNDLE_FROM:
            return Job((first.id,))
        return self._begin_bundle(actor, rows)

    def _begin_bundle(self, actor: str, ids: Sequence[int]) -> Job | None:
        """Write down which events the run will stand for, so that a kill (or another node) cannot make it another set."""
        key = f"bundle:{secrets.token_hex(12)}"
        with self._store.transaction(actor) as tx:
            free = sa.and_(_A.id.in_(list(ids)), _OWED, _A.flow_run_id.is_(None))
            tx.run(t.timed_action.update().where(free).values(flow_run_id=key))
            job = _begun_bundle(tx, key)
        return job if job.action_ids else None

    def _fill_in(self, actor: str, job: Job) -> None:
        with self._store.reading() as tx:
            accounts, now = load_accounts(tx, job.action_ids), tx.now
        crash_point("backfill_before")
        told = _bundle(accounts, job.bundle, now) if job.bundle else _single(accounts[0], now)
        run_id = self._create(told)
        crash_point("backfill_after")
        with self._store.transaction(actor) as tx:
            mine = t.timed_action.update().where(_A.id.in_(list(job.action_ids)), _OWED)
            tx.run(mine.values(history="backfilled", flow_run_id=run_id))

    def _create(self, told: _Told) -> str:
        """The run with its page; one that is there already is completed with what is true."""
        state = {"type": "COMPLETED", "name": MARK, "message": told.message}
        named = {"name": told.name, "tags": told.tags, "parameters": told.parameters}
        flow_id = self._flow_id(told.flow)
        run = self._api.post("/flow_runs/", {**named, "flow_id": flow_id, "idempotency_key": told.key, "state": state})
        run_id = str(run["id"])
        if MARK not in run["tags"]:
            self._api.patch(f"/flow_runs/{run_id}", named)
            self._api.post(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})
        page = {"key": told.page_key, "type": "markdown", "data": told.page, "flow_run_id": run_id}
        if not self._has_page(run_id, told.page):
            self._api.post("/artifacts/", page)
        self._tell_steps(run_id, told)
        return run_id

    def _tell_steps(self, run_id: str, told: _Told) -> None:
        """The run's task runs with their true times; those that a live run left behind open are closed.

        Prefect records them a moment after it was told. Where it does not, the run is told again later, a few times.
        """
        known = {row["name"]: row for row in self._task_runs(run_id)}
        for step in told.steps:
            row = known.get(step.name)
            if row is not None and row["state_type"] in {"PENDING", "RUNNING"}:
                state = {"type": step.state, "name": step.state_name, "message": step.message}
                self._api.post(f"/task_runs/{row['id']}/set_state", {"state": state, "force": True})
        missing = [step for step in told.steps if step.name not in known]
        if not missing or self._without_steps[told.key] >= _MOST_REFUSALS:
            return
        self._api.post("/events", [event_of(step, run_id) for step in missing])
        if not self._are_recorded(run_id, {step.name for step in missing}):
            self._without_steps[told.key] += 1
            raise PrefectUnavailable("the steps of a run are not recorded")

    def _are_recorded(self, run_id: str, names: set[str]) -> bool:
        give_up_at, pause = monotonic() + _STEPS_PATIENCE, 0.02
        while not names <= {row["name"] for row in self._task_runs(run_id)}:
            if monotonic() + pause > give_up_at:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        return True

    def _task_runs(self, run_id: str) -> list[Any]:
        wanted = {"task_runs": {"flow_run_id": {"any_": [run_id]}}, "limit": 200}
        found: list[Any] = self._api.post("/task_runs/filter", wanted)
        return found

    def _has_page(self, run_id: str, page: str) -> bool:
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}, "limit": 5}
        return any(found["data"] == page for found in self._api.post("/artifacts/filter", wanted))

    def _flow_id(self, name: str) -> str:
        if name not in self._flow_ids:
            self._flow_ids[name] = str(self._api.post("/flows/", {"name": name})["id"])
        return self._flow_ids[name]

    # -- runs that were left behind ----------------------------------------------------------------------------------

    def _end_left_behind(self) -> None:
        """Runs that a killed process or an outage left open: a bundle tells of their events, so they end here.

        Those whose event is still owed are completed by their own back-filling.
        """
        with self._store.reading() as tx:
            before = (tx.now - _LEFT_BEHIND).isoformat()
        wanted = {
            "flow_runs": {
                "state": {"type": {"any_": ["PENDING", "RUNNING"]}},
                "expected_start_time": {"before_": before},
            },
            "limit": 50,
        }
        for run in self._api.post("/flow_runs/filter", wanted):
            action_id = (run.get("parameters") or {}).get("action_id")
            if isinstance(action_id, int) and self._is_told(action_id):
                state = {"type": "CANCELLED", "name": "已中断", "message": "本次运行中断，节点的处理情况以系统库表为准"}
                self._api.post(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})

    def _is_told(self, action_id: int) -> bool:
        with self._store.reading() as tx:
            history: str | None = tx.value(sa.select(_A.history).where(_A.id == action_id))
            return history != "owed"


# -- what a run says -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Told:
    key: str
    flow: str
    name: str
    tags: list[str]
    parameters: dict[str, Any]
    message: str
    page_key: str
    page: str
    steps: tuple[Step, ...]


def _single(account: Account, now: datetime) -> _Told:
    how = _MODES.get(account.mode, "由流程认领并处理，运行中断")
    times = f"应于{shown(account.due_at)}，实际{shown(account.claimed_at)}（{lateness(account.due_at, account.claimed_at)}）"
    return _Told(
        key=account.key,
        flow=account.kind.zh,
        name=f"{MARK}·{account.name}",
        tags=[*account.tags, MARK],
        parameters=account.parameters,
        message=f"{how}，事后补记：{times}；{account.result}",
        page_key=account.artifact_key,
        page=render(account, backfilled=True),
        steps=steps_of(account, now),
    )


def _bundle(accounts: Sequence[Account], key: str, now: datetime) -> _Told:
    no, first, last = accounts[0].incident_no, accounts[0].due_at, accounts[-1].due_at
    clocks = sorted({account.clock.id for account in accounts if account.clock})
    return _Told(
        key=key,
        flow=MARK,
        name=f"{MARK}·{no}·{len(accounts)}个节点",
        tags=[f"incident:{no}", *(f"clock:{clock}" for clock in clocks), MARK],
        parameters={"incident_no": no, "action_ids": [account.action_id for account in accounts]},
        message=f"{len(accounts)}个节点由发送引擎直接处理，事后补记：应于{shown(first)}至{shown(last)}",
        page_key=accounts[0].artifact_key,
        page=render_bundle(no, accounts),
        steps=steps_of_bundle(accounts, now),
    )


# -- queries ---------------------------------------------------------------------------------------------------------

_LIVE = sa.select(sa.literal(1)).where(
    _D.action_id == _A.id, _D.state.in_((str(DeliveryState.PENDING), str(DeliveryState.SENDING)))
)
_TELLABLE = sa.or_(
    _A.claimed_at <= sa.bindparam("in_any_case"),
    sa.and_(_A.claimed_at <= sa.bindparam("when_settled"), ~_LIVE.exists()),
)
_FIRST_OWED = (
    sa.select(_A.id, _A.incident_id, _A.mode, _A.flow_run_id)
    .where(_OWED, _TELLABLE, _A.id.not_in(sa.bindparam("untold", expanding=True)))
    .order_by(_A.id)
    .limit(1)
)


def _moments(tx: Tx) -> dict[str, Any]:
    return {"in_any_case": tx.now - _TOLD_AFTER, "when_settled": tx.now - _SETTLED_AFTER}


def _owed_of(tx: Tx, incident_id: int) -> list[int]:
    statement = (
        sa.select(_A.id)
        .where(_OWED, _TELLABLE, _A.incident_id == incident_id, _A.mode == DIRECT, _A.flow_run_id.is_(None))
        .order_by(_A.id)
        .limit(BUNDLE_MOST)
    )
    return [row.id for row in tx.all(statement, _moments(tx))]


def _is_bundle_key(text: str | None) -> bool:
    return bool(text) and str(text).startswith("bundle:")


def _begun_bundle(tx: Tx, key: str) -> Job:
    statement = sa.select(_A.id).where(_OWED, _A.flow_run_id == key).order_by(_A.id)
    return Job(tuple(row.id for row in tx.all(statement)), key)


def _owe(tx: Tx, which: sa.ColumnElement[bool]) -> None:
    tx.run(t.timed_action.update().where(which, _UNENDED).values(history="owed"))
