"""The common way of every change to an incident: gather, decide, apply in one transaction.

A command is a function that looks at a ``Change`` and adds to it. What the rules reserve for two persons is rolled back,
kept as a pending request, and carried out when another person's own account approves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from huiying.domain.clock import Clock, second_person_reasons
from huiying.domain.errors import Forbidden, NeedsSecondPerson, NotFound, Refused
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.kinds import (
    Band,
    ClockState,
    EventKind,
    Role,
)
from huiying.domain.plan import summary_action
from huiying.domain.sentences import listed, said, term
from huiying.service.actor import Actor
from huiying.service.clockwork import Snapshot, refresh, snapshot
from huiying.service.deciders import deciders
from huiying.service.idempotency import recall, remember, request_hash
from huiying.service.request_facts import is_tellable, not_for_approval
from huiying.service.scope import covers, parents
from huiying.service.services import Services
from huiying.service.views import REQUEST_STATE_ZH, incident_view
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

DESK = (Role.DUTY_OFFICER, Role.LIAISON)
#: Changes that must never move the earliest open due time later without a second person.
_FOR_THE_LEAD = frozenset(
    {
        "grade",
        "correct",
        "merge",
        "unmerge",
        "void",
        "waive",
        "hand_over",
        "close",
        "reopen",
        "reassign",
        "confirm_publication",
    }
)
_MAY_MOVE_DUE = frozenset({"grade", "merge", "unmerge", "correct", "reassign", "details", "task", "transfer"})


def in_scope(tx: Tx, actor: Actor, unit_ids: Iterable[str]) -> bool:
    """Whether one of the units lies in the part of the tree that the actor's account covers."""
    if actor.is_everywhere:
        return True
    tree = parents(tx)
    return any(covers(actor, tree, unit_id) for unit_id in unit_ids)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Change:
    """What a command sees and says while it runs inside its transaction."""

    tx: Tx
    row: Any
    actor_id: str
    approver_id: str
    before: Snapshot
    entries: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    first_grading: bool = False
    announce: tuple[EventKind, tuple[Role, ...], Band, str] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    also: list[Snapshot] = field(default_factory=list)  # other incidents whose clocks change with it, as they stood
    publication_id: int | None = None  # what was published just now
    new_cycle: bool = False
    allow_ended: bool = False

    def note(self, what: str, detail: Mapping[str, Any]) -> None:
        """Add a history entry."""
        self.entries.append((what, detail))


