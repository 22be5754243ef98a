"""Merging incidents and taking them apart again."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.audit import rfc3339
from huiying.domain.errors import NotFound, Refused
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.kinds import (
    Band,
    EventKind,
)
from huiying.domain.plan import summary_action
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.changes import DESK, Change, command, execute, locked
from huiying.service.clockwork import Snapshot, snapshot
from huiying.service.services import Services
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx


def merge(services: Services, actor: Actor, no: str, into: str, reason: str) -> dict[str, Any]:
    """Merge incident ``no`` into ``into``, which takes the earliest times and all publications."""
    payload = {"into": into, "reason": checked("reason", reason, NOTE_LIMIT, "并案理由", required=True)}
    actor.require(Permission.MERGE)
    with services.store.transaction(actor.id) as tx:
        locked(tx, actor, into, lead_only=True)  # its clocks change as well
    return execute(services, actor, "merge", no, payload)


@command("merge", "merge")
def _merge(change: Change, payload: dict[str, Any]) -> None:
    tx, into = change.tx, payload["into"]
    primary = repo.find_incident(tx, into, for_update=True)
    if primary is None:
        raise NotFound(said("没有编号为 %(no)s 的事项。", no=into))
    if primary.id == change.row.id:
        raise Refused("不能把事项并入它自己，未作任何改动。")
    target = snapshot(tx, primary)
    if target.facts.merged_at is not None or target.facts.ending is not None:
        raise Refused(said("事项 %(no)s 已并案或已结束，不能作为主件。未作任何改动。", no=into))
    if tx.one(sa.select(t.incident.c.id).where(t.incident.c.merged_into == change.row.id)) is not None:
        raise Refused("该事项本身已有并入件，请先拆分或直接并入主件。未作任何改动。")
    change.also.append(target)
    tx.run(t.incident.update().where(t.incident.c.id == change.row.id).values(merged_into=primary.id, merged_at=tx.now))
    change.note("merged", payload)
    repo.append_history(
        tx, primary.id, primary.cycle,
        [("absorbed", {"no": change.row.no, "reason": payload["reason"]}), *_handed_up(change)],
        change.actor_id, change.approver_id,
    )  # fmt: skip
    _announce_on(tx, primary, f"{change.row.no} 已并入本事项，时钟已按最早时间重新计算")


def _handed_up(change: Change) -> list[tuple[str, dict[str, Any]]]:
    """A superior's notice still wants its answer: what is unanswered goes to the primary with its due time."""
    return [
        (
            "transfer",
            {
                "key": f"{change.row.no}.{transfer.key}",
                "notice_no": transfer.notice_no,
                "from_org": "",
                "received_at": rfc3339(transfer.received_at),
                "due_at": rfc3339(transfer.due_at) if transfer.due_at else None,
            },
        )
        for transfer in change.before.facts.transfers
        if transfer.feedback_at is None
    ]


def _handed_back(change: Change, primary: Snapshot) -> list[tuple[str, dict[str, Any]]]:
    """Notices that came with the merged incident leave with it, answered or not."""
    prefix = f"{change.row.no}."
    own = [transfer for transfer in primary.facts.transfers if transfer.key.startswith(prefix)]
    for transfer in own:
        if transfer.feedback_at is not None:
            key = transfer.key.removeprefix(prefix)
            change.note("transfer_feedback", {"key": key, "at": rfc3339(transfer.feedback_at)})
    return [("transfers_returned", {"keys": [transfer.key for transfer in own]})] if own else []


def _announce_on(tx: Tx, row: Any, headline: str) -> None:
    action = summary_action(EventKind.CHANGED, tx.now, DESK, Band.NOTICE, headline=headline)
    repo.insert_actions(tx, row.id, None, row.cycle, [action], salt=f"changed:{row.version}:{headline[:12]}")


def unmerge(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Take an incident out again; publications entered after the merge stay with the primary (domain.md §7.10)."""
    payload = {"reason": checked("reason", reason, NOTE_LIMIT, "拆分理由", required=True)}
    return execute(services, actor, "unmerge", no, payload)


@command("unmerge", "merge")
def _unmerge(change: Change, payload: dict[str, Any]) -> None:
    tx = change.tx
    if change.row.merged_into is None:
        raise Refused(said("事项 %(no)s 没有并入其他事项，未作任何改动。", no=change.row.no))
    primary = tx.one(sa.select(t.incident).where(t.incident.c.id == change.row.merged_into).with_for_update())
    assert primary is not None
    target = snapshot(tx, primary)
    change.also.append(target)
    tx.run(t.incident.update().where(t.incident.c.id == change.row.id).values(merged_into=None, merged_at=None))
    change.note("unmerged", payload)
    repo.append_history(
        tx, primary.id, primary.cycle,
        [("released", {"no": change.row.no, "reason": payload["reason"]}), *_handed_back(change, target)],
        change.actor_id, change.approver_id,
    )  # fmt: skip
    _announce_on(tx, primary, f"{change.row.no} 已从本事项拆出，时钟已重新计算")
