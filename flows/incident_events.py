"""The incident events as Prefect flows: one flow per kind of event, one flow run per event (a row of timed_action).

The first step of every run claims the event in our tables; whoever comes second finds nothing to do and says so. What
happened is what our tables say. A run's parameters, names, states and its page carry numbers and clock names only, so
everything else a run needs travels beside them, in a ``Work``.

    编写  claim the event, decide who hears of it, write the messages' rows      (one transaction)
    送达  send and record, one task per message; all inboxes together
    登记  attach the page that shows what was decided and why
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from loguru import logger
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from config.secrets import mask
from flows import sdk
from flows.account import Account, batches, load_account
from flows.artifact import render
from huiying.crash import crash_point
from huiying.domain.errors import Unavailable
from huiying.domain.kinds import ActionState, DeliveryState, EventKind
from huiying.now import monotonic
from huiying.service.delivery import Attempt, claim_delivery, expand_one, record_outcomes, send_claimed
from huiying.service.expand import Expansion
from huiying.service.hand import Hand
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.store import outbox
from huiying.store import tables as t

#: When the outbox, which repeats a failed message, is looked at again.
LOOK_AGAIN_SECONDS = [2.0, 4.0]
#: How long an outcome that the store does not take at once is offered again.
_RECORD_PATIENCE = 10.0
#: How far the deciding clock may lag behind the monotonic one, and how often it is asked again.
_MOST_EARLY = 1.0
_TRIES = 3
_HANDLED = "已由发送引擎直接处理"
_WAITS = "等待重发"
_NOT_SENT = "未送达"
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,20}")

R = TypeVar("R")


class Stalled(Exception):
    """A step could not be carried out; the text names the kind of fault only, because Prefect keeps it."""


@dataclass
class Work:
    """What a run works with, and how far it has come."""

    services: Services
    senders: Senders
    hand: Hand
    action_id: int
    #: The instant on the monotonic clock at which the event falls due.
    start_at: float
    #: One writer at a time within the process: waiting here is fair and quick, SQLite's busy handler is neither.
    writing: threading.Lock
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set when the run only waits (for a slow receiver, for the outbox): the next run may start.
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    expansion: Expansion | None = None
    account: Account | None = None
    #: A step failed because of our store or our code, not because of Prefect.
    stalled: bool = False


_work: ContextVar[Work] = ContextVar("work")


def give(work: Work) -> None:
    """Hand a run of this context its work."""
    _work.set(work)


# -- the flows -------------------------------------------------------------------------------------------------------


async def _carry_out(action_id: int) -> State[Any]:
    work = _work.get()
    if work.action_id != action_id:
        raise Stalled("work of another event")
    work.begun.set()
    try:
        return await _steps(work)
    except Stalled:
        raise
    except Exception as fault:  # noqa: BLE001 - Prefect keeps what a flow raises, whatever it is
        work.stalled = work.stalled or not isinstance(fault, sdk.FAULTS)
        logger.error("the flow of action {} failed: {}", action_id, mask(repr(fault)))
        raise Stalled(type(fault).__name__) from None
    finally:
        work.ended.set()


async def _steps(work: Work) -> State[Any]:
    await asyncio.sleep(max(0.0, work.start_at - monotonic()))
    await compose()
    if work.expansion is None or work.account is None:
        return Cancelled(name="已直接处理", message=await _aside(_why_not, work))
    crash_point("flow_after_expand")
    sent_together = batches(work.account.deliveries)
    # A task that fails says so in Prefect; the outbox goes on, and so does the run.
    await asyncio.gather(*(deliver(label, numbers) for label, numbers in sent_together), return_exceptions=True)
    await record()
    return Completed(name=_verdict(work.account), message=work.account.result)


def _make_flow(kind: EventKind) -> sdk.EventFlow:
    @flow(
        name=kind.zh,
        description=f"事项节点：{kind.zh}",
        validate_parameters=False,
        persist_result=False,
        result_storage=sdk.result_folder(),
    )
    async def incident_event(
        action_id: int,
        incident_no: str,  # noqa: ARG001 - shown in Prefect, like the next two
        clock_id: int | None,  # noqa: ARG001
        due_at: str,  # noqa: ARG001
    ) -> State[Any]:
        return await _carry_out(action_id)

    return incident_event


#: One flow per kind of event, named in Chinese.
FLOWS: dict[EventKind, sdk.EventFlow] = {kind: _make_flow(kind) for kind in EventKind}


def _verdict(account: Account) -> str:
    if any(line.state in _GONE_WRONG for line in account.deliveries):
        return "部分未送达"
    return "待重发" if any(line.state in _OPEN for line in account.deliveries) else "已办理"


# -- compose: claim, decide, write ---------------------------------------------------------------------------------------


@task(name="编写", task_run_name="编写", persist_result=False, cache_policy=NO_CACHE)
async def compose() -> State[Any]:
    """Claim the event and write its messages' rows."""
    work = _work.get()
    await _aside(_compose, work)
    if work.account is None or work.expansion is None:
        return Completed(name=_HANDLED)
    if work.expansion.state is ActionState.SUPERSEDED:
        return Completed(name="无须通知", message="时限已了结或已签收")
    return Completed(name="已编写", message=f"{len(work.account.deliveries)}件")