class _PendingError(Exception):
    """Rolls the transaction back: a second person is needed."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__()
        self.reasons = reasons


#: The step of a message that asks somebody to decide: having read it is not having taken up the incident's clocks.
REQUEST_STEP = "request"
Command = Callable[[Change, dict[str, Any]], None]
COMMANDS: dict[str, tuple[str, Command]] = {}


def command(name: str, permission: str) -> Callable[[Command], Command]:
    def keep(function: Command) -> Command:
        COMMANDS[name] = (permission, function)
        return function

    return keep


def execute(
    services: Services, actor: Actor, name: str, no: str, payload: dict[str, Any], key: str = ""
) -> dict[str, Any]:
    """Run a command on an incident; a change reserved for two persons is kept as a request and refused for now.

    ``key`` is the caller's idempotency key: the same request with the same key is carried out once.
    """
    permission, _ = COMMANDS[name]
    actor.require(permission)
    digest = request_hash([name, no, payload])
    try:
        with services.store.transaction(actor.id, crash="change") as tx:
            if recall(tx, actor.id, key, digest) is not None:
                return incident_view(tx, no)
            after = perform(tx, actor, actor.id, "", name, no, payload)
            remember(tx, actor.id, key, {"no": no})
            return incident_view(tx, no, after)
    except _PendingError as pending:
        return _refuse_for_now(services, actor, name, no, payload, pending.reasons)


def _refuse_for_now(
    services: Services, actor: Actor, name: str, no: str, payload: dict[str, Any], reasons: list[str]
) -> dict[str, Any]:
    with services.store.transaction(actor.id) as tx:
        row = locked(tx, actor, no)
        request_id = keep_request(tx, row, name, payload, actor.id, reasons)
    raise NeedsSecondPerson(
        said(
            "此项变更须由另一人复核：%(reasons)s。已保存为待复核申请 %(request_id)s，请另一人用本人账号确认；确认前一切时限照原样计算。",
            reasons=listed(map(term, reasons), "；"),
            request_id=request_id,
        ),
        request_id=request_id,
        reasons=reasons,
    )


def keep_request(tx: Tx, row: Any, name: str, payload: dict[str, Any], by: str, reasons: list[str]) -> int:
    values = {
        "incident_id": row.id, "command": name, "payload": payload, "reasons": reasons, "requested_by": by,
        "requested_at": tx.now, "state": "pending",
    }  # fmt: skip
    same = tx.one(
        sa.select(t.change_request.c.id).where(
            t.change_request.c.incident_id == row.id, t.change_request.c.state == "pending",
            t.change_request.c.command == name, t.change_request.c.payload == payload,
            t.change_request.c.requested_by == by,
        )
    )  # fmt: skip
    if same is not None:
        return int(same.id)
    made = tx.run(t.change_request.insert().values(**values).returning(t.change_request.c.id)).scalar_one()
    tx.audit("request.made", f"incident:{row.no}", {"request": made, "command": name, "reasons": reasons})
    _call_second_persons(tx, row, int(made), by)
    return int(made)


def _call_second_persons(tx: Tx, row: Any, request_id: int, by: str) -> None:
    """A pending request is told at once to everybody whose account may approve it, the applicant left out."""
    people = sorted(one.id for one in deciders(tx, row.unit_id, by))
    headline = f"申请 {request_id} 待您复核" if people else f"申请 {request_id} 待第二人复核，尚无可复核的账号"
    roles = () if people else (Role.SHIFT_LEADER, Role.DUTY_OFFICER)
    action = summary_action(
        EventKind.CHANGED,
        tx.now,
        roles,
        Band.NOTICE,
        headline=headline,
        persons=people,
        must_do=[f"用本人账号核对后办理：huiying request approve {request_id}（或 reject）"],
        of=REQUEST_STEP,
    )
    action = replace(action, detail=action.detail | {"audience": ["personal"]})
    repo.insert_actions(tx, row.id, None, row.cycle, [action], salt=f"request:{request_id}")


def locked(tx: Tx, actor: Actor, no: str, *, lead_only: bool = False) -> Any:
    """The incident's row, locked; co-organisers may act on it, but what decides about it is for the lead's own line."""
    row = repo.find_incident(tx, no, for_update=True)
    if row is None or not in_scope(tx, actor, [row.unit_id, *row.co_units]):
        raise NotFound(said("没有编号为 %(no)s 的事项。", no=no))
    if lead_only and not in_scope(tx, actor, [row.unit_id]):
        raise Forbidden(said("事项 %(no)s 由其他单位主办，此项变更须由主办单位或其上级办理。未作任何改动。", no=no))
    return row


def perform(
    tx: Tx,
    actor: Actor,
    actor_id: str,
    approver_id: str,
    name: str,
    no: str,
    payload: dict[str, Any],
    deciding: int = 0,
) -> Snapshot:
    """Carry a command out inside the caller's transaction; without an approver it may raise that it needs one."""
    _, function = COMMANDS[name]
    row = locked(tx, actor, no, lead_only=name in _FOR_THE_LEAD)
    change = Change(tx, row, actor_id, approver_id, snapshot(tx, row))
    function(change, payload)
    facts = change.before.facts
    if facts.merged_at is not None and name != "unmerge":
        raise Refused(
            said("事项 %(no)s 已并入 %(into)s，请在主件上操作。未作任何改动。", no=no, into=facts.merged_into)
        )
    if facts.ending is not None and not change.allow_ended:
        raise Refused(
            said(
                "事项 %(no)s 已结束（%(reason)s），如需继续处置请先重开。未作任何改动。",
                no=no,
                reason=facts.ending.reason,
            )
        )
    row = change.row
    repo.append_history(tx, row.id, row.cycle, change.entries, actor_id, approver_id)
    after = refresh(tx, row, **change.columns)
    refreshed = [refresh(tx, other.row) for other in change.also]
    reasons = list(change.reasons)
    if not change.new_cycle:
        before, now_is = _together(change.before, change.also), _together(after, refreshed)
        moves = name in _MAY_MOVE_DUE
        reasons += second_person_reasons(before, now_is, first_grading=change.first_grading, later_due=moves)
    if reasons and not approver_id:
        raise _PendingError(list(dict.fromkeys(reasons)))
    _announce(tx, row, change)
    _lapse(tx, change, after, approver_id or actor_id, deciding)
    tx.audit(
        f"incident.{name}", f"incident:{no}",
        {"payload": without_free_text(payload), "requested_by": actor_id, "approved_by": approver_id, "reasons": reasons},
    )  # fmt: skip
    return after


