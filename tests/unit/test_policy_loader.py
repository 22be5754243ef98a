"""Escalation policies: the shipped defaults, what the lint insists on, and their JSON form."""

from __future__ import annotations

import json
from datetime import time, timedelta

import pytest

from config.loader import load_packs
from config.policy_loader import (
    POLICIES_DIRECTORY,
    lint_policies,
    lint_together,
    load_policies,
    parse_policy,
)
from huiying.domain.kinds import Audience, Band, Role
from huiying.domain.policy import Policy, policy_for, policy_from_dict, policy_hash, policy_to_dict

POLICIES = {policy.id: policy for policy in load_policies().policies}
TEXT = (POLICIES_DIRECTORY / "release-5h.yaml").read_text(encoding="utf-8")
INTERNAL = (POLICIES_DIRECTORY / "internal.yaml").read_text(encoding="utf-8")
WORKDAYS = (POLICIES_DIRECTORY / "workdays.yaml").read_text(encoding="utf-8")


def moments(policy: Policy) -> list[str]:
    shown = []
    for step in policy.steps:
        value = step.value
        if isinstance(value, timedelta):
            value = value.total_seconds() / 60
        shown.append(step.trigger if value is None else f"{step.trigger} {value:g}")
    return shown


def test_all_policies_load_without_a_finding():
    assert load_policies().findings == ()
    assert set(POLICIES) == {"release-5h", "conference-24h", "response-48h", "other", "internal", "task", "workdays"}


@pytest.mark.parametrize(
    ("policy_id", "expected"),
    [
        ("release-5h", ["start", "after 60", "share 0.5", "share 0.8", "left 30", "left 10", "breach 0"]),
        ("conference-24h",
         ["start", "share 0.25", "share 0.5", "share 0.75", "share 0.9", "left 120", "left 60", "breach 0"]),
        ("response-48h", ["start", "share 0.5", "share 0.75", "share 0.9", "left 240", "breach 0"]),
    ],
)  # fmt: skip
def test_the_defaults_are_those_of_the_domain_notes(policy_id, expected):
    assert moments(POLICIES[policy_id]) == expected


@pytest.mark.parametrize("policy_id", ["release-5h", "conference-24h", "response-48h", "other"])
def test_the_start_is_told_to_the_desk_and_the_breach_to_supervision_and_principal(policy_id):
    steps = {step.id: step for step in POLICIES[policy_id].steps}
    assert steps["start"].to == (Role.DUTY_OFFICER, Role.LIAISON)
    assert {Role.SUPERVISION, Role.PRINCIPAL} <= set(steps["breach"].to)
    assert steps["breach"].audience == (Audience.PERSONAL,)
    assert POLICIES[policy_id].after_breach_hourly == 6
    assert POLICIES[policy_id].after_breach_daily_at == (time(9), time(15))


def test_the_leader_in_charge_hears_after_an_hour_without_an_acknowledgement_of_the_start():
    step = next(step for step in POLICIES["release-5h"].steps if step.id == "unacknowledged_1h")
    assert (step.when, step.of, step.to) == ("unacknowledged", "start", (Role.LEADER_IN_CHARGE,))


def test_the_last_ten_minutes_are_told_by_phone_and_80_percent_to_the_principal():
    steps = {step.id: step for step in POLICIES["release-5h"].steps}
    assert Audience.PHONE in steps["left_10m"].audience
    assert Role.PRINCIPAL in steps["share_80"].to


def test_no_leader_is_ever_addressed_in_a_group():
    for policy in POLICIES.values():
        for step in policy.steps:
            assert not (any(role.is_leader for role in step.to) and Audience.GROUP in step.audience)


@pytest.mark.parametrize("policy_id", ["internal", "task"])
def test_clocks_of_the_house_never_reach_the_principal_or_the_supervision_office(policy_id):
    told = {role for step in POLICIES[policy_id].steps for role in step.to}
    assert not told & {Role.PRINCIPAL, Role.SUPERVISION}