def _compose(work: Work) -> None:
    for _ in range(_TRIES):
        with work.writing:
            work.expansion = expand_one(work.services, work.senders, work.action_id, work.hand)
        if work.expansion is not None:
            _refresh(work)
            return
        early = _early(work)
        if not 0.0 < early <= _MOST_EARLY:
            return
        time.sleep(early)


def _early(work: Work) -> float:
    """Seconds until the event is due by the deciding clock, which may lag behind ours; zero when it has been taken."""
    with work.services.store.reading() as tx:
        row = outbox.one_pending(tx, work.action_id)
        return (row.due_at - tx.now).total_seconds() if row is not None else 0.0


def _refresh(work: Work) -> None:
    with work.services.store.reading() as tx:
        work.account = load_account(tx, work.action_id)


def _why_not(work: Work) -> str:
    """Why there was nothing to claim, from our tables."""
    with work.services.store.reading() as tx:
        account = load_account(tx, work.action_id)
    if account.state == ActionState.PENDING:
        return "通知暂停发送或将并入汇总，本次运行到此为止"
    if account.state == ActionState.SUPERSEDED:
        return "时限已变更或已了结，本次运行到此为止"
    return f"{_HANDLED}，本次运行到此为止：{account.result}"


# -- deliver: send and record --------------------------------------------------------------------------------------------

_OPEN = {DeliveryState.PENDING, DeliveryState.SENDING}
_GONE_WRONG = {DeliveryState.FAILED, DeliveryState.DEAD}


