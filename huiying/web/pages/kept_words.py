"""What was typed into a form, in words that a person knows: labels instead of names, words instead of codes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from huiying.domain.kinds import (
    Attribution,
    ContentKind,
    GradeBasis,
    Kind,
    PublicationKind,
    Review,
    Severity,
    TimeKind,
    Word,
)
from huiying.web.pages.words import Say


def _(text: str) -> str:
    """Mark a text for the catalogue; it is translated where the page is made."""
    return text


_LABELS = {
    "title": _("标题"),
    "notice_title": _("对外通知用标题"),
    "body": _("情况说明"),
    "text": _("发布内容"),
    "url": _("网址"),
    "channel": _("发布渠道"),
    "checked_by": _("保密审查人"),
    "published_at": _("发布时间（发布会为开始时间）"),
    "kind": _("类别"),
    "content_kind": _("内容类型"),
    "review": _("核验结论"),
    "attribution": _("归因"),
    "grade": _("级别"),
    "basis": _("理由"),
    "criterion": _("定级依据"),
    "evidence": _("事实依据"),
    "effective_at": _("新情况出现时间"),
    "reason": _("理由"),
    "note": _("说明"),
    "notes": _("说明"),
    "remark": _("说明"),
    "category": _("事件类别"),
    "platform": _("首发平台"),
    "author": _("首发账号"),
    "into": _("并入哪一件（主件编号）"),
    "name": _("名称"),
    "id": _("编号"),
    "mobile": _("手机号码"),
    "email": _("电子邮箱"),
    "due_at": _("任务截止时间"),
    "received_at": _("接收时间"),
    "transfer_received": _("接收时间"),
    "transfer_due": _("反馈时限"),
    "from_org": _("转办单位"),
    "transfer_from": _("转办单位"),
    "notice_no": _("来文号"),
    "transfer_no": _("来文号"),
    "at": _("完成时间"),
    "value": _("更正为"),
    "starts_at": _("开始"),
    "ends_at": _("结束"),
    "every_hours": _("每隔几小时发布一次"),
    "leader_voice": _("主要负责人发声"),
    "region_code": _("属地代码"),
    **{time.value: time.zh for time in TimeKind},
    **{f"{time.value}_at": time.zh for time in TimeKind},
}
_OTHER = _("其他内容")
#: Which words a field holds; the first that knows the code gives it.
_WORDS: dict[str, tuple[type[Word], ...]] = {
    "kind": (PublicationKind, TimeKind),
    "content_kind": (ContentKind,),
    "review": (Review,),
    "attribution": (Attribution,),
    "basis": (GradeBasis,),
}
#: Where to go next and what is carried along: never typed by anybody.
_MACHINE = frozenset({"kept", "next", "to", "page", "fields"})
#: Keys, numbers and choices of ours that say nothing to anybody.
_CODE = re.compile(r"[\w.:=&%/-]{0,80}", re.ASCII)
_LOCAL = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d.*)")


def readable(pairs: Iterable[tuple[str, str]], say: Say) -> list[tuple[str, str]]:
    """Label and value of everything that a person has typed or would know; the rest is left to the machine."""
    found = []
    for name, value in pairs:
        label = _LABELS.get(name, "")
        if not value.strip() or name in _MACHINE or (not label and _CODE.fullmatch(value)):
            continue
        found.append((say(label or _OTHER), _value(name, value, say)))
    return found


def _value(name: str, value: str, say: Say) -> str:
    for words in _WORDS.get(name, ()):
        if value in set(words):
            return say(words(value).zh)
    if name == "grade":
        return _grade(value, say)
    local = _LOCAL.fullmatch(value)
    return f"{local[1]} {local[2]}" if local else value


def _grade(value: str, say: Say) -> str:
    kind, _sep, severity = value.partition(":")
    words = [Severity(severity).zh] if severity in set(Severity) else []
    words += [Kind(kind).zh] if kind in set(Kind) else []
    return " ".join(say(word) for word in words) or value
