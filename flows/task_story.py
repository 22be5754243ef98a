"""The steps of a back-filled run, with the times at which they really happened.

Prefect cannot back-date what its API creates, but it records task runs from the events that a flow's own process sends:
we send the same kind of event with the true instants. Ids follow from the run and the step, so that sending twice (after
a kill, after a loss) creates nothing twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.account import Account, DeliveryLine, batches
from huiying.domain.kinds import DeliveryState

_OURS = uuid.UUID("6f0b9a53-6d0e-5c0e-9a35-0d6b51a0c7c4")
_OPEN = frozenset({DeliveryState.PENDING, DeliveryState.SENDING})
_GONE_WRONG = frozenset({DeliveryState.FAILED, DeliveryState.DEAD})
COMPLETED, FAILED = "COMPLETED", "FAILED"


@dataclass(frozen=True, slots=True)
class Step:
    """One task run to be written down; ``key`` tells the steps of a run apart, instants are aware."""

    key: str
    name: str
    state: str
    state_name: str
    message: str
    attempts: int
    began_at: datetime
    ended_at: datetime


def steps_of(account: Account, told_at: datetime) -> tuple[Step, ...]:
    """编写, 送达 for each message as a live run would have it, and 登记 when the account was written down."""
    began = account.claimed_at or account.due_at
    count = len(account.deliveries)
    compose = Step("compose", "编写", COMPLETED, "已编写", f"{count}件" if count else account.result, 1, began, began)
    sent = [
        _delivered(label, [line for line in account.deliveries if line.notice_no in set(numbers)], began)
        for label, numbers in batches(account.deliveries)
    ]
    record = Step("record", "登记", COMPLETED, "已登记", "事后补记", 1, told_at, told_at)
    return (compose, *sent, record)


def steps_of_bundle(accounts: Iterable[Account], told_at: datetime) -> tuple[Step, ...]:
    """One step for each event that the run stands for, in the order of time."""
    events = [_event(account) for account in accounts]
    return (*events, Step("record", "登记", COMPLETED, "已登记", f"补记{len(events)}个节点", 1, told_at, told_at))


def _delivered(label: str, lines: Sequence[DeliveryLine], began: datetime) -> Step:
    state, name = _fate(lines)
    first = min((line.first_sent_at for line in lines if line.first_sent_at), default=began)
    last = max((line.sent_at or line.first_sent_at or began for line in lines), default=first)
    told = "，".join(f"{line.notice_no} {line.state.zh}" for line in lines)
    attempts = max((line.attempts for line in lines), default=0)
    return Step(f"deliver:{label}", f"送达·{label}", state, name, told, max(1, attempts), first, max(first, last))


def _fate(lines: Sequence[DeliveryLine]) -> tuple[str, str]:
    if any(line.state in _GONE_WRONG for line in lines):
        return FAILED, "未送达"
    if any(line.state in _OPEN for line in lines):
        return FAILED, "等待重发"
    return COMPLETED, "已送出" if any(line.sent_at for line in lines) else "无须发送"


def _event(account: Account) -> Step:
    began = account.claimed_at or account.due_at
    ended = max([began, *(line.sent_at for line in account.deliveries if line.sent_at)])
    state, name = _fate(account.deliveries) if account.deliveries else (COMPLETED, "无须通知")
    clock = account.clock.label if account.clock else ""
    label = "·".join(part for part in (clock, account.step) if part)
    attempts = max((line.attempts for line in account.deliveries), default=0)
    key = f"event:{account.action_id}"
    return Step(key, f"{label}·{account.action_id}", state, name, account.result, max(1, attempts), began, ended)


def event_of(step: Step, run_id: str) -> dict[str, Any]:
    """What Prefect's recorder takes for the end of this task run."""
    task_id = uuid.uuid5(_OURS, f"{run_id}/{step.key}")
    state: dict[str, Any] = {
        "type": step.state,
        "name": step.state_name,
        "message": step.message,
        "state_details": {},
        "data": None,
    }
    return {
        "id": str(uuid.uuid5(task_id, step.state_name)),
        "occurred": step.ended_at.isoformat(),
        "event": f"prefect.task-run.{step.state_name}",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{task_id}",
            "prefect.resource.name": step.name,
            "prefect.run-count": str(step.attempts),
            "prefect.state-message": step.message,
            "prefect.state-name": step.state_name,
            "prefect.state-timestamp": step.ended_at.isoformat(),
            "prefect.state-type": step.state,
            "prefect.orchestration": "client",
        },
        "related": [{"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "flow-run"}],
        "payload": {
            "intended": {"from": "RUNNING", "to": step.state},
            "initial_state": None,
            "validated_state": state,
            "task_run": _task_run(step),
        },
    }


def _task_run(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "task_key": step.key.partition(":")[0],
        "dynamic_key": step.key,
        "tags": [],
        "run_count": step.attempts,
        "flow_run_run_count": 1,
        "expected_start_time": step.began_at.isoformat(),
        "start_time": step.began_at.isoformat(),
        "end_time": step.ended_at.isoformat(),
        "total_run_time": (step.ended_at - step.began_at).total_seconds(),
    }