def test_working_day_steps_are_at_nine_on_three_days_and_at_three_on_the_last():
    steps = [(step.days_before, step.at) for step in POLICIES["workdays"].workday_steps]
    assert steps == [(3, time(9)), (1, time(9)), (0, time(9)), (0, time(15))]


def test_every_timed_clock_of_every_pack_has_a_policy_whose_steps_fit():
    assert lint_together(POLICIES.values(), load_packs().packs) == []


def test_packs_and_policies_that_do_not_meet_are_told():
    only = [POLICIES["release-5h"], POLICIES["conference-24h"]]
    sentences = lint_together(only, load_packs().packs)
    assert any("authoritative_response" in sentence and "没有适用" in sentence for sentence in sentences)
    pack = next(pack for pack in load_packs().packs if pack.id == "cn-gbf-2016-80")
    assert lint_together([POLICIES["other"]], [pack]) == []


def test_the_policy_of_a_clock_is_the_named_one_else_by_rule_else_the_one_for_others():
    everything = POLICIES.values()
    assert policy_for(everything, "authoritative_release") is POLICIES["release-5h"]
    assert policy_for(everything, "authoritative_release", "other") is POLICIES["other"]
    assert policy_for(everything, "site_notice") is POLICIES["other"]
    assert policy_for(everything, "internal") is POLICIES["internal"]
    assert policy_for([POLICIES["internal"], POLICIES["other"]], "task") is POLICIES["internal"]
    assert policy_for([POLICIES["other"]], "task") is None
    assert policy_for(everything, "authoritative_release", "unknown") is None


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.id)
def test_a_policy_survives_json_and_its_hash_is_that_of_its_content(policy: Policy):
    assert policy_from_dict(json.loads(json.dumps(policy_to_dict(policy)))) == policy
    assert policy.hash == policy_hash(policy)


def test_the_hash_changes_with_every_step_and_not_with_a_comment():
    same, _ = parse_policy("x", ("# note\n" + TEXT).encode())
    other, _ = parse_policy("x", TEXT.replace("PT30M", "PT25M").encode())
    assert same is not None
    assert other is not None
    assert same.hash == POLICIES["release-5h"].hash != other.hash