def _worth_another_look(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """The outbox repeats what failed for the moment; what failed for good has already taken another way."""
    return state.name == _WAITS


@task(
    name="送达",
    task_run_name="送达·{label}",
    retries=len(LOOK_AGAIN_SECONDS),
    retry_delay_seconds=LOOK_AGAIN_SECONDS,
    retry_condition_fn=_worth_another_look,
    persist_result=False,
    cache_policy=NO_CACHE,
)
async def deliver(label: str, numbers: list[str]) -> State[Any]:  # noqa: ARG001 - the label names the run
    """Send these messages and record what became of them; a failure shows here, the outbox goes on."""
    work = _work.get()
    fates = await _aside(_deliver, work, numbers)
    told = "，".join(fate.told for fate in fates)
    if any(fate.state in _OPEN for fate in fates):
        work.waits.set()
        return Failed(name=_WAITS, message=f"{told}；由发件箱重发")
    if any(fate.state in _GONE_WRONG for fate in fates):
        return Failed(name=_NOT_SENT, message=f"{told}；已另寻渠道或告知管理员")
    return Completed(name="已送出", message=told)


_OUTCOMES = {
    "transient": "暂时故障",
    "ambiguous": "结果不明",
    "rate_limited": "对方限流",
    "permanent": "对方拒收",
    "partial": "部分送达",
}


@dataclass(frozen=True, slots=True)
class _Fate:
    """What our tables say of one message now."""

    notice_no: str
    state: DeliveryState
    attempts: int
    outcome: str
    code: str

    @property
    def told(self) -> str:
        times = f"第{self.attempts}次" if self.attempts else ""
        why = " ".join(part for part in (_OUTCOMES.get(self.outcome, ""), self.code) if part)
        failed = self.state in _OPEN | _GONE_WRONG and self.attempts
        return f"{self.notice_no} {self.state.zh}{f'（{times}，{why}）' if failed else times and f'（{times}）'}"


def _deliver(work: Work, numbers: Sequence[str]) -> list[_Fate]:
    attempts = []
    for number in numbers:
        with work.writing:
            claimed = claim_delivery(work.services, work.senders, number, work.hand)
        if claimed is not None:
            attempts.append(send_claimed(work.senders, claimed))
    if attempts:
        _record(work, attempts)
    return _fates(work, numbers)


def _record(work: Work, attempts: Sequence[Attempt]) -> None:
    """What was sent must be written down; a store that is away for a moment is asked again."""
    give_up_at, pause = monotonic() + _RECORD_PATIENCE, 0.05
    while True:
        try:
            with work.writing:
                record_outcomes(work.services, work.hand, attempts)
        except Unavailable:
            if monotonic() + pause > give_up_at:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        else:
            return


def _fates(work: Work, numbers: Sequence[str]) -> list[_Fate]:
    delivery, attempt = t.delivery.c, t.delivery_attempt.c
    with work.services.store.reading() as tx:
        rows = tx.all(
            t.delivery.select()
            .with_only_columns(delivery.notice_no, delivery.state, delivery.attempts, delivery.outcome)
            .where(delivery.notice_no.in_(list(numbers)))
            .order_by(delivery.notice_no)
        )
        codes = tx.all(
            t.delivery_attempt.select()
            .with_only_columns(attempt.notice_no, attempt.number, attempt.code)
            .where(attempt.notice_no.in_(list(numbers)))
        )
    code_of = {(row.notice_no, row.number): row.code for row in codes}
    return [
        _Fate(
            row.notice_no,
            DeliveryState(row.state),
            row.attempts,
            row.outcome,
            _plain_code(code_of.get((row.notice_no, row.attempts), "")),
        )
        for row in rows
    ]


def _plain_code(code: str) -> str:
    """A vendor's error code, if it looks like one."""
    return code if _CODE.fullmatch(code) else ""


# -- record: the page ----------------------------------------------------------------------------------------------------


@task(name="登记", task_run_name="登记", persist_result=False, cache_policy=NO_CACHE)
async def record() -> State[Any]:
    """Attach the page that shows what was decided and why."""
    work = _work.get()
    await _aside(_refresh, work)
    context = FlowRunContext.get()
    if work.account is None or context is None or context.flow_run is None:
        raise Stalled("no run to attach the page to")
    await sdk.attach_page(work.account.artifact_key, render(work.account), context.flow_run.id)
    return Completed(name="已登记", message=work.account.result)


async def _aside(function: Callable[..., R], work: Work, *arguments: object) -> R:
    """Do what waits (for the store, for a receiver) in a thread; a fault's own words stay in our log."""
    try:
        return await asyncio.to_thread(function, work, *arguments)
    except Exception as fault:  # noqa: BLE001 - Prefect keeps what a step raises, whatever it is
        work.stalled = True
        logger.error("flow step {} failed: {}", function.__name__, mask(repr(fault)))
        raise Stalled(type(fault).__name__) from None
