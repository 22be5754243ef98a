"""Releases, responses and press conferences: recorded as they happened, judged by a reviewer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.audit import rfc3339
from huiying.domain.errors import InvalidInput, NotFound
from huiying.domain.folding import instant
from huiying.domain.freetext import BODY_LIMIT, NOTE_LIMIT, TITLE_LIMIT, checked
from huiying.domain.incident import to_precision
from huiying.domain.kinds import (
    Band,
    ContentKind,
    EventKind,
    PublicationKind,
    Review,
    TimeKind,
)
from huiying.domain.sentences import listed, said, term
from huiying.service.actor import Actor
from huiying.service.changes import DESK, Change, command, execute, keep_request, sha256
from huiying.service.requests import (
    ReleaseRequest,
    ReviewRequest,
)
from huiying.service.services import Services
from huiying.store import tables as t


def record_release(
    services: Services, actor: Actor, no: str, request: ReleaseRequest, idempotency_key: str = ""
) -> dict[str, Any]:
    """Record a release, response or conference that happened; never blocked by a missing step, the gap is shown."""
    if request.published_at.tzinfo is None:
        raise InvalidInput("published_at", "发布时间缺少时区，请写明如 2026-11-22T08:30:00+08:00。内容未登记。")
    url, text = checked("url", request.url, 2000, "网址"), checked("text", request.text, BODY_LIMIT, "发布内容")
    if not url and not text:
        raise InvalidInput("url", "请填写发布网址或发布内容作为凭据，否则不能认定为已发布。内容未登记。")
    if url and not url.lower().startswith(("http://", "https://")):
        raise InvalidInput("url", "网址须以 http:// 或 https:// 开头。内容未登记。")
    payload = {
        "kind": str(request.kind),
        "published_at": rfc3339(to_precision(request.published_at, "second")),
        "content_kind": str(request.content_kind),
        "title": checked("title", request.title, TITLE_LIMIT, "发布标题"),
        "url": url,
        "text": text,
        "channel": checked("channel", request.channel, 120, "发布渠道"),
        "leader_voice": request.leader_voice,
        "confidentiality": {
            str(k): checked("confidentiality", str(v), 500) for k, v in request.confidentiality.items()
        },
    }
    return _with_effect(execute(services, actor, "release", no, payload, idempotency_key))


def _with_effect(view: dict[str, Any]) -> dict[str, Any]:
    """Say what the latest publication did: which clocks it ended, or why it ended none; ``waits``: for a second person."""
    latest = max(view["publications"], key=lambda publication: publication["id"], default=None)
    if latest is None:
        return view
    view = {**view, "waits": _confirmation_of(view, latest["id"])}
    ended = [c["name"] for c in view["clocks"] if c["publication"] == latest["id"] and c["binding"]]
    if ended:
        return {**view, "effect": said("已停止：%(clocks)s", clocks=listed(map(term, ended)))}
    waiting = [c for c in view["clocks"] if c["binding"] and c["state"] in {"running", "breached"}]
    if not waiting:
        return {**view, "effect": said("没有正在计时的时钟，仅作记录")}
    return {**view, "effect": said("未停止任何时钟：%(why)s", why=_why_not(latest, waiting))}


def _confirmation_of(view: dict[str, Any], publication_id: int) -> int | None:
    """The request that asks a second person whether this publication was on time."""
    asked = (one for one in view["requests"] if one["command"] == "confirm_publication")
    return next((one["id"] for one in asked if one["payload"]["publication_id"] == publication_id), None)


def _why_not(publication: dict[str, Any], waiting: list[dict[str, Any]]) -> str:
    if publication["content_kind"] != ContentKind.ORIGINAL:
        return said("登记为%(kind)s，不能充当回应", kind=ContentKind(publication["content_kind"]))
    if all(publication["published_at"] < clock["started_at"] for clock in waiting):
        return said("发布时间早于时钟起算，须由核验人认可后才计入")
    return said("此类发布不能完成所余时钟，或须由核验人认可")


@command("release", "release")
def _release(change: Change, payload: dict[str, Any]) -> None:
    tx, at = change.tx, instant(payload["published_at"])
    if at > tx.now:
        raise InvalidInput("published_at", "发布时间晚于当前时间；请在发布之后登记。内容未登记。")
    occurred = change.before.facts.time(TimeKind.OCCURRED)
    if occurred is not None and at < occurred.value:
        raise InvalidInput("published_at", "发布时间早于事发时间，请核对两个时间。内容未登记。")
    kind, content = PublicationKind(payload["kind"]), ContentKind(payload["content_kind"])
    digest = sha256("\n".join([payload["url"], payload["title"], payload["text"]]))
    made = tx.run(
        t.publication.insert()
        .values(
            incident_id=change.row.id, cycle=change.row.cycle, kind=str(kind), published_at=at, title=payload["title"],
            url=payload["url"], text=payload["text"], channel=payload["channel"], content_kind=str(content),
            content_hash=digest, leader_voice=payload["leader_voice"], confidentiality=payload["confidentiality"],
            entered_at=tx.now, entered_by=change.actor_id, review=str(Review.PENDING), credited=False,
        )
        .returning(t.publication.c.id)
    ).scalar_one()  # fmt: skip
    change.note(
        "publication",
        {
            "id": made,
            "kind": str(kind),
            "published_at": payload["published_at"],
            "content_kind": str(content),
            "sha256": digest,
        },
    )
    _ask_confirmation(change, int(made), at, content)
    change.publication_id = int(made)
    change.announce = (
        EventKind.RELEASE_RECORDED,
        DESK,
        Band.INFO,
        f"已登记{kind.zh}" + (f"（登记为{content.zh}，不停止计时）" if content.is_repost else ""),
    )


def _ask_confirmation(change: Change, publication_id: int, at: datetime, content: ContentKind) -> None:
    """An on-time publication entered after the limit stops the clock now; a second person settles that it was on time."""
    late = [c.name for c in change.before.clocks if c.state == "breached" and not c.is_internal and at <= c.due_at]
    if late and not content.is_repost:
        reasons: list[str] = [said("「%(clock)s」将由超时变为按时", clock=term(name)) for name in dict.fromkeys(late)]
        keep_request(
            change.tx, change.row, "confirm_publication", {"publication_id": publication_id}, change.actor_id, reasons
        )


@command("confirm_publication", "release")
def _confirm_publication(change: Change, payload: dict[str, Any]) -> None:
    change.allow_ended = True  # the clock was stopped in time; who confirms it late must not find it settled as late
    row = _publication(change, payload["publication_id"])
    change.tx.run(
        t.publication.update().where(t.publication.c.id == row.id).values(confirmed_by=change.approver_id or None)
    )
    if not change.approver_id:
        change.reasons.append(said("按时发布但逾期登记，须由第二人确认"))
    change.note("confirm_publication", {"id": row.id})


def _publication(change: Change, publication_id: int) -> Any:
    table = t.publication
    children = sa.select(t.incident.c.id).where(t.incident.c.merged_into == change.row.id)
    row = change.tx.one(
        sa.select(table).where(
            table.c.id == publication_id,
            sa.or_(table.c.incident_id == change.row.id, table.c.incident_id.in_(children)),
        )
    )
    if row is None:
        raise NotFound(
            said(
                "事项 %(no)s 没有编号为 %(publication_id)s 的发布记录。",
                no=change.row.no,
                publication_id=publication_id,
            )
        )
    return row


def review(services: Services, actor: Actor, no: str, request: ReviewRequest) -> dict[str, Any]:
    """A reviewer accepts or rejects a publication, reclassifies it, credits it, withdraws it, judges its substance."""
    payload = {
        "publication_id": request.publication_id,
        "review": request.review and str(request.review),
        "content_kind": request.content_kind and str(request.content_kind),
        "substantive": request.substantive,
        "credited": request.credited,
        "withdrawn": request.withdrawn,
        "note": checked("note", request.note, NOTE_LIMIT, "核验意见"),
    }
    return execute(services, actor, "review", no, payload)


@command("review", "review")
def _review(change: Change, payload: dict[str, Any]) -> None:
    change.allow_ended = True  # a repost may be found out after the archiving
    row = _publication(change, payload["publication_id"])
    if row.entered_by == change.actor_id and (payload["credited"] or payload["review"] == Review.ACCEPTED):
        change.reasons.append(said("核验人即登记人"))
    values: dict[str, Any] = {"reviewed_by": change.actor_id, "reviewed_at": change.tx.now}
    for name in ("review", "content_kind", "substantive", "credited"):
        if payload[name] is not None:
            values[name] = payload[name]
    if payload["withdrawn"] is not None:
        values["withdrawn_at"] = change.tx.now if payload["withdrawn"] else None
    change.tx.run(t.publication.update().where(t.publication.c.id == row.id).values(**values))
    kept = {k: v for k, v in payload.items() if v is not None and k not in {"publication_id", "note"}}
    change.note("review", {"id": row.id, "note": payload["note"], "before": _review_before(row), **kept})
    change.announce = (EventKind.CHANGED, DESK, Band.NOTICE, "发布记录已核验，时钟已重新判定")


def _review_before(row: Any) -> dict[str, Any]:
    return {"review": row.review, "content_kind": row.content_kind, "credited": row.credited}
