"""Writing deliveries: a route gets its 通知号 and becomes a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from huiying.domain.kinds import Band, DeliveryState, Role
from huiying.domain.routes import Route
from huiying.domain.sentences import listed, said
from huiying.service.letters import ack_hash
from huiying.service.services import Services
from huiying.service.sources import Sources
from huiying.store import outbox, scenes


@dataclass(frozen=True, slots=True)
class Draft:
    """A delivery before it has its 通知号."""

    action_id: int
    incident_id: int | None
    clock_id: int | None
    route: Route
    band: Band
    detail: dict[str, Any] = field(default_factory=dict)
    fallback_of: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A delivery as it was just inserted; reads like a row of the table."""

    notice_no: str
    action_id: int
    incident_id: int | None
    clock_id: int | None
    person_id: str
    channel_id: str
    role: str
    band: str
    urgency: int
    state: str
    visible_at: datetime
    owner: str
    token: int
    attempts: int
    created_at: datetime
    ack_hash: str | None
    fallback_of: str | None
    ordinal: int
    detail: dict[str, Any]


_PENDING, _SENDING = str(DeliveryState.PENDING), str(DeliveryState.SENDING)


@dataclass(frozen=True, slots=True)
class Lease:
    """Deliveries that are written already claimed: by whom, until when, and which."""

    owner: str
    until: datetime
    admits: Callable[[Draft], bool]


def write_drafts(
    services: Services,
    sources: Sources,
    drafts: Sequence[Draft],
    *,
    visible: Callable[[Draft], datetime] | None = None,
    owner: str = "",
    lease: Lease | None = None,
) -> list[Written]:
    """Give every draft its 通知号 and write it: pending and visible at once, unless a flow or a lease hides it."""
    if not drafts:
        return []
    tx = sources.tx
    numbers = outbox.allot_numbers(tx, len(drafts))
    clocked = [d.incident_id for d in drafts if d.incident_id is not None and d.clock_id is not None]
    told = scenes.told_before(tx, clocked)
    rows: list[dict[str, Any]] = []
    for number, draft in zip(numbers, drafts, strict=True):
        held = lease if lease is not None and lease.admits(draft) else None
        rows.append(
            {
                "notice_no": number,
                "action_id": draft.action_id,
                "incident_id": draft.incident_id,
                "clock_id": draft.clock_id,
                "person_id": draft.route.person_id,
                "channel_id": draft.route.channel_id,
                "role": draft.route.role,
                "band": str(draft.band),
                "urgency": draft.band.urgency,
                "state": _PENDING if held is None else _SENDING,
                "visible_at": held.until if held is not None else tx.now if visible is None else visible(draft),
                "owner": owner if held is None else held.owner,
                "token": 0 if held is None else 1,
                "attempts": 0,
                "created_at": tx.now,
                "ack_hash": ack_hash(services.server_key, number),
                "fallback_of": draft.fallback_of,
                "ordinal": 1 + told.get((draft.clock_id or 0, draft.route.person_id, draft.route.channel_id), 0),
                "detail": _detail(draft),
            }
        )
    outbox.insert_deliveries(tx, rows)
    return [Written(**row) for row in rows]


def _detail(draft: Draft) -> dict[str, Any]:
    detail = dict(draft.detail)
    if draft.route.people:
        detail["people"] = [[a.person_id, str(a.role or "")] for a in draft.route.people]
    if draft.route.note:
        detail["note"] = draft.route.note
    return detail


def vacancy(missing: Sequence[Role], route: Route) -> dict[str, Any]:
    """An administrator who stands in for a vacant duty is told why."""
    if not missing or route.role or not route.person_id:
        return {}
    return {"previous_failed": said("值班表无人担任：%(missing)s，请补排班", missing=listed(missing))}
