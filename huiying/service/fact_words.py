"""What stands in an incident's history, in words: one reading for the page, the main screen, its feed and the command line.

A reading is a line of ours with the values that matter (kind, grade, unit, stage, number); what people typed beside it
(reasons, criteria, addresses) is given apart, because only some places have room for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.kinds import Attribution, ContentKind, GradeBasis, Kind, PublicationKind, Review, Severity, TimeKind
from huiying.domain.plan import SHANGHAI
from huiying.service.views import zh
from huiying.store import tables as t
from huiying.store.db import Tx

Say = Callable[[str], str]

_WHAT_ZH = {
    "registered": "登记", "time_fact": "记录时间", "grading": "定级", "late_exposure": "按首发时间起算", "publication": "登记发布",
    "review": "核验发布", "confirm_publication": "第二人确认按时发布", "acknowledged": "签收", "merged": "并入", "unmerged": "拆出",
    "absorbed": "并入本件", "released": "拆出本件", "voided": "作误报撤销", "waived": "研判不予回应", "handed_over": "移交",
    "closed": "办结归档", "reopened_as": "复燃重开", "task": "部门任务", "task_done": "任务完成", "transfer": "转办通知",
    "transfer_feedback": "反馈转办通知",
    "transfers_returned": "退回转办通知", "continuous": "持续发布间隔", "stage": "进入阶段", "attribution": "确认归因",
    "replanned": "更换提醒策略", "reassigned": "变更主办单位", "details": "修改内容", "packs": "适用规则",
}  # fmt: skip
#: Words for what happened have texts of their own in other languages.
TOLD = "经过："
_TIME_ZH = {"recorded": "记录%(what)s %(at)s", "changed": "更正%(what)s %(at)s"}
_WITH_ZH = "%(what)s：%(more)s"
_NUMBER_ZH = "发布记录 %(number)s"
_PUBLISHED_ZH = "发布于 %(at)s"
_DONE_ZH = "完成于 %(at)s"
_DUE_ZH = "截止 %(at)s"
_EVERY_ZH = "每 %(hours)s 小时"
_STOPPED_ZH = "停止"
_CYCLE_ZH = "第 %(cycle)s 轮"
_BACK_ZH = "改回按事发时间起算"
_PENDING_ZH = "待定级"
_FIELDS_ZH = {"title": "标题", "body": "情况说明", "notice_title": "对外通知用标题", "category": "事件类别"}
_REVIEWED_ZH = {
    ("substantive", True): "内容充分", ("substantive", False): "内容敷衍", ("credited", True): "认可计入",
    ("credited", False): "不认可计入", ("withdrawn", True): "已撤回", ("withdrawn", False): "取消撤回",
}  # fmt: skip
#: Where in an entry somebody's own words stand, in the order in which they are read.
_TYPED = ("criterion", "evidence", "reason", "note")


@dataclass(frozen=True, slots=True)
class Known:
    """Names for what the entries hold as ids; an id without a name stands for itself."""

    units: Mapping[str, str] = field(default_factory=dict)
    publications: Mapping[int, Any] = field(default_factory=dict)
    clocks: Mapping[tuple[int, str], str] = field(default_factory=dict)
    given: Mapping[tuple[int, str, str], str] = field(default_factory=dict)  # (incident, task or transfer, key)

    def clock(self, row: Any) -> str:
        """The name of the clock that an entry is about."""
        return self.clocks.get((row.incident_id, row.detail["clock_key"]), row.detail["clock_key"])


NOBODY = Known()


def known(tx: Tx, rows: Iterable[Any]) -> Known:
    """Whatever the readings of these entries need, asked for at once."""
    told = list(rows)
    units = {row.detail["unit_id"] for row in told if row.detail.get("unit_id")}
    numbers = {row.detail["id"] for row in told if row.what in {"publication", "review", "confirm_publication"}}
    clocks = {row.incident_id for row in told if row.what in {"attribution", "replanned"}}
    given = {row.incident_id for row in told if row.what in {"task_done", "transfer_feedback"}}
    unit, one, clock, entry = t.unit.c, t.publication.c, t.clock.c, t.history.c
    return Known(
        units={u.id: u.name or u.id for u in tx.all(sa.select(unit.id, unit.name).where(unit.id.in_(units)))}
        if units
        else {},
        publications={
            p.id: p for p in tx.all(sa.select(one.id, one.kind, one.url, one.channel).where(one.id.in_(numbers)))
        }
        if numbers
        else {},
        clocks={
            (c.incident_id, c.key): c.name
            for c in tx.all(sa.select(clock.incident_id, clock.key, clock.name).where(clock.incident_id.in_(clocks)))
        }
        if clocks
        else {},
        given={
            (e.incident_id, e.what, e.detail["key"]): e.detail.get("name") or e.detail.get("notice_no", "")
            for e in tx.all(
                sa.select(entry.incident_id, entry.what, entry.detail).where(
                    entry.incident_id.in_(given), entry.what.in_(("task", "transfer"))
                )
            )
        }
        if given
        else {},
    )


def fact_zh(row: Any, say: Say = str, names: Known = NOBODY) -> str:
    """What was recorded, in words. ``say`` puts our words into the reader's language."""
    if row.what == "time_fact":
        words = {"what": say(TimeKind(row.detail["kind"]).zh), "at": _at(row, row.detail["value"])}
        return say(_TIME_ZH["changed" if row.detail.get("reason") else "recorded"]) % words
    if row.what == "late_exposure" and not row.detail["confirmed"]:
        return say(_BACK_ZH)
    what = told(_WHAT_ZH.get(row.what, row.what), say)
    more = " · ".join(part for part in _MORE[row.what](row, say, names) if part) if row.what in _MORE else ""
    return say(_WITH_ZH) % {"what": what, "more": more} if more else what


