"""What a request asks for, as labelled facts: what the second person approves, with the old value beside the new one.

Old values are those that hold at the moment of looking; a request that has been decided shows what was asked alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from loguru import logger
from sqlalchemy.exc import DBAPIError

from huiying.domain.folding import instant
from huiying.domain.incident import Facts
from huiying.domain.kinds import Attribution, ContentKind, GradeBasis, Kind, PublicationKind, Review, Severity, TimeKind
from huiying.domain.sentences import Sentence, said
from huiying.service.services import Services
from huiying.service.views import shown, zh
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx, is_outage


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled value. ``form``: word (one of ours, translatable), time, free, web, incident, publication."""

    label: str
    now: str
    was: str = ""
    form: str = "free"
    more: str = ""  # an incident's title; the kind of a publication


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a request is told from: its incident and the facts that hold now."""

    tx: Tx
    row: Any
    facts: Facts
    pending: bool

    def was(self, text: str | None) -> str:
        """An old value: only while it is one."""
        return (text or "") if self.pending else ""

    def unit(self, unit_id: str) -> str:
        name = self.tx.value(sa.select(t.unit.c.name).where(t.unit.c.id == unit_id))
        return str(name or unit_id)


_Payload = Mapping[str, Any]
_YES_NO = {True: "是", False: "否"}
#: Labels and words that a face may ask for in another language.
LABELS = (
    "定级", "理由", "生效", "定级依据", "事实依据", "来源", "精确程度", "起算口径", "并入主件", "主件", "任务",
    "新的主办单位", "发布记录", "发布形式", "内容类型", "发布时间", "登记时间", "发布渠道", "网址", "发布标题",
    "发布内容", "保密审查", "核验结论", "认可计入", "内容充分、不敷衍", "已撤回", "核验意见", "来文号", "转办单位",
    "接收时间", "反馈时限", "反馈时间", "标题", "情况说明", "对外通知用标题", "事件类别", "承办单位", "任务名称", "截止",
    "完成时间", "持续发布间隔（小时）", "阶段", "时钟", "归因", "说明", "督办方案", "登记人",
    "按事发", "按首发", "是", "否", "待定级", "准确到分", "准确到秒", "大约（估计）", "未登记",
)  # fmt: skip


def facts_of(services: Services, request_ids: Collection[int]) -> dict[int, list[dict[str, Any]]]:
    """Each request's facts by its number; one that cannot be told is left out, and the log says why."""
    with services.store.reading() as tx:
        requests = tx.all(sa.select(t.change_request).where(t.change_request.c.id.in_(list(request_ids))))
        told = {request.id: _told_or_logged(tx, request) for request in requests}
    return {number: facts for number, facts in told.items() if facts is not None}


def is_tellable(tx: Tx, request: Any) -> bool:
    """Whether what a request asks for can be told; what nobody can read must not be agreed to."""
    return _told_or_logged(tx, request) is not None


def not_for_approval(number: int) -> Sentence:
    """What is said of a request that cannot be told or tried out."""
    return said(
        "系统读取或试算申请 %(request)s 时出错，此申请不能同意。申请原样保留，事项和各项时限未受影响。"
        "请不予同意，或由申请人撤回后重新申请；并请系统管理员查看运行日志。",
        request=number,
    )


def _told_or_logged(tx: Tx, request: Any) -> list[dict[str, Any]] | None:
    try:
        # PostgreSQL answers nothing more in a transaction in which it has refused a question; a savepoint saves the rest.
        with tx.conn.begin_nested():
            return _told(tx, request)
    except Exception as error:
        if isinstance(error, DBAPIError) and is_outage(error):
            raise
        logger.exception("request {} cannot be told; it is shown without what it asks for", request.id)
        return None


def _told(tx: Tx, request: Any) -> list[dict[str, Any]]:
    row = tx.one(sa.select(t.incident).where(t.incident.c.id == request.incident_id))
    assert row is not None
    facts = repo.load_facts(tx, row, lambda _pack, _version: ())
    scene = _Scene(tx, row, facts, request.state == "pending")
    return [_view(fact) for fact in TOLD[request.command](scene, request.payload) if fact.now or fact.was]


def _view(fact: Fact) -> dict[str, Any]:
    """Plain values for the faces, which write nothing but texts."""
    values = {name: "" if value is None else value for name, value in asdict(fact).items()}
    if odd := [name for name, value in values.items() if not isinstance(value, str)]:
        raise TypeError(f"{fact.label}: no text in {odd}")
    return values


