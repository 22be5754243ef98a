"""What requests for a second person ask for and would do, told together, each for itself.

A request that cannot be told or tried out is shown with a sentence that says so, and cannot be agreed to; the others are
shown as ever. The log has the reason.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from huiying.domain.sentences import Sentence, said
from huiying.service.rehearsal import Rehearsal, rehearse
from huiying.service.request_facts import facts_of, not_for_approval
from huiying.service.services import Services


def effects_of(services: Services, numbers: Collection[int], *, decided: bool = False) -> dict[int, dict[str, Any]]:
    """Of each request: ``facts``, ``moved``, ``obstacle``, and ``unreadable`` where the first two are not to be had."""
    facts = facts_of(services, numbers)
    tried = {} if decided else rehearse(services, numbers)
    return {
        number: _told(number, facts.get(number), tried.get(number, Rehearsal()), decided=decided) for number in numbers
    }


def _told(
    number: int, facts: list[dict[str, Any]] | None, effect: Rehearsal | None, *, decided: bool
) -> dict[str, Any]:
    if facts is None or effect is None:
        sentence = _kept(number) if decided else not_for_approval(number)
        return {"facts": facts or [], "moved": [], "obstacle": sentence, "unreadable": True}
    return {"facts": facts, **effect.view(), "unreadable": False}


def _kept(number: int) -> Sentence:
    return said(
        "系统读取申请 %(request)s 的内容时出错，未能列出。办理结果和申请原样保留。请系统管理员查看运行日志。",
        request=number,
    )