def told(word: str, say: Say) -> str:
    """A word for what has happened: 签收 is also the name of a button, and not every language has one word for both."""
    return say(f"{TOLD}{word}").removeprefix(TOLD)


def typed_of(row: Any, names: Known = NOBODY) -> list[str]:
    """What people typed with it: the address of what was published, then criteria, reasons and notes."""
    found = [row.detail[name] for name in _TYPED if row.detail.get(name)]
    published = names.publications.get(row.detail["id"]) if row.what == "publication" else None
    return [text for text in (published.channel, published.url) if text] + found if published is not None else found


def _at(row: Any, text: str) -> str:
    """An instant of an entry; with its year where that is not the year of the entry."""
    at, beside = datetime.fromisoformat(text).astimezone(SHANGHAI), row.recorded_at.astimezone(SHANGHAI)
    return f"{at:%m-%d %H:%M}" if at.year == beside.year else f"{at:%Y-%m-%d %H:%M}"


def _grade(detail: Mapping[str, Any], say: Say) -> str:
    if detail.get("severity"):
        return say(Severity(detail["severity"]).zh)
    return say(_PENDING_ZH if detail["kind"] == Kind.EMERGENCY else Kind(detail["kind"]).zh)


def _registered(row: Any, say: Say, _names: Known) -> Iterator[str]:
    yield say(Kind(row.detail["kind"]).zh)
    if row.detail["kind"] == Kind.EMERGENCY:
        yield _grade(row.detail, say)


def _grading(row: Any, say: Say, _names: Known) -> Iterator[str]:
    yield _grade(row.detail, say)
    yield say(zh(GradeBasis, row.detail["basis"]))


def _publication(row: Any, say: Say, _names: Known) -> Iterator[str]:
    yield say(zh(PublicationKind, row.detail["kind"]))
    yield say(zh(ContentKind, row.detail["content_kind"]))
    yield say(_PUBLISHED_ZH) % {"at": _at(row, row.detail["published_at"])}


def _numbered(row: Any, say: Say, names: Known) -> Iterator[str]:
    yield say(_NUMBER_ZH) % {"number": row.detail["id"]}
    published = names.publications.get(row.detail["id"])
    if published is not None:
        yield say(zh(PublicationKind, published.kind))


def _review(row: Any, say: Say, names: Known) -> Iterator[str]:
    yield from _numbered(row, say, names)
    yield say(zh(Review, row.detail.get("review")))
    yield say(zh(ContentKind, row.detail.get("content_kind")))
    for (name, value), word in _REVIEWED_ZH.items():
        if row.detail.get(name) is value:
            yield say(word)


