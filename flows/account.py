"""What Prefect is shown of an incident event: read from our tables, numbers and clock names only.

The reading below selects no column that holds free text, a person or an address; what is not read cannot leak. The names
of department tasks are written by officers, so such a clock is shown by its origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.errors import NotFound
from huiying.domain.kinds import (
    Audience,
    ChannelKind,
    ClockOrigin,
    ClockState,
    DeliveryState,
    EventKind,
    LimitStatus,
    Role,
    Word,
)
from huiying.domain.plan import SHANGHAI
from huiying.domain.policy import Step
from huiying.service.rulebook import pack_of, policy_of
from huiying.service.views import anchor_zh
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.types import to_micros

#: Origins whose clocks are named by a rule pack or by ourselves.
_NAMED_ORIGINS = {ClockOrigin.RULE, ClockOrigin.ACTION, ClockOrigin.TRANSFER, ClockOrigin.CONTINUOUS}
_TAG_SAFE = re.compile(r"[^A-Za-z0-9_.:-]")
_LONGEST_NAME = 40
_GROUP, _STAND_IN = "工作群", "代收人"


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """The clock an event belongs to; ``clause`` is the document with its clause, empty for a clock of the house."""

    id: int
    rule_id: str
    label: str
    status: LimitStatus
    clause: str
    anchor: str
    anchor_stated: bool
    started_at: datetime
    due_at: datetime
    state: ClockState
    on_receipt: bool
    provisional: bool


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One message of the event, without its recipient; ``role`` is whom it was meant for."""

    notice_no: str
    role: str
    channel: str
    state: DeliveryState
    attempts: int
    first_sent_at: datetime | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    """One event as our tables tell it; ``step`` says in words which point of the plan it is."""

    action_id: int
    kind: EventKind
    incident_no: str
    step: str
    created_at: datetime
    due_at: datetime
    claimed_at: datetime | None
    done_at: datetime | None
    mode: str
    state: str
    clock: ClockFacts | None
    others: tuple[ClockFacts, ...]
    deliveries: tuple[DeliveryLine, ...]

    @property
    def key(self) -> str:
        """The idempotency key of its flow run. The id alone would be given again after a restore of an older backup."""
        return f"action:{self.action_id}:{to_micros(self.created_at)}"

    @property
    def name(self) -> str:
        """The name of its flow run, e.g. ``2026-0117·5小时权威发布·80%提醒``."""
        parts = [self.incident_no, self.clock.label if self.clock else "", self.step]
        return "·".join(part for part in parts if part)

    @property
    def tags(self) -> list[str]:
        """What the run is found by."""
        found = [f"incident:{self.incident_no}"] if self.incident_no else []
        if self.clock:
            found += [f"clock:{self.clock.id}", f"rule:{_TAG_SAFE.sub('-', self.clock.rule_id)}"]
        return [*found, f"event:{self.kind.value}"]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the run was called with."""
        return {
            "action_id": self.action_id,
            "incident_no": self.incident_no,
            "clock_id": self.clock.id if self.clock else None,
            "due_at": stamp(self.due_at),
        }

    @property
    def artifact_key(self) -> str:
        """Artifacts of one incident are versions of one thing; a key may hold only a-z, 0-9 and dashes."""
        return f"incident-{self.incident_no.lower()}" if self.incident_no else self.kind.value.replace("_", "-")

    @property
    def result(self) -> str:
        """What became of the event's messages, in one sentence."""
        if not self.deliveries:
            return "无须发送消息"
        states = [line.state for line in self.deliveries]
        counted = [(state.zh, states.count(state)) for state in dict.fromkeys(states)]
        return "，".join(f"{words}{number}件" for words, number in counted)


def stamp(at: datetime) -> str:
    """An instant as a parameter: Beijing time with offset."""
    return at.astimezone(SHANGHAI).isoformat(timespec="milliseconds")


def shown(at: datetime | None) -> str:
    """An instant for a reader: Beijing time to the millisecond."""
    return f"{at.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}" if at else "—"


#: Messages that get a task of their own; beyond this they share one.
MOST_TASKS = 10


