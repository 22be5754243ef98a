"""Ending an incident (void, waive, hand over, close) and reopening it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from huiying.domain.errors import Refused
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.kinds import (
    Band,
    EventKind,
    TimeKind,
)
from huiying.domain.sentences import listed, said, term
from huiying.service.actor import Actor
from huiying.service.changes import COMMANDS, DESK, Change, command, execute
from huiying.service.registering import check_stated, open_cycle, time_value
from huiying.service.requests import (
    TimeInput,
)
from huiying.service.services import Services
from huiying.store import incidents as repo
from huiying.store import tables as t


def _end(services: Services, actor: Actor, name: str, no: str, reason: str) -> dict[str, Any]:
    return execute(services, actor, name, no, {"reason": checked("reason", reason, NOTE_LIMIT, "理由", required=True)})


def void(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Void a false alarm (误报撤销); always two persons, the clocks run until then."""
    return _end(services, actor, "void", no, reason)


def waive(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """No response needed (研判不予回应); always two persons, counted separately."""
    return _end(services, actor, "waive", no, reason)


def hand_over(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Hand the incident over to another body (移交); always two persons."""
    return _end(services, actor, "hand_over", no, reason)


def close(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Close and archive; refused while a document's clock is open."""
    return _end(services, actor, "close", no, reason)


def _ending_command(name: str, what: str, word: str) -> None:
    def end(change: Change, payload: dict[str, Any]) -> None:
        change.reasons.append(said("%(command)s须由另一人复核", command=term(word)))
        change.note(what, payload)
        change.columns = {"ended_at": change.tx.now, "ended_reason": payload["reason"]}
        change.announce = (EventKind.CLOSED, DESK, Band.INFO, f"事项已{word}")

    COMMANDS[name] = ("end", end)


_ending_command("void", "voided", "作误报撤销")
_ending_command("waive", "waived", "研判不予回应")
_ending_command("hand_over", "handed_over", "移交")


@command("close", "end")
def _close(change: Change, payload: dict[str, Any]) -> None:
    still = [clock.name for clock in change.before.clocks if clock.state.is_open and clock.origin != "continuous"]
    if still:
        raise Refused(
            said(
                "还有未完成的时钟（%(clocks)s），不能办结。请先登记发布或按程序撤销。",
                clocks=listed(map(term, dict.fromkeys(still))),
            )
        )
    if any(clock.state.is_open for clock in change.before.clocks):
        change.note("continuous", {"every_hours": 0})
    change.note("closed", payload)
    change.columns = {"ended_at": change.tx.now, "ended_reason": payload["reason"]}
    change.announce = (EventKind.CLOSED, DESK, Band.INFO, "事项已办结归档")


def reopen(
    services: Services, actor: Actor, no: str, reason: str, times: Mapping[TimeKind, TimeInput] | None = None
) -> dict[str, Any]:
    """A flare-up (复燃): a new cycle with its own anchors, linked to the same incident."""
    payload = {
        "reason": checked("reason", reason, NOTE_LIMIT, "重开理由", required=True),
        "times": {str(kind): time_value(kind, value) for kind, value in sorted((times or {}).items())},
    }
    return execute(services, actor, "reopen", no, payload)


@command("reopen", "end")
def _reopen(change: Change, payload: dict[str, Any]) -> None:
    tx, row, facts = change.tx, change.row, change.before.facts
    if facts.ending is None:
        raise Refused(said("事项 %(no)s 尚未结束，无需重开。未作任何改动。", no=row.no))
    change.allow_ended = True
    check_stated(payload["times"].values(), tx.now)
    repo.append_history(
        tx, row.id, row.cycle, [("reopened_as", {"cycle": row.cycle + 1, "reason": payload["reason"]})],
        change.actor_id, change.approver_id,
    )  # fmt: skip
    tx.run(
        t.incident.update()
        .where(t.incident.c.id == row.id)
        .values(cycle=row.cycle + 1, state="registered", ended_at=None, ended_reason="")
    )
    fresh = tx.one(sa.select(t.incident).where(t.incident.c.id == row.id))
    kind, severity = facts.present
    open_cycle(
        tx, fresh, change.actor_id,
        {
            "kind": str(kind), "severity": severity and str(severity), "criterion": "复燃重开，沿用原定级",
            "source": facts.source, "unit_id": row.unit_id, "times": payload["times"], "transfer": None, "late_exposure": False,
        },
    )  # fmt: skip
    change.row = fresh
    change.new_cycle = True