def _task(row: Any, say: Say, names: Known) -> Iterator[str]:
    yield row.detail["name"]
    yield names.units.get(row.detail["unit_id"], row.detail["unit_id"])
    yield say(_DUE_ZH) % {"at": _at(row, row.detail["due_at"])}


def _task_done(row: Any, say: Say, names: Known) -> Iterator[str]:
    yield names.given.get((row.incident_id, "task", row.detail["key"]), row.detail["key"])
    yield say(_DONE_ZH) % {"at": _at(row, row.detail["at"])}


def _transfer(row: Any, say: Say, _names: Known) -> Iterator[str]:
    yield row.detail["notice_no"]
    yield row.detail.get("from_org", "")
    if row.detail.get("due_at"):
        yield say(_DUE_ZH) % {"at": _at(row, row.detail["due_at"])}


def _transfer_feedback(row: Any, say: Say, names: Known) -> Iterator[str]:
    yield names.given.get((row.incident_id, "transfer", row.detail["key"]), row.detail["key"])
    yield say(_DONE_ZH) % {"at": _at(row, row.detail["at"])}


def _continuous(row: Any, say: Say, _names: Known) -> Iterator[str]:
    hours = row.detail["every_hours"]
    yield say(_EVERY_ZH) % {"hours": f"{hours:g}"} if hours else say(_STOPPED_ZH)


def _stage(row: Any, say: Say, _names: Known) -> Iterator[str]:
    if row.detail.get("stage"):
        yield stage_zh(row.detail["stage"], say)


def _attribution(row: Any, say: Say, names: Known) -> Iterator[str]:
    yield say(names.clock(row))
    yield say(zh(Attribution, row.detail["attribution"]))


def _replanned(row: Any, say: Say, names: Known) -> Iterator[str]:
    yield say(names.clock(row))
    yield row.detail["policy_id"]


def _reassigned(row: Any, _say: Say, names: Known) -> Iterator[str]:
    yield names.units.get(row.detail["unit_id"], row.detail["unit_id"])


def _details(row: Any, say: Say, _names: Known) -> Iterator[str]:
    for name, word in _FIELDS_ZH.items():
        if f"{name}_was_sha256" in row.detail:
            yield say(word)


_MORE: dict[str, Callable[[Any, Say, Known], Iterator[str]]] = {
    "registered": _registered,
    "grading": _grading,
    "publication": _publication,
    "review": _review,
    "confirm_publication": _numbered,
    "merged": lambda row, _say, _names: iter([row.detail["into"]]),
    "absorbed": lambda row, _say, _names: iter([row.detail["no"]]),
    "released": lambda row, _say, _names: iter([row.detail["no"]]),
    "reopened_as": lambda row, say, _names: iter([say(_CYCLE_ZH) % {"cycle": row.detail["cycle"]}]),
    "task": _task,
    "task_done": _task_done,
    "transfer": _transfer,
    "transfer_feedback": _transfer_feedback,
    "continuous": _continuous,
    "stage": _stage,
    "attribution": _attribution,
    "replanned": _replanned,
    "reassigned": _reassigned,
    "details": _details,
}


def stage_zh(name: str, say: Say) -> str:
    """A stage in the reader's language; 回应 is also the name of the product, so stages have texts of their own."""
    return say(f"阶段：{name}").removeprefix("阶段：")


def spoken() -> tuple[str, ...]:
    """Every text of these that a face may ask for in another language."""
    return (
        *(f"{TOLD}{word}" for word in _WHAT_ZH.values()),
        *_TIME_ZH.values(),
        *_FIELDS_ZH.values(),
        *_REVIEWED_ZH.values(),
        _WITH_ZH,
        _NUMBER_ZH,
        _PUBLISHED_ZH,
        _DONE_ZH,
        _DUE_ZH,
        _EVERY_ZH,
        _STOPPED_ZH,
        _CYCLE_ZH,
        _BACK_ZH,
        _PENDING_ZH,
    )
