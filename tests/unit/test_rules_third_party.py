"""A pack nobody here wrote: 示例市 (invented) asks for a first release within six hours. No code knows it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from config.loader import load_pack, parse_pack
from config.policy_loader import lint_together, load_policies
from huiying.domain.clock import derive_clocks
from huiying.domain.incident import Facts, TimeFact
from huiying.domain.kinds import ClockState, Kind, Severity, TimeKind
from huiying.domain.rules import packs_in_force

EXAMPLE = """\
schema: 1
id: zz-990100-example-2026
title: 示例市2026年政务公开工作要点(虚构)
title_basis: verbatim
issuer: 示例市人民政府办公室
doc_no: {number: 示政办发〔2026〕1号, basis: verbatim}
jurisdiction: {code: '990100', name: 示例市, level: prefecture}
effective: {issued: 2026-03-01, nominal_year: 2026, yearly: true, basis: 年度文件}
source: {truncated: 虚构}
stages: [收集, 回应]
policy:
  regrade_up: by_reason
  regrade_down: keep_breached_cancel_pending
  credit_prior_release: after_review
  merge_anchor: earliest
  basis: our_reading
incident_clocks:
  - id: authoritative_release
    name: 首次信息发布
    status: stipulated
    clause: 三(二)
    quote: 特别重大、重大突发事件发生后,应6小时内进行首次信息发布
    applies_to: {kind: emergency, severity: [extra_major, major]}
    anchor: {field: occurred_at, stated: true, basis: 原文写明“发生后”}
    limit: PT6H
    responsible: {body: 各部门, stated: true}
    satisfied_by: [authoritative_release]
  - id: site_notice
    name: 现场公告
    status: stipulated
    clause: 三(三)
    quote: 接报后90分钟内发布现场公告
    applies_to: {kind: emergency}
    anchor: {field: notified_at, stated: true, basis: 原文写明“接报后”}
    limit: PT1H30M
    responsible: {body: 各部门, stated: true}
    satisfied_by: [authoritative_release, press_conference]
    satisfied_basis: 原文写明发布或者发布会
"""

OCCURRED = datetime(2026, 4, 1, 1, 0, tzinfo=UTC)


def example(tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    return load_pack(path)


def test_a_six_hour_pack_works_without_a_change_of_code(tmp_path):
    pack = example(tmp_path)
    assert packs_in_force((pack,), "990123", "", date(2026, 4, 1)) == (pack,)
    facts = Facts(
        kind=Kind.EMERGENCY,
        severity=Severity.MAJOR,
        source="monitoring",
        registered_at=OCCURRED + timedelta(minutes=30),
        times=(
            TimeFact(TimeKind.OCCURRED, OCCURRED, "110"),
            TimeFact(TimeKind.NOTIFIED, OCCURRED + timedelta(minutes=20), "12345"),
        ),
        rules=pack.clocks,
    )
    clocks = {clock.rule_id: clock for clock in derive_clocks(facts, OCCURRED + timedelta(hours=1))}
    assert clocks["authoritative_release"].due_at == OCCURRED + timedelta(hours=6)
    assert clocks["authoritative_release"].anchor_stated
    assert clocks["site_notice"].due_at == OCCURRED + timedelta(hours=1, minutes=50)
    assert clocks["site_notice"].state is ClockState.RUNNING


def test_its_new_rule_has_a_policy_whose_steps_fit_it(tmp_path):
    assert lint_together(load_policies().policies, [example(tmp_path)]) == []


def test_it_is_the_same_pack_when_uploaded_as_bytes(tmp_path):
    pack, findings = parse_pack("upload", EXAMPLE.encode())
    assert (pack, findings) == (example(tmp_path), ())