#: What may still be asked for, and agreed to, when an incident has ended.
_AFTER_THE_END = ("review", "attribution", "confirm_publication")
_OVER_ENDED = "事项已结束，申请已无从办理，自动失效。"
_OVER_MERGED = "事项已并入他件，申请已无从办理，自动失效；需要时请在主件上重新申请。"
_OVER_REOPENED = "事项已重开，上一轮的申请自动失效；需要时请重新申请。"


def _lapse(tx: Tx, change: Change, after: Snapshot, by: str, deciding: int) -> None:
    """What waits for a second person and can be carried out no more goes with what has made it so.

    ``deciding`` is the request that is being approved: its decision is its own.
    """
    request, facts = t.change_request.c, change.before.facts
    mine = [request.incident_id == change.row.id, request.state == "pending", request.id != deciding]
    if change.new_cycle:
        why = _OVER_REOPENED
    elif after.facts.ending is not None and facts.ending is None:
        why = _OVER_ENDED
        mine.append(request.command.not_in(_AFTER_THE_END))
    elif after.facts.merged_at is not None and facts.merged_at is None:
        why = _OVER_MERGED
        mine.append(request.command.not_in(_AFTER_THE_END))
    else:
        return
    for row in tx.all(sa.select(request.id, request.command).where(*mine).order_by(request.id)):
        settle_request(tx, row.id, "lapsed", by, why)
        tx.audit("request.lapsed", f"incident:{change.row.no}", {"request": row.id, "command": row.command})


def _together(shot: Snapshot, others: Iterable[Snapshot]) -> list[Clock]:
    """The clocks of all incidents a change touches; keys are made unique by the incident's number."""
    found = list(shot.clocks)
    for other in others:
        found += [replace(clock, key=f"{other.row.no}/{clock.key}") for clock in other.clocks]
    return found


#: What a person typed: it stands in the audit chain only as its hash, so that it can be erased from the rows.
_TYPED = frozenset(
    {
        "title", "body", "text", "note", "criterion", "evidence", "notice_title", "url", "name", "reason", "source",
        "from_org", "category", "channel", "stage", "source_detail", "confidentiality",
    }
)  # fmt: skip