def batches(lines: Sequence[DeliveryLine]) -> Iterable[tuple[str, list[str]]]:
    """What each task sends: a message each, all inboxes together, and what is too much together as well."""
    inbox = [line.notice_no for line in lines if line.channel == ChannelKind.INBOX.zh]
    others = [line for line in lines if line.channel != ChannelKind.INBOX.zh]
    for line in others[:MOST_TASKS]:
        yield f"{line.role}·{line.channel}·{line.notice_no}", [line.notice_no]
    if rest := [line.notice_no for line in others[MOST_TASKS:]]:
        yield f"其余{len(rest)}件", rest
    if inbox:
        yield f"{ChannelKind.INBOX.zh}{len(inbox)}件", inbox


# -- reading ---------------------------------------------------------------------------------------------------------


def load_account(tx: Tx, action_id: int) -> Account:
    """Everything a run shows of one event."""
    return load_accounts(tx, [action_id])[0]


def load_accounts(tx: Tx, action_ids: Iterable[int]) -> list[Account]:
    """The events of these actions, in the order of their due times."""
    action, incident = t.timed_action, t.incident
    ids = list(action_ids)
    statement = (
        sa.select(
            action.c.id, action.c.kind, action.c.clock_id, action.c.step_id, action.c.repetition, action.c.created_at,
            action.c.due_at, action.c.claimed_at, action.c.done_at, action.c.mode, action.c.state, action.c.incident_id, incident.c.no,
        )
        .outerjoin_from(action, incident, incident.c.id == action.c.incident_id)
        .where(action.c.id.in_(ids))
        .order_by(action.c.due_at, action.c.id)
    )  # fmt: skip
    rows = tx.all(statement)
    if len(rows) != len(set(ids)):
        raise NotFound("事项节点不在库中。")
    lines = _deliveries(tx, ids)
    return [_account(tx, row, lines.get(row.id, [])) for row in rows]


def _account(tx: Tx, row: Any, lines: list[DeliveryLine]) -> Account:
    clocks = _clocks(tx, row)
    own = next((clock for clock in clocks if clock.id == row.clock_id), None)
    kind = EventKind(row.kind) if row.kind in set(EventKind) else EventKind.TEST
    return Account(
        action_id=row.id,
        kind=kind,
        incident_no=row.no or "",
        step=_step_words(tx, row, kind),
        created_at=row.created_at,
        due_at=row.due_at,
        claimed_at=row.claimed_at,
        done_at=row.done_at,
        mode=row.mode,
        state=row.state,
        clock=own,
        others=tuple(clock for clock in clocks if clock.id != row.clock_id),
        deliveries=tuple(lines),
    )


def _clocks(tx: Tx, row: Any) -> list[ClockFacts]:
    """The event's own clock; for an event of the whole incident every clock that binds."""
    clock = t.clock
    if row.clock_id is not None:
        wanted = clock.c.id == row.clock_id
    elif row.incident_id is not None:
        wanted = sa.and_(clock.c.incident_id == row.incident_id, clock.c.binding)
    else:
        return []
    statement = sa.select(
        clock.c.id, clock.c.origin, clock.c.rule_id, clock.c.name, clock.c.status, clock.c.pack_id, clock.c.pack_version,
        clock.c.anchor_field, clock.c.anchor_stated, clock.c.started_at, clock.c.due_at, clock.c.state,
        clock.c.on_receipt, clock.c.provisional,
    ).where(wanted)  # fmt: skip
    return [_clock_facts(tx, found) for found in tx.all(statement.order_by(clock.c.due_at, clock.c.id))]


def _clock_facts(tx: Tx, row: Any) -> ClockFacts:
    origin = ClockOrigin(row.origin)
    name = row.name if origin in _NAMED_ORIGINS else origin.zh
    return ClockFacts(
        id=row.id,
        rule_id=row.rule_id,
        label=f"{_span_words(row.due_at - row.started_at)}{name}"[:_LONGEST_NAME],
        status=LimitStatus(row.status),
        clause=_clause(tx, row),
        anchor=anchor_zh(row.anchor_field),
        anchor_stated=row.anchor_stated,
        started_at=row.started_at,
        due_at=row.due_at,
        state=ClockState(row.state),
        on_receipt=row.on_receipt,
        provisional=row.provisional,
    )