FAULTS = [
    (TEXT, "schema: 1", "schema: 3", "schema", "整数"),
    (TEXT, "applies: [authoritative_release]", "applies: []", "applies", "不能为空"),
    (TEXT, "    trigger: after", "    trigger: later", "steps[1].trigger", "允许的取值"),
    (TEXT, "    value: PT1H", "    value: 1h", "steps[1].value", "时长"),
    (TEXT, "    value: PT1H", "    value: PT5H", "steps[1].value", "时限之外"),
    (TEXT, "    value: 0.5", "    value: 50", "steps[2].value", "0.5"),
    (TEXT, "    value: 0.5", "    value: 1.0", "steps[2].value", "0.5"),
    (TEXT, "    value: PT30M", "    value: PT6H", "steps[4].value", "时限之外"),
    (TEXT, "    to: [leader_in_charge]", "    to: [boss]", "steps[1].to[0]", "允许的取值"),
    (TEXT, "    to: [leader_in_charge]", "    to: []", "steps[1].to", "不能为空"),
    (TEXT, "    to: [duty_officer, liaison]\n    audience: [personal, group]",
     "    to: [duty_officer, principal]\n    audience: [personal, group]", "steps[0].audience", "主要负责人"),
    (TEXT, "    of: start", "    of: begin", "steps[1].of", "没有编号"),
    (TEXT, "    when: unacknowledged", "    when: always", "steps[1].of", "unacknowledged"),
    (TEXT, "  - id: share_80", "  - id: share_50", "steps[3].id", "重复"),
    (TEXT, "  - id: share_80", "  - id: overdue_daily", "steps[3].id", "保留"),
    (TEXT, "    band: overdue", "    band: warning", "steps[6].band", "overdue"),
    (TEXT, "    trigger: breach", "    trigger: breach\n    value: PT1H", "steps", "超时当刻"),
    (TEXT, "    trigger: start\n", "    trigger: start\n    value: PT1H\n", "steps[0].value", "不写"),
    (TEXT, "    ack_expires: PT12H", "    ack_expires: never", "steps[0].ack_expires", "时长"),
    (TEXT, "  hourly: 6", "  hourly: 1000", "after_breach.hourly", "整数"),
    (TEXT, "  daily_at: ['09:00', '15:00']", "  daily_at: [9]", "after_breach.daily_at[0]", "时刻"),
    (TEXT, "  daily_at: ['09:00', '15:00']", "  daily_at: ['25:00']", "after_breach.daily_at[0]", "时刻"),
    (TEXT, "  daily_at: ['09:00', '15:00']", "", "after_breach", "每日"),
    (INTERNAL, "    to: [duty_officer, shift_leader]", "    to: [principal]", "steps[1].to", "主要负责人"),
    (INTERNAL, "    to: [duty_officer, shift_leader]", "    to: [supervision_office]", "steps[1].to", "督查室"),
    (WORKDAYS, "applies: [workdays]", "applies: [workdays, internal]", "applies", "单独成文"),
    (WORKDAYS, "    at: '09:00'", "    at: 9", "workday_steps[0].at", "时刻"),
    (WORKDAYS, "    days_before: 3", "    days_before: -1", "workday_steps[0].days_before", "整数"),
    (WORKDAYS, "applies: [workdays]", "applies: [authoritative_release]", "workday_steps", "workdays"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "old", "new", "key", "words"), FAULTS, ids=[f"{f[3]}<-{f[2].strip()[:24]}" for f in FAULTS]
)
def test_a_fault_is_found_under_its_key_and_nothing_is_loaded(text, old, new, key, words):
    assert old in text
    changed = text.replace(old, new, 1)
    policy, findings = parse_policy("policy.yaml", changed.encode())
    assert policy is None
    found = [f for f in findings if f.key == key]
    assert found, [str(f) for f in findings]
    assert any(words in f.message_zh for f in found)


def test_a_fault_points_at_its_line():
    line = 1 + TEXT[: TEXT.index("    of: start")].count("\n")
    _, findings = parse_policy("p", TEXT.replace("    of: start", "    of: begin").encode())
    assert [(f.line, f.key) for f in findings] == [(line, "steps[1].of")]


def test_a_policy_without_a_breach_step_is_refused():
    silent = TEXT[: TEXT.index("  - id: breach")] + TEXT[TEXT.index("\n# 超时后") :]
    _, findings = parse_policy("p", silent.encode())
    assert [f.key for f in findings] == ["steps"]


def test_repetitions_count_as_part_of_the_step():
    repeating = TEXT.replace("    band: notice\n", "    band: notice\n    repeat: {every: PT20M, times: 3}\n", 1)
    assert parse_policy("p", repeating.encode())[1] == ()
    late = TEXT.replace("    value: PT10M", "    value: PT10M\n    repeat: {every: PT5M, times: 2}")
    assert [f.key for f in parse_policy("p", late.encode())[1]] == ["steps[5].value"]


def test_one_rule_has_one_policy(tmp_path):
    (tmp_path / "a.yaml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(TEXT.replace("id: release-5h", "id: another"), encoding="utf-8")
    loaded = load_policies(tmp_path)
    assert [policy.id for policy in loaded.policies] == ["release-5h"]
    assert [f.key for f in loaded.findings] == ["applies"]
    (tmp_path / "b.yaml").write_text(TEXT, encoding="utf-8")
    assert [f.key for f in lint_policies([tmp_path])] == ["id"]


def test_overdue_steps_are_marked_overdue_and_no_other():
    for policy in POLICIES.values():
        for step in policy.steps:
            assert (step.trigger == "breach") == (step.band is Band.OVERDUE)