def without_free_text(value: Any, key: str = "") -> Any:
    """A payload as the audit chain may keep it for ever: numbers, instants, codes and words of ours; the rest as hashes."""
    if isinstance(value, Mapping):
        return {str(k): without_free_text(v, key if key in _TYPED else str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_free_text(item, key) for item in value]
    if isinstance(value, str) and value and (key in _TYPED or not value.isascii()):
        return f"sha256:{sha256(value)}"
    return value


def _announce(tx: Tx, row: Any, change: Change) -> None:
    if change.announce is None:
        return
    kind, roles, band, headline = change.announce
    clocks = [*_ended_by(tx, row, change.publication_id), *open_clock_ids(tx, row)]
    action = summary_action(kind, tx.now, roles, band, headline=headline, clocks=clocks)
    repo.insert_actions(tx, row.id, None, row.cycle, [action], salt=f"{kind}:{row.version}")


def _ended_by(tx: Tx, row: Any, publication_id: int | None) -> list[int]:
    """The clocks that this publication has just answered: what its message names first."""
    if publication_id is None:
        return []
    clock = t.clock
    statement = sa.select(clock.c.id).where(
        clock.c.incident_id == row.id,
        clock.c.cycle == row.cycle,
        clock.c.binding,
        clock.c.publication_id == publication_id,
        clock.c.state.in_((str(ClockState.SATISFIED), str(ClockState.SATISFIED_LATE))),
    )
    return [found.id for found in tx.all(statement.order_by(clock.c.due_at))]


def open_clock_ids(tx: Tx, row: Any) -> list[int]:
    """The clocks that still run for an incident, most urgent first: what a message about the whole incident shows."""
    clock = t.clock
    statement = sa.select(clock.c.id).where(
        clock.c.incident_id == row.id,
        clock.c.cycle == row.cycle,
        clock.c.binding,
        clock.c.state.in_([str(state) for state in ClockState if state.is_open]),
    )
    return [found.id for found in tx.all(statement.order_by(clock.c.due_at))]


def approve(services: Services, actor: Actor, request_id: int, note: str = "") -> dict[str, Any]:
    """Another person confirms a pending change; it is carried out as of now, in the name of who asked for it."""
    actor.require("approve")
    if not actor.is_person:
        raise Forbidden("复核须由另一人用本人账号（令牌）办理，本机命令行不能作为第二人。申请仍待复核。")
    text = checked("note", note, NOTE_LIMIT, "复核意见")
    with services.store.transaction(actor.id, crash="change") as tx:
        request = pending_request(tx, request_id)
        if request.requested_by == actor.id:
            raise Forbidden("申请人不能复核自己的申请，请由另一人办理。申请仍待复核。")
        row = incident_of(tx, request)
        _decided_by_the_lead(tx, actor, row.no)
        if not is_tellable(tx, request):
            raise Refused(not_for_approval(request_id))
        after = perform(
            tx, actor, request.requested_by, actor.id, request.command, row.no, request.payload, deciding=request_id
        )
        settle_request(tx, request_id, "approved", actor.id, text)
        tx.audit("request.approved", f"incident:{row.no}", {"request": request_id, "command": request.command})
        return incident_view(tx, row.no, after)


def reject(services: Services, actor: Actor, request_id: int, note: str = "") -> dict[str, Any]:
    """Turn a pending change down; nothing of the incident changes."""
    actor.require("approve")
    text = checked("note", note, NOTE_LIMIT, "复核意见")
    with services.store.transaction(actor.id) as tx:
        request = pending_request(tx, request_id)
        row = tx.one(sa.select(t.incident).where(t.incident.c.id == request.incident_id))
        assert row is not None
        _decided_by_the_lead(tx, actor, row.no)
        settle_request(tx, request_id, "rejected", actor.id, text)
        tx.audit("request.rejected", f"incident:{row.no}", {"request": request_id, "command": request.command})
        return incident_view(tx, row.no)


def _decided_by_the_lead(tx: Tx, actor: Actor, no: str) -> None:
    """A request is decided where its deciders are named: in the lead unit's own line, whoever may act on the incident."""
    locked(tx, actor, no, lead_only=True)


def pending_request(tx: Tx, request_id: int) -> Any:
    request = tx.one(sa.select(t.change_request).where(t.change_request.c.id == request_id).with_for_update())
    if request is None:
        raise NotFound(said("没有编号为 %(request_id)s 的待复核申请。", request_id=request_id))
    if request.state != "pending":
        raise Refused(
            said(
                "申请 %(request_id)s 已经办理（%(state)s），未作任何改动。",
                request_id=request_id,
                state=term(REQUEST_STATE_ZH.get(request.state, request.state)),
            )
        )
    return request


def incident_of(tx: Tx, request: Any) -> Any:
    """The incident of a request, locked; what was asked for before a flare-up has no place in the new cycle."""
    row = tx.one(sa.select(t.incident).where(t.incident.c.id == request.incident_id).with_for_update())
    assert row is not None
    if row.cycle > 1 and request.requested_at < repo.history_of(tx, row.id, row.cycle)[0].recorded_at:
        raise Refused(
            said(
                "申请 %(request_id)s 是事项 %(no)s 重开以前提出的，不能用于重开后的这一轮；请不予同意，需要时重新申请。未作任何改动。",
                request_id=request.id,
                no=row.no,
            )
        )
    return row


def settle_request(tx: Tx, request_id: int, state: str, by: str, note: str) -> None:
    tx.run(
        t.change_request.update()
        .where(t.change_request.c.id == request_id, t.change_request.c.state == "pending")
        .values(state=state, decided_by=by, decided_at=tx.now, decision_note=note)
    )