def _clause(tx: Tx, row: Any) -> str:
    if not row.pack_id or not row.pack_version:
        return ""
    try:
        pack = pack_of(tx, row.pack_id, row.pack_version)
    except NotFound:
        return ""
    rule = next((rule for rule in pack.clocks if rule.rule_id == row.rule_id), None)
    title = pack.title.replace("《", "〈").replace("》", "〉")
    return f"《{title}》（{pack.doc_no}）{rule.clause if rule else ''}"


def _deliveries(tx: Tx, action_ids: list[int]) -> dict[int, list[DeliveryLine]]:
    delivery, channel = t.delivery, t.channel
    statement = (
        sa.select(
            delivery.c.action_id, delivery.c.notice_no, delivery.c.role, channel.c.kind, channel.c.audience,
            delivery.c.state, delivery.c.attempts, delivery.c.first_sent_at, delivery.c.sent_at,
        )
        .join_from(delivery, channel, channel.c.id == delivery.c.channel_id)
        .where(delivery.c.action_id.in_(action_ids))
        .order_by(delivery.c.notice_no)
    )  # fmt: skip
    found: dict[int, list[DeliveryLine]] = {}
    for row in tx.all(statement):
        line = DeliveryLine(
            notice_no=row.notice_no,
            role=_zh(Role, row.role) or (_GROUP if row.audience == Audience.GROUP else _STAND_IN),
            channel=_zh(ChannelKind, row.kind),
            state=DeliveryState(row.state),
            attempts=row.attempts,
            first_sent_at=row.first_sent_at,
            sent_at=row.sent_at,
        )
        found.setdefault(row.action_id, []).append(line)
    return found


def _zh(word: type[Word], value: str) -> str:
    """The reading of a word of ours; anything else is not shown."""
    return word(value).zh if value in {member.value for member in word} else ""


# -- words -----------------------------------------------------------------------------------------------------------


def _step_words(tx: Tx, row: Any, kind: EventKind) -> str:
    """Which point of its plan an event is: ``80%提醒``, ``剩余30分钟升级提醒``, ``超时后2小时升级提醒``."""
    step = _policy_step(tx, row)
    times = f"第{row.repetition + 1}次" if row.repetition else ""
    if row.step_id == "overdue_hourly":
        return f"超时第{row.repetition}小时督办"
    if row.step_id == "overdue_daily":
        return f"超时每日督办{times}"
    if step is None or kind is EventKind.BREACHED:
        return f"{kind.zh}{times}"
    return f"{_point_words(step)}{kind.zh}{times}"


def _policy_step(tx: Tx, row: Any) -> Step | None:
    if row.clock_id is None:
        return None
    digest = tx.value(sa.select(t.clock.c.policy_hash).where(t.clock.c.id == row.clock_id))
    if not digest:
        return None
    try:
        return next((step for step in policy_of(tx, digest).steps if step.id == row.step_id), None)
    except NotFound:
        return None


def _point_words(step: Step) -> str:
    value = step.value
    if step.trigger == "share" and isinstance(value, float):
        return f"{value:.0%}"
    if isinstance(value, timedelta) and value:
        return {"after": "起算后", "left": "剩余", "breach": "超时后"}.get(step.trigger, "") + _span_words(value)
    return ""


def _span_words(span: timedelta) -> str:
    """``5小时``, ``30分钟``, ``1小时30分钟``, ``10天`` from four days on; nothing for a span of seconds or none."""
    minutes = round(span.total_seconds() / 60)
    if minutes <= 0 or abs(span - timedelta(minutes=minutes)) > timedelta(seconds=1):
        return ""
    if minutes >= 4 * 1440 and minutes % 1440 == 0:
        return f"{minutes // 1440}天"
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}小时" if hours else "") + (f"{minutes}分钟" if minutes else "")
