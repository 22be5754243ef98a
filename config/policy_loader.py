"""Escalation policies from YAML files, under the same strictness as rule packs.

What the lint insists on is the house's rule and not a matter of taste: leaders are addressed in person, clocks of the
house never reach the principal or the supervision office, and no policy stays silent after a breach.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import time, timedelta
from pathlib import Path
from typing import cast, get_args

from config.document import Finding, Form, Section, expand, read_document, read_path, yaml_files
from config.loader import ID, ID_HINT, WORD, WORD_HINT
from huiying.domain.kinds import Audience, Band, Role
from huiying.domain.policy import (
    HOUSE_CLOCKS,
    WORKDAYS,
    Policy,
    Step,
    Trigger,
    When,
    WorkdayStep,
    policy_for,
    policy_hash,
)
from huiying.domain.rules import RulePack
from huiying.domain.sentences import listed, said

POLICIES_DIRECTORY = Path(__file__).parent / "policies"

SCHEMA = 1
ROLES = tuple(role.value for role in Role)
AUDIENCES = tuple(audience.value for audience in Audience)
BANDS = tuple(band.value for band in Band)

#: The engine gives these names to what it repeats after a breach.
RESERVED_STEPS = frozenset({"overdue_hourly", "overdue_daily"})
NEVER_FOR_THE_HOUSE = frozenset({Role.PRINCIPAL, Role.SUPERVISION})
AT_ONCE = timedelta(0)
_MIDNIGHT = time(0)


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    """The policies without any fault, and what was found in the others."""

    policies: tuple[Policy, ...]
    findings: tuple[Finding, ...]


def parse_policy(file: str, data: bytes) -> tuple[Policy | None, tuple[Finding, ...]]:
    """Read one policy from bytes; it is there only when nothing was found."""
    policy, findings = read_document(file, data, _build)
    return policy, tuple(findings)


def load_policies(directory: Path = POLICIES_DIRECTORY) -> LoadedPolicies:
    """Read all policies of a directory; a bad one is left out whole, with findings."""
    return _read_all(yaml_files(Path(directory)))


def lint_policies(paths: Iterable[Path]) -> list[Finding]:
    """Find every fault in these files and directories."""
    return list(_read_all(expand(paths)).findings)


def lint_together(policies: Iterable[Policy], packs: Iterable[RulePack]) -> list[str]:
    """What only shows when packs and policies meet: timed clocks without a policy, and steps that would never fire."""
    known = tuple(policies)
    sentences: list[str] = []
    for pack in packs:
        for clock in pack.clocks:
            if clock.limit is None and not clock.limit_from:
                continue
            policy = policy_for(known, clock.rule_id, clock.policy)
            where = said("规则包 %(pack)s 的 %(rule)s", pack=pack.id, rule=clock.rule_id)
            if policy is None:
                sentences.append(said("%(where)s：没有适用的提醒升级方案。", where=where))
            elif clock.limit is not None:
                lost = [step.id for step in policy.steps if not _fits(step, clock.limit)]
                sentences += [
                    said(
                        "%(where)s：方案 %(policy)s 的步骤 %(step)s 落在时限之外，不会触发。",
                        where=where,
                        policy=policy.id,
                        step=name,
                    )
                    for name in lost
                ]
    return sentences


def _read_all(files: Iterable[Path]) -> LoadedPolicies:
    findings: list[Finding] = []
    policies: dict[str, Policy] = {}
    takers: dict[str, str] = {}
    for path in files:
        policy, faults = read_path(path, _build)
        findings += faults
        if policy is None:
            continue
        clash = [word for word in policy.applies if word in takers]
        if policy.id in policies:
            findings.append(
                Finding(str(path), 1, "id", said("方案编号 %(id)s 已在另一个文件中使用，本文件不采用。", id=policy.id))
            )
        elif clash:
            words = listed(said("%(rule)s（见 %(policy)s）", rule=word, policy=takers[word]) for word in clash)
            findings.append(
                Finding(str(path), 1, "applies", said("同一规则只能有一个方案：%(rules)s；本文件不采用。", rules=words))
            )
        else:
            policies[policy.id] = policy
            takers |= dict.fromkeys(policy.applies, policy.id)
    ordered = tuple(policies[name] for name in sorted(policies))
    return LoadedPolicies(ordered, tuple(sorted(findings)))


def _build(form: Form, top: Section) -> Policy:
    top.only(
        "schema", "id", "name", "applies", "designed_for", "basis", "steps", "workday_steps", "after_breach",
    )  # fmt: skip
    top.integer("schema", SCHEMA, SCHEMA)
    applies = top.texts("applies", pattern=WORD, hint=WORD_HINT)
    for_workdays = WORKDAYS in applies
    designed_for = top.duration("designed_for", required=False)
    sections = top.sections("steps", required=not for_workdays)
    after = top.section("after_breach", required=not for_workdays)
    after.only("hourly", "daily_at")
    policy = Policy(
        id=top.text("id", pattern=ID, hint=ID_HINT, longest=64),
        name=top.text("name", longest=40),
        hash="",
        applies=applies,
        steps=tuple(_step(section, designed_for) for section in sections),
        after_breach_hourly=after.integer("hourly", 0, 48, required=not for_workdays),
        after_breach_daily_at=after.wall_times("daily_at") if after.has("daily_at") else (),
        basis=top.text("basis"),
        designed_for=designed_for,
        workday_steps=tuple(_workday_step(section) for section in top.sections("workday_steps", required=for_workdays)),
    )
    _check_policy(top, policy)
    _check_steps(sections, policy)
    return policy if form.findings else replace(policy, hash=policy_hash(policy))


def _check_policy(top: Section, policy: Policy) -> None:
    if WORKDAYS in policy.applies:
        if policy.steps or len(policy.applies) > 1:
            top.fail("applies", "工作日方案（workdays）单独成文，只写 workday_steps。")
        return
    if policy.workday_steps:
        top.fail("workday_steps", "只有 applies: [workdays] 的方案才写 workday_steps。")
    if not policy.after_breach_daily_at and not top.broken:
        top.fail("after_breach", "超时后每日至少提醒一次，请写 daily_at。")
    if policy.steps and sum(1 for step in policy.steps if _is_breach(step)) != 1:
        top.fail("steps", "必须有且只有一个超时当刻的步骤（trigger: breach，不写 value）。")
    if sum(1 for step in policy.steps if step.trigger == "start") > 1:
        top.fail("steps", "起算通知（trigger: start）只能有一个：每个事项只发一条。")


def _check_steps(sections: list[Section], policy: Policy) -> None:
    seen: set[str] = set()
    every = {step.id for step in policy.steps}
    house = bool(HOUSE_CLOCKS & set(policy.applies))
    for section, step in zip(sections, policy.steps, strict=True):
        if step.id and step.id in seen:
            section.fail("id", said("步骤编号 %(id)s 重复。", id=step.id))
        if step.id in RESERVED_STEPS:
            section.fail("id", said("%(id)s 是系统保留的步骤编号。", id=step.id))
        seen.add(step.id)
        if step.of and step.of not in every:
            section.fail("of", said("没有编号为 %(id)s 的步骤。", id=step.of))
        if step.of and step.when == "always":
            section.fail("of", "of 只与 when: unacknowledged 一起使用。")
        barred = sorted((role for role in step.to if role in NEVER_FOR_THE_HOUSE), key=lambda role: role.zh)
        if house and barred:
            section.fail("to", said("内部时钟的提醒不得发给%(roles)s。", roles=listed(barred)))


def _is_breach(step: Step) -> bool:
    return step.trigger == "breach" and step.value == AT_ONCE


def _step(section: Section, designed_for: timedelta | None) -> Step:
    section.only("id", "trigger", "value", "to", "audience", "when", "of", "band", "repeat", "ack_expires")
    trigger = cast("Trigger", section.choice("trigger", get_args(Trigger), default="start"))
    repeat = section.section("repeat", required=False)
    repeat.only("every", "times")
    repeats = section.has("repeat")
    step = Step(
        id=section.text("id", pattern=WORD, hint=WORD_HINT, longest=40),
        trigger=trigger,
        value=_value(section, trigger),
        to=tuple(Role(word) for word in section.choices("to", ROLES)),
        audience=tuple(Audience(word) for word in section.choices("audience", AUDIENCES)),
        when=cast("When", section.choice("when", get_args(When), default="always")),
        of=section.text("of", required=False, pattern=WORD, hint=WORD_HINT),
        band=Band(section.choice("band", BANDS, default="notice")),
        repeat_every=repeat.duration("every", required=repeats) if repeats else None,
        repeat_times=repeat.integer("times", 1, 48, required=repeats) if repeats else 0,
        ack_expires=section.duration("ack_expires") or timedelta(hours=1),
    )
    _check_reach(section, step.to, step.audience)
    _check_band(section, step)
    if designed_for is not None and not _fits(step, designed_for):
        section.fail("value", "这一步（连同重复）落在时限之外。")
    return step


def _value(section: Section, trigger: Trigger) -> float | timedelta | None:
    if trigger == "share":
        return section.share("value")
    if trigger in {"after", "left"}:
        return section.duration("value")
    if trigger == "breach":
        return section.duration("value", required=False) or AT_ONCE
    if section.has("value"):
        section.fail("value", "起算通知不写 value。")
    return None


def _check_reach(section: Section, to: tuple[Role, ...], audience: tuple[Audience, ...]) -> None:
    leaders = [role for role in to if role.is_leader]
    if leaders and Audience.GROUP in audience:
        section.fail("audience", said("不得在工作群里点名%(roles)s，请另写一步并用个人渠道。", roles=listed(leaders)))


def _check_band(section: Section, step: Step) -> None:
    if (step.trigger == "breach") != (step.band is Band.OVERDUE):
        section.fail("band", "超时后的步骤用 overdue，超时前的步骤不用。")


def _fits(step: Step, limit: timedelta) -> bool:
    """Tell whether a step, its repetitions included, falls between the start and the due time of such a limit."""
    tail = step.repeat_every * step.repeat_times if step.repeat_every else AT_ONCE
    if step.trigger == "after" and isinstance(step.value, timedelta):
        return step.value + tail < limit
    if step.trigger == "share" and isinstance(step.value, float):
        return limit * step.value + tail < limit
    if step.trigger == "left" and isinstance(step.value, timedelta):
        return tail < step.value < limit
    return True


def _workday_step(section: Section) -> WorkdayStep:
    section.only("id", "days_before", "at", "to", "audience", "band")
    at = section.wall_time("at")
    step = WorkdayStep(
        id=section.text("id", pattern=WORD, hint=WORD_HINT, longest=40),
        days_before=section.integer("days_before", 0, 60),
        # A missing time is a finding already.
        at=at or _MIDNIGHT,
        to=tuple(Role(word) for word in section.choices("to", ROLES)),
        audience=tuple(Audience(word) for word in section.choices("audience", AUDIENCES)),
        band=Band(section.choice("band", BANDS, default="notice")),
    )
    _check_reach(section, step.to, step.audience)
    return step