def _time(label: str, at: str | None, was: str = "") -> Fact:
    return Fact(label, shown(instant(at)) or "" if at else "", was, "time")


def _reason(payload: _Payload) -> Iterator[Fact]:
    yield Fact("理由", payload.get("reason") or "")


# -- grading and times -------------------------------------------------------------------------------------------------


def _grade_zh(kind: str, severity: str | None) -> str:
    if severity:
        return Severity(severity).zh
    return "待定级" if kind == Kind.EMERGENCY else Kind(kind).zh


def _grade(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    kind, severity = scene.facts.present
    was = scene.was(_grade_zh(kind, severity))
    yield Fact("定级", _grade_zh(payload["kind"], payload["severity"]), was, "word")
    yield Fact("理由", zh(GradeBasis, payload["basis"]), form="word")
    yield _time("生效", payload["effective_at"])
    yield Fact("定级依据", payload["criterion"])
    yield Fact("事实依据", payload["evidence"])


def _exactness(precision: str, *, estimated: bool) -> str:
    return "大约（估计）" if estimated else {"minute": "准确到分"}.get(precision, "准确到秒")


def _correct(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    if "late_exposure" in payload:
        words = {True: "按首发", False: "按事发"}
        was = scene.was(words[scene.facts.late_exposure])
        yield Fact("起算口径", words[bool(payload["late_exposure"])], was, "word")
    if "time" in payload:
        stated = payload["time"]
        kind = TimeKind(stated["kind"])
        old = scene.facts.time(kind)
        yield _time(kind.zh, stated["value"], scene.was(shown(old.value) if old else ""))
        yield Fact("来源", stated["source"], scene.was(old.source if old else ""))
        exact = scene.was(_exactness(old.precision, estimated=old.estimated) if old else "")
        yield Fact("精确程度", _exactness(stated["precision"], estimated=stated["estimated"]), exact, "word")
    yield from _reason(payload)


# -- merging, ending, the lead -----------------------------------------------------------------------------------------


def _incident(scene: _Scene, label: str, no: str) -> Fact:
    title = scene.tx.value(sa.select(t.incident.c.title).where(t.incident.c.no == no))
    return Fact(label, no, form="incident", more=str(title or ""))


def _merge(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield _incident(scene, "并入主件", payload["into"])
    yield from _reason(payload)


def _unmerge(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    if scene.facts.merged_into:
        yield _incident(scene, "主件", scene.facts.merged_into)
    yield from _reason(payload)


def _ended(_scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    return _reason(payload)


def _reopen(_scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    for stated in payload["times"].values():
        yield _time(TimeKind(stated["kind"]).zh, stated["value"])
    yield from _reason(payload)


def _reassign(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield Fact("新的主办单位", scene.unit(payload["unit_id"]), scene.was(scene.unit(scene.row.unit_id)))
    yield from _reason(payload)


def _details(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    names = {"title": "标题", "notice_title": "对外通知用标题", "category": "事件类别", "body": "情况说明"}
    for name, label in names.items():
        if name in payload and payload[name] != getattr(scene.row, name):
            yield Fact(label, payload[name], scene.was(getattr(scene.row, name)))
    yield from _reason(payload)


# -- publications ------------------------------------------------------------------------------------------------------


def _publication(scene: _Scene, publication_id: int) -> Any:
    return scene.tx.one(sa.select(t.publication).where(t.publication.c.id == publication_id))


def _published(one: Mapping[str, Any]) -> Iterator[Fact]:
    """What was put before the public, when, where and in which words."""
    yield _time("发布时间", one["published_at"])
    yield Fact("网址", one["url"], form="web")
    yield Fact("发布渠道", one["channel"])
    yield Fact("发布标题", one["title"])
    yield Fact("发布内容", one["text"])
    checks = " ".join(map(str, (one["confidentiality"] or {}).values()))
    yield Fact("保密审查", checks or "未登记", form="free" if checks else "word")


def _entered(scene: _Scene, row: Any) -> Iterator[Fact]:
    yield Fact("发布记录", str(row.id), form="publication", more=zh(PublicationKind, row.kind))
    yield from _published({**row._mapping, "published_at": shown(row.published_at)})  # noqa: SLF001 - a row's mapping
    yield Fact("登记时间", shown(row.entered_at) or "", form="time")
    person = row.entered_by.removeprefix("person:")
    name = scene.tx.value(sa.select(t.person.c.name).where(t.person.c.id == person))
    yield Fact("登记人", str(name or row.entered_by))


def _confirm_publication(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    row = _publication(scene, payload["publication_id"])
    if row is not None:
        yield from _entered(scene, row)
        yield Fact("内容类型", zh(ContentKind, row.content_kind), form="word")


def _review(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    row = _publication(scene, payload["publication_id"])
    if row is None:
        return
    for label, word, wanted, old in (
        ("核验结论", Review, payload["review"], row.review),
        ("内容类型", ContentKind, payload["content_kind"], row.content_kind),
    ):
        if wanted is not None:
            yield Fact(label, zh(word, wanted), scene.was(zh(word, old)), "word")
    for label, wanted, old in (
        ("认可计入", payload["credited"], row.credited),
        ("内容充分、不敷衍", payload["substantive"], row.substantive),
        ("已撤回", payload["withdrawn"], row.withdrawn_at is not None),
    ):
        if wanted is not None:
            yield Fact(label, _YES_NO[wanted], scene.was("" if old is None else _YES_NO[bool(old)]), "word")
    yield Fact("核验意见", payload["note"])
    yield from _entered(scene, row)
    if payload["content_kind"] is None:
        yield Fact("内容类型", zh(ContentKind, row.content_kind), form="word")


def _release(_scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield Fact("发布形式", zh(PublicationKind, payload["kind"]), form="word")
    yield Fact("内容类型", zh(ContentKind, payload["content_kind"]), form="word")
    yield from _published(payload)


# -- tasks, notices, the rest ------------------------------------------------------------------------------------------


def _task(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield Fact("承办单位", scene.unit(payload["unit_id"]))
    yield Fact("任务名称", payload["name"])
    yield _time("截止", payload["due_at"])


def _task_done(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    name = next((task.name for task in scene.facts.tasks if task.key == payload["key"]), payload["key"])
    yield Fact("任务", name)
    yield _time("完成时间", payload["at"])


def _transfer(_scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield Fact("来文号", payload["notice_no"])
    yield Fact("转办单位", payload["from_org"])
    yield _time("接收时间", payload["received_at"])
    yield _time("反馈时限", payload["due_at"])


def _transfer_feedback(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    notice = next((one for one in scene.facts.transfers if one.key == payload["key"]), None)
    yield Fact("来文号", notice.notice_no if notice else payload["key"])
    yield Fact("反馈时限", shown(notice.due_at) or "" if notice else "", form="time")
    yield _time("反馈时间", payload["at"], scene.was(shown(notice.feedback_at) if notice else ""))


def _continuous(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    plan = scene.facts.continuous
    hours = plan.every.total_seconds() / 3600 if plan is not None and plan.until is None else 0
    yield Fact("持续发布间隔（小时）", str(payload["every_hours"]), scene.was(f"{hours:g}"))


def _stage(_scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield Fact("阶段", payload["stage"])
    yield Fact("说明", payload["note"])


def _clock(scene: _Scene, key: str) -> Fact:
    row = repo.clock_rows(scene.tx, scene.row.id, scene.row.cycle).get(key)
    return Fact("时钟", row.name if row is not None else key, form="word" if row is not None else "free")


def _attribution(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield _clock(scene, payload["clock_key"])
    yield Fact("归因", zh(Attribution, payload["attribution"]), form="word")
    yield Fact("说明", payload["note"])


def _replan(scene: _Scene, payload: _Payload) -> Iterator[Fact]:
    yield _clock(scene, payload["clock_key"])
    yield Fact("督办方案", payload["policy_id"])
    yield from _reason(payload)


#: By command: everything that can be done to an incident, and so be asked of a second person.
TOLD: dict[str, Callable[[_Scene, _Payload], Iterator[Fact]]] = {
    "grade": _grade,
    "correct": _correct,
    "merge": _merge,
    "unmerge": _unmerge,
    "void": _ended,
    "waive": _ended,
    "hand_over": _ended,
    "close": _ended,
    "reopen": _reopen,
    "reassign": _reassign,
    "details": _details,
    "confirm_publication": _confirm_publication,
    "review": _review,
    "release": _release,
    "task": _task,
    "task_done": _task_done,
    "transfer": _transfer,
    "transfer_feedback": _transfer_feedback,
    "continuous": _continuous,
    "stage": _stage,
    "attribution": _attribution,
    "replan": _replan,
}
