"""The fields and words of a rule pack as people read them; used where packs are shown and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from huiying.domain.duration import words_laid_down
from huiying.domain.iso_duration import parse_duration
from huiying.domain.kinds import Kind, LimitStatus, Severity, TimeKind, Word
from huiying.domain.rules import (
    AUTHORITATIVE_RELEASE,
    AUTHORITATIVE_RESPONSE,
    CONTENT_RULES,
    MEASURES,
    NOTICE_DUE,
    PRESS_CONFERENCE,
)
from huiying.domain.sentences import listed, term

MILESTONES_ZH = {
    AUTHORITATIVE_RELEASE: "权威信息发布",
    PRESS_CONFERENCE: "新闻发布会",
    AUTHORITATIVE_RESPONSE: "权威回应",
}
LEVELS_ZH = {"national": "全国", "province": "省级", "prefecture": "市级", "county": "县级", "department": "部门"}
BASES_ZH = {
    "verbatim": "原文",
    "inferred": "推断",
    "cited": "据引述",
    "restored": "据上下文还原",
    "unknown": "不详",
    "our_reading": "本系统理解",
    "stated": "原文写明",
}
#: Kinds of a document's other duties.
DUTIES_ZH = {
    "recurring": "定期",
    "fixed_date": "定日",
    "yearly_date": "每年定日",
    "window": "时段",
    "quota": "定量",
    "workdays": "工作日期限",
    "vague": "未定期限",
    "continuous": "持续",
    "sync": "同步",
    "kpi": "指标",
    "statutory_ref": "援引法定",
    "multi_year": "多年",
    "staffing": "人员配备",
    "event_then": "事后及时",
    "ledger": "台账",
}

#: What a field of the written pack is called. A path that is not here is shown as it stands.
FIELDS_ZH = {
    "title": "文件名称",
    "title_basis": "名称依据",
    "issuer": "发文机关",
    "doc_no": "文号",
    "doc_no_basis": "文号依据",
    "jurisdiction_code": "行政区划代码",
    "jurisdiction_name": "适用范围",
    "level": "层级",
    "issued": "印发日期",
    "published": "公布日期",
    "effective_to": "失效日期",
    "nominal_year": "所属年度",
    "yearly": "年度文件",
    "source_file": "原文文件",
    "source_sha256": "原文校验值",
    "source_truncated": "原文缺失",
    "stages": "处置阶段",
    "unverified": "未核实之处",
    "policy.regrade_up": "升级时",
    "policy.regrade_down": "降级时",
    "policy.credit_prior_release": "此前发布的认定",
    "policy.merge_anchor": "并案起算",
    "policy.basis": "处理依据",
    "name": "名称",
    "status": "时限性质",
    "limit": "办理时限",
    "limit_from": "时限来源",
    "clause": "条款",
    "quote": "原文",
    "responsible": "责任单位",
    "responsible_stated": "责任单位为原文写明",
    "satisfied_by": "怎样算完成",
    "satisfied_basis": "完成依据",
    "content_rules": "内容要求",
    "on_breach.measures": "超时后果",
    "on_breach.basis": "后果依据",
    "repeats": "持续要求",
    "rows": "对照行",
    "note": "说明",
    "anchor.field": "起算点",
    "anchor.stated": "起算点为原文写明",
    "anchor.basis": "起算依据",
    "applies_to.include.kind": "适用类别",
    "applies_to.include.severity": "适用级别",
    "applies_to.include.source": "适用来源",
    "applies_to.exclude.kind": "除外类别",
    "applies_to.exclude.severity": "除外级别",
    "applies_to.exclude.source": "除外来源",
    "applies_to.basis": "适用依据",
    "kind": "种类",
    "anchor": "起算",
    "unit": "单位",
    "who": "责任",
    "done": "完成标志",
}


def field_words(path: str) -> str:
    """The name of a field."""
    return FIELDS_ZH.get(path, path)


def anchor_words(field: str) -> str:
    """What a clock starts from."""
    return term("知悉时间") if field == "first_known_at" else _of(TimeKind)(field)


def limit_words(limit: str) -> str:
    """``PT5H`` as 5 小时; what is no duration stays as it is."""
    found = parse_duration(limit)
    return limit if found is None else words_laid_down(int(found.total_seconds()))


def _of(words: type[Word]) -> Callable[[str], str]:
    known = {word.value: word.zh for word in words}
    return _in(known)


def _in(known: Mapping[str, str]) -> Callable[[str], str]:
    return lambda value: term(known[value]) if value in known else value


_READERS: dict[str, Callable[[str], str]] = {
    "status": _of(LimitStatus),
    "limit": limit_words,
    "limit_from": _in({NOTICE_DUE: "上级通知写明的期限"}),
    "satisfied_by": _in(MILESTONES_ZH),
    "content_rules": _in(CONTENT_RULES),
    "on_breach.measures": _in(MEASURES),
    "level": _in(LEVELS_ZH),
    "title_basis": _in(BASES_ZH),
    "doc_no_basis": _in(BASES_ZH),
    "policy.basis": _in(BASES_ZH),
    "anchor.field": anchor_words,
    **{f"applies_to.{way}.kind": _of(Kind) for way in ("include", "exclude")},
    **{f"applies_to.{way}.severity": _of(Severity) for way in ("include", "exclude")},
}
#: A duty's ``limit`` and ``kind`` are the document's own words and codes of the duties' table.
_DUTY_READERS: dict[str, Callable[[str], str]] = {"kind": _in(DUTIES_ZH)}


def value_words(path: str, value: Any, *, duty: bool = False) -> str:
    """A value of the written pack in words; empty for nothing. What is no word of ours stays as the pack has it."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return term("是") if value else term("否")
    readers = _DUTY_READERS if duty else _READERS
    read = readers.get(path, str)
    if isinstance(value, list):
        return listed(read(str(item)) for item in value)
    return read(str(value))
