"""Rule packs from YAML files: read strictly, refused as a whole, never half.

Schema 1 is described in ``docs/rules.md``. ``lint`` explains every fault with file, line and key in Chinese;
``load_packs`` gives the packs that have none. Whether a quote stands in its source document can be checked where the
documents are at hand (``sources``); the product does not need them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from config.document import Finding, Form, Section, expand, read_document, read_path, refusal, yaml_files
from huiying.domain.kinds import Kind, LimitStatus, Severity, TimeKind
from huiying.domain.rules import (
    CONTENT_RULES,
    MEASURES,
    MILESTONES,
    NOTICE_DUE,
    Anchor,
    Applicability,
    Breach,
    ClockRule,
    Obligation,
    PackPolicy,
    RulePack,
    Selector,
)
from huiying.domain.rules_codec import pack_version
from huiying.domain.sentences import said

RULES_DIRECTORY = Path(__file__).parent / "rules"

SCHEMA = 1
ID = r"[a-z0-9]+(-[a-z0-9]+)*"
ID_HINT = "只用小写字母、数字和连字符"
WORD = r"[a-z][a-z0-9_]*"
WORD_HINT = "只用小写字母、数字和下划线"
ROW = r"[A-Z]+-\d{2,3}"
ROW_HINT = "写成 LPS-17 的样子"

LEVELS = ("national", "province", "prefecture", "county", "department")
TITLE_BASES = ("verbatim", "inferred", "cited")
DOC_NO_BASES = ("verbatim", "restored", "inferred", "cited", "unknown")
POLICY_BASES = ("our_reading", "stated")

#: A machine's capture starts no clock (domain.md §3), so it is missing here.
ANCHOR_FIELDS = (
    "first_known_at",
    *(word.value for word in TimeKind if word is not TimeKind.CAPTURED),
)

#: What the engine can do where a document is silent; one word each until it can do something else.
REGRADE_UP = ("by_reason",)
REGRADE_DOWN = ("keep_breached_cancel_pending",)
CREDIT_PRIOR_RELEASE = ("after_review",)
MERGE_ANCHOR = ("earliest",)

COMPUTED_KINDS = ("recurring", "fixed_date", "yearly_date", "window", "quota", "workdays")
OTHER_KINDS = (
    "vague",
    "continuous",
    "sync",
    "kpi",
    "statutory_ref",
    "multi_year",
    "staffing",
    "event_then",
    "ledger",
)
PERIODS = ("day", "week", "month", "quarter", "year")
#: The four "after …" days that documents count working days from, and the month's own beginning.
WORKDAY_ANCHORS = ("document_disclosed_on", "reply_formed_on", "published_on", "issued_on", "month_start")
CHANNELS = ("government_website", "media")


@dataclass(frozen=True, slots=True)
class LoadedPacks:
    """The packs without any fault, and what was found in the others."""

    packs: tuple[RulePack, ...]
    findings: tuple[Finding, ...]


def load_pack(path: Path) -> RulePack:
    """Read one pack; ``BadRulePack`` with all findings when there is anything wrong with it."""
    pack, findings = _read(Path(path), None)
    if pack is None:
        raise refusal("规则包", findings)
    return pack


def parse_pack(file: str, data: bytes) -> tuple[RulePack | None, tuple[Finding, ...]]:
    """Read one pack from bytes, for an upload; the pack is there only when nothing was found."""
    pack, findings = read_document(file, data, _build)
    return pack, tuple(findings)


def load_packs(directory: Path = RULES_DIRECTORY) -> LoadedPacks:
    """Read all packs of a directory; a bad one is left out whole, with findings."""
    return _read_all(yaml_files(Path(directory)), None)


def lint(paths: Iterable[Path], sources: Path | None = None) -> list[Finding]:
    """Find every fault in these files and directories; with ``sources``, also in their quotes."""
    return list(_read_all(expand(paths), sources).findings)


def _read_all(files: Iterable[Path], sources: Path | None) -> LoadedPacks:
    findings: list[Finding] = []
    found: list[tuple[Path, RulePack]] = []
    for path in files:
        pack, faults = _read(path, sources)
        findings += faults
        if pack is not None:
            found.append((path, pack))
    counts = Counter(pack.id for _, pack in found)
    findings += [
        Finding(str(path), 1, "id", said("规则包编号 %(id)s 在多个文件中出现，这些文件都不采用。", id=pack.id))
        for path, pack in found
        if counts[pack.id] > 1
    ]
    packs = sorted((pack for _, pack in found if counts[pack.id] == 1), key=lambda pack: pack.id)
    return LoadedPacks(tuple(packs), tuple(sorted(findings)))


def _read(path: Path, sources: Path | None) -> tuple[RulePack | None, list[Finding]]:
    def build(form: Form, top: Section) -> RulePack:
        pack = _build(form, top)
        if sources is not None and pack.source_file:
            _check_source(top, pack, sources)
        return pack

    return read_path(path, build)


def _build(form: Form, top: Section) -> RulePack:
    top.only(
        "schema", "id", "title", "title_basis", "issuer", "doc_no", "jurisdiction", "effective", "source",
        "stages", "policy", "incident_clocks", "obligations", "unverified",
    )  # fmt: skip
    top.integer("schema", SCHEMA, SCHEMA)
    pack_id = top.text("id", pattern=ID, hint=ID_HINT, longest=64)
    doc_no, doc_no_basis = _doc_no(top.section("doc_no"))
    code, place, level = _jurisdiction(top.section("jurisdiction"))
    source_file, sha256, truncated = _source(top.section("source"))
    issued, published, until, year, yearly = _effective(top.section("effective"))
    clocks = tuple(_clock(pack_id, section) for section in top.sections("incident_clocks"))
    obligations = tuple(_obligation(pack_id, section) for section in top.sections("obligations", required=False))
    _check_identities(top, clocks, obligations)
    pack = RulePack(
        id=pack_id,
        version="",
        title=top.text("title"),
        title_basis=top.choice("title_basis", TITLE_BASES),
        issuer=top.text("issuer"),
        doc_no=doc_no,
        doc_no_basis=doc_no_basis,
        jurisdiction_code=code,
        jurisdiction_name=place,
        level=level,
        issued=issued,
        published=published,
        effective_to=until,
        nominal_year=year,
        yearly=yearly,
        source_file=source_file,
        source_sha256=sha256,
        source_truncated=truncated,
        stages=top.texts("stages", required=False),
        policy=_policy(top.section("policy")),
        clocks=clocks,
        obligations=obligations,
        unverified=top.texts("unverified", required=False),
    )
    # A version of a refused pack means nothing, and half-read values need not be serialisable.
    return pack if form.findings else replace(pack, version=pack_version(pack))


def _doc_no(section: Section) -> tuple[str, str]:
    section.only("number", "basis")
    number = section.text("number", required=False, longest=80)
    basis = section.choice("basis", DOC_NO_BASES)
    if bool(number) == (basis == "unknown"):
        section.fail("number", "有文号就要写明依据；没有文号时 basis 写 unknown。")
    return number, basis


def _jurisdiction(section: Section) -> tuple[str, str, str]:
    section.only("code", "name", "level")
    code = section.text("code", pattern=r"\d{6}", hint="六位行政区划代码，全国写 '000000'")
    level = section.choice("level", LEVELS)
    if code and level and (code == "000000") != (level == "national"):
        section.fail("code", "只有 level 为 national 的规则包用 '000000'。")
    return code, section.text("name"), level


def _source(section: Section) -> tuple[str, str, str]:
    section.only("file", "sha256", "truncated")
    file = section.text("file", required=False, pattern=r"[\w.-]{1,100}", hint="只写文件名")
    sha256 = section.text("sha256", required=False, pattern=r"[0-9a-f]{64}", hint="64 位小写十六进制")
    if bool(file) != bool(sha256):
        section.fail("sha256" if file else "file", "来源文件名和 SHA-256 要么都写，要么都不写。")
    return file, sha256, section.text("truncated", required=False)


def _effective(section: Section) -> tuple[date | None, date | None, date | None, int | None, bool]:
    section.only("issued", "published", "to", "nominal_year", "yearly", "basis")
    issued = section.day("issued", required=False)
    published = section.day("published", required=False)
    until = section.day("to", required=False)
    year = section.integer("nominal_year", 1949, 2199, required=False) or None
    yearly = section.flag("yearly")
    section.text("basis")
    begins = issued or published or (date(year, 1, 1) if year else None)
    if begins is None and not section.broken:
        section.fail("", "印发日期、发布日期、所属年度至少要有一项。")
    if issued and published and published < issued:
        section.fail("published", "发布日期早于印发日期。")
    if begins and until and until < begins:
        section.fail("to", "失效日期早于生效日期。")
    if yearly and year is None:
        section.fail("nominal_year", "年度文件（yearly: true）必须写所属年度。")
    return issued, published, until, year, yearly


def _policy(section: Section) -> PackPolicy:
    section.only("regrade_up", "regrade_down", "credit_prior_release", "merge_anchor", "basis")
    return PackPolicy(
        regrade_up=section.choice("regrade_up", REGRADE_UP),
        regrade_down=section.choice("regrade_down", REGRADE_DOWN),
        credit_prior_release=section.choice("credit_prior_release", CREDIT_PRIOR_RELEASE),
        merge_anchor=section.choice("merge_anchor", MERGE_ANCHOR),
        basis=section.choice("basis", POLICY_BASES),
    )


def _clock(pack_id: str, section: Section) -> ClockRule:
    section.only(
        "id", "name", "status", "applies_to", "anchor", "limit", "limit_from", "repeats", "clause", "quote",
        "responsible", "satisfied_by", "satisfied_basis", "content_rules", "on_breach", "rows", "escalation", "note",
    )  # fmt: skip
    responsible = section.section("responsible")
    responsible.only("body", "stated")
    clock = ClockRule(
        pack_id=pack_id,
        rule_id=section.text("id", pattern=WORD, hint=WORD_HINT, longest=64),
        name=section.text("name", longest=40),
        # An unknown word is a finding already; the default only keeps the reading going.
        status=LimitStatus(section.choice("status", [word.value for word in LimitStatus], default="untimed")),
        applies_to=_applicability(section.section("applies_to")),
        anchor=_anchor(section.section("anchor")) if section.has("anchor") else None,
        limit=section.duration("limit", required=False),
        clause=section.text("clause", longest=40),
        quote=section.text("quote", longest=200),
        responsible=responsible.text("body"),
        satisfied_by=section.choices("satisfied_by", MILESTONES, required=False),
        satisfied_basis=section.text("satisfied_basis", required=False),
        content_rules=section.choices("content_rules", tuple(CONTENT_RULES), required=False),
        on_breach=_breach(section.section("on_breach", required=False)),
        limit_from=section.choice("limit_from", (NOTICE_DUE,), required=False),
        repeats=section.flag("repeats", required=False),
        rows=section.texts("rows", required=False, pattern=ROW, hint=ROW_HINT),
        policy=section.text("escalation", required=False, pattern=ID, hint=ID_HINT),
        note=section.text("note", required=False),
        responsible_stated=responsible.flag("stated"),
    )
    _check_limit(section, clock)
    return clock


def _check_limit(section: Section, clock: ClockRule) -> None:
    if not section.has("status") or (clock.limit is None and section.has("limit")):
        return
    untimed = clock.status is LimitStatus.UNTIMED
    if clock.limit is not None and untimed:
        section.fail("status", "写了时限就不能是 untimed；要么删去 limit，要么改 status。")
    if clock.limit is None and not untimed:
        section.fail("status", "没有时限的要求只能是 untimed；有时限的要写 limit。")
    if clock.limit_from and clock.limit is not None:
        section.fail("limit_from", "时限由通知写明时，不能再写 limit。")
    if clock.repeats and not untimed:
        section.fail("repeats", "repeats 只用于没有时限的持续性要求。")
    if clock.limit is not None or clock.limit_from:
        _check_timed(section, clock)


def _check_timed(section: Section, clock: ClockRule) -> None:
    if not section.has("anchor"):
        section.fail("anchor", "有时限就要写明起算点。")
    if clock.limit_from and clock.satisfied_by:
        section.fail("satisfied_by", "时限由通知写明的，以登记反馈为完成，不写 satisfied_by。")
    if clock.limit is not None and not clock.satisfied_by:
        section.fail("satisfied_by", "有时限就要写明什么发布算完成，不能为空。")
    if set(clock.satisfied_by) - {clock.rule_id} and not clock.satisfied_basis:
        section.fail("satisfied_basis", "以其他发布抵作完成时，要写明依据。")


def _applicability(section: Section) -> Applicability:
    section.only("kind", "severity", "source", "except", "basis")
    basis = section.text("basis", required=False)
    if not section.has("except"):
        return Applicability(include=_selector(section), basis=basis)
    if any(section.has(name) for name in ("kind", "severity", "source")):
        section.fail("except", "except 与 kind、severity、source 不能同时写。")
    if not basis:
        section.fail("basis", "用 except 排除时要写明依据。")
    exclude = section.section("except")
    exclude.only("kind", "severity", "source")
    return Applicability(exclude=_selector(exclude), basis=basis)


def _selector(section: Section) -> Selector:
    kind = section.choice("kind", [word.value for word in Kind], required=False)
    severity = section.choices("severity", [word.value for word in Severity], required=section.has("severity"))
    source = section.text("source", required=False, pattern=WORD, hint=WORD_HINT, longest=64)
    if not (kind or severity or source) and not section.broken:
        section.fail("", "要写明适用于哪类事项（kind、severity 或 source）。")
    if severity and kind != Kind.EMERGENCY:
        section.fail("severity", "只有突发事件（kind: emergency）才有级别。")
    return Selector(
        kind=Kind(kind) if kind else None,
        severity=frozenset(Severity(level) for level in severity),
        source=source or None,
    )


def _anchor(section: Section) -> Anchor:
    section.only("field", "stated", "basis")
    return Anchor(
        field=section.choice("field", ANCHOR_FIELDS),
        stated=section.flag("stated"),
        basis=section.text("basis"),
    )


def _breach(section: Section) -> Breach:
    section.only("measures", "basis")
    measures = section.choices("measures", tuple(MEASURES), required=False)
    basis = section.text("basis", required=bool(measures))
    return Breach(measures=measures, basis=basis)


def _obligation(pack_id: str, section: Section) -> Obligation:
    section.only("id", "clause", "kind", "quote", "anchor", "limit", "unit", "who", "done", "parsed")
    kind = section.choice("kind", (*COMPUTED_KINDS, *OTHER_KINDS))
    return Obligation(
        pack_id=pack_id,
        id=section.text("id", pattern=ROW, hint=ROW_HINT),
        clause=section.text("clause", longest=40),
        kind=kind,
        quote=section.text("quote", longest=200),
        anchor=section.text("anchor"),
        limit=section.text("limit"),
        unit=section.text("unit"),
        who=section.text("who"),
        done=section.text("done"),
        parsed=_parsed(section, kind),
    )


def _parsed(section: Section, kind: str) -> dict[str, object]:
    if kind in COMPUTED_KINDS:
        return _without_nothing(_PARSERS[kind](section.section("parsed")))
    if section.has("parsed"):
        note = section.section("parsed")
        note.only("note")
        return _without_nothing({"note": note.text("note")})
    return {}


def _without_nothing(values: dict[str, Any]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _iso(value: date | None) -> str:
    return "" if value is None else value.isoformat()


def _recurring(section: Section) -> dict[str, Any]:
    section.only("every", "times", "by", "after", "note")
    every = section.choices("every", PERIODS)
    if section.has("by") and every != ("year",):
        section.fail("by", "by 只用于每年一次的要求。")
    return {
        "every": list(every),
        "times": section.integer("times", 1, 1000, required=False) or None,
        "by": section.month_day("by", required=False),
        "after": section.text("after", required=False, pattern=WORD, hint=WORD_HINT),
        "note": section.text("note", required=False),
    }


def _fixed_date(section: Section) -> dict[str, Any]:
    section.only("date", "note")
    return {"date": _iso(section.day("date")), "note": section.text("note", required=False)}


def _yearly_date(section: Section) -> dict[str, Any]:
    section.only("date", "note")
    return {"date": section.month_day("date"), "note": section.text("note", required=False)}


def _window(section: Section) -> dict[str, Any]:
    section.only("from", "to", "note")
    first, last = section.day("from"), section.day("to")
    if first and last and last < first:
        section.fail("to", "结束日期早于开始日期。")
    return {"from": _iso(first), "to": _iso(last), "note": section.text("note", required=False)}


def _quota(section: Section) -> dict[str, Any]:
    section.only("at_least", "per", "weeks_without_workdays", "note")
    per = section.choice("per", ("week", "year"))
    if section.has("weeks_without_workdays") != (per == "week") and per:
        section.fail(
            "weeks_without_workdays", "按周计次的要求须写明没有工作日的周是否免除（required/exempt）；其余不写。"
        )
    return {
        "at_least": section.integer("at_least", 1, 1000),
        "per": per,
        "weeks_without_workdays": section.choice("weeks_without_workdays", ("required", "exempt"), required=False),
        "note": section.text("note", required=False),
    }


def _workdays(section: Section) -> dict[str, Any]:
    section.only("n", "anchor", "anchor_date", "first_day_counts", "all_of", "note")
    anchor = section.choice("anchor", WORKDAY_ANCHORS)
    counts = section.flag("first_day_counts")
    if anchor and counts != (anchor == "month_start"):
        section.fail("first_day_counts", "起算日不计入；只有“每月初”的首个工作日计入。")
    return {
        "n": section.integer("n", 1, 250),
        "anchor": anchor,
        "anchor_date": _iso(section.day("anchor_date", required=False)),
        "first_day_counts": counts,
        "all_of": list(section.choices("all_of", CHANNELS, required=False)),
        "note": section.text("note", required=False),
    }


_PARSERS: dict[str, Callable[[Section], dict[str, Any]]] = {
    "recurring": _recurring,
    "fixed_date": _fixed_date,
    "yearly_date": _yearly_date,
    "window": _window,
    "quota": _quota,
    "workdays": _workdays,
}


def _check_identities(top: Section, clocks: tuple[ClockRule, ...], obligations: tuple[Obligation, ...]) -> None:
    """Every clock id, obligation id and row stands for one thing."""
    clock_rows = {row for clock in clocks for row in clock.rows}
    _once(top, "incident_clocks", [clock.rule_id for clock in clocks], "id", set())
    _once(top, "obligations", [item.id for item in obligations], "id", clock_rows)


def _once(top: Section, name: str, ids: list[str], key: str, taken: set[str]) -> None:
    if not top.has(name):
        return
    content = top.values[name].content
    nodes = content if isinstance(content, list) else []
    seen = set(taken)
    for number, (identity, node) in enumerate(zip(ids, nodes, strict=True)):
        if identity and identity in seen:
            line = node.content[key].at if isinstance(node.content, dict) and key in node.content else node.at
            top.form.fail(line, f"{name}[{number}].{key}", said("编号 %(id)s 重复。", id=identity))
        seen.add(identity)


def _check_source(top: Section, pack: RulePack, sources: Path) -> None:
    """Compare quotes with the source document's own bytes."""
    source = top.section("source")
    try:
        data = (sources / pack.source_file).read_bytes()
    except OSError:
        source.fail("file", said("来源目录中没有 %(file)s。", file=pack.source_file))
        return
    if hashlib.sha256(data).hexdigest() != pack.source_sha256:
        source.fail("sha256", "与来源文件的 SHA-256 不符。")
    for name, quotes in (
        ("incident_clocks", [clock.quote for clock in pack.clocks]),
        ("obligations", [item.quote for item in pack.obligations]),
    ):
        for section, quote in zip(top.sections(name, required=False), quotes, strict=True):
            if quote and quote.encode() not in data:
                section.fail("quote", "来源文件中找不到这句引文（须与原文逐字相同）。")
