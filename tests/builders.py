"""Small builders for facts, rules and policies, so that a test reads like the case it stands for.

Times are written as a duty officer says them, ``"2026-03-10 08:00"`` in Beijing, and come back the same way with their
offset, ``"2026-03-10 13:00+08:00"``. Nothing here looks at a clock or at the host's time zone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from config.loader import load_packs
from config.policy_loader import load_policies
from huiying.domain.clock import Clock, derive_clocks
from huiying.domain.incident import Ending, Facts, Grading, Publication, Task, TimeFact, Transfer
from huiying.domain.kinds import (
    ContentKind,
    GradeBasis,
    Kind,
    PublicationKind,
    Review,
    Severity,
    TimeKind,
)
from huiying.domain.policy import Policy
from huiying.domain.rules import (
    AUTHORITATIVE_RELEASE,
    AUTHORITATIVE_RESPONSE,
    PRESS_CONFERENCE,
    ClockRule,
    RulePack,
    packs_in_force,
)

#: Never a fixed +8: in the summers of 1986 to 1991 Beijing was at +9.
BEIJING = ZoneInfo("Asia/Shanghai")

OPINION, EMERGENCY = Kind.OPINION, Kind.EMERGENCY
EXTRA_MAJOR, MAJOR = Severity.EXTRA_MAJOR, Severity.MAJOR
CONSIDERABLE, GENERAL = Severity.CONSIDERABLE, Severity.GENERAL
INITIAL, CORRECTION = GradeBasis.INITIAL, GradeBasis.CORRECTION
WORSENED, DOWNGRADE = GradeBasis.WORSENED, GradeBasis.DOWNGRADE
RELEASE, RESPONSE = PublicationKind.RELEASE, PublicationKind.RESPONSE
CONFERENCE = PublicationKind.PRESS_CONFERENCE

#: What the tables call the three milestones.
MILESTONES = {"5h": AUTHORITATIVE_RELEASE, "24h": PRESS_CONFERENCE, "48h": AUTHORITATIVE_RESPONSE}

_ids = itertools.count(1)


def hours(number: float) -> timedelta:
    """A span of natural hours."""
    return timedelta(hours=number)


def at(text: str) -> datetime:
    """The aware UTC instant of a Beijing wall-clock time: ``at("2026-03-10 08:00")``."""
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING).astimezone(UTC)


def beijing(moment: datetime) -> str:
    """An instant as Beijing text with its offset; seconds and fractions only where there are any."""
    exact = "microseconds" if moment.microsecond else "seconds" if moment.second else "minutes"
    return moment.astimezone(BEIJING).isoformat(" ", exact)


# --- rules -----------------------------------------------------------------------------------------------------------


@cache
def all_packs() -> dict[str, RulePack]:
    """The packs as they are shipped in ``config/rules``."""
    return {pack.id: pack for pack in load_packs().packs}


def pack(pack_id: str) -> RulePack:
    """One shipped pack."""
    return all_packs()[pack_id]


def rules_of(*pack_ids: str) -> tuple[ClockRule, ...]:
    """The rules of some shipped packs, in that order."""
    return tuple(rule for pack_id in pack_ids for rule in pack(pack_id).clocks)


def national() -> tuple[ClockRule, ...]:
    """What binds everybody since November 2016: 5 h, 24 h (twice) and 48 h."""
    return rules_of("cn-gbf-2016-61", "cn-gbf-2016-80")


def rules_for(region: str, on: date) -> tuple[ClockRule, ...]:
    """The rules of all packs in force for a body of that region on that Shanghai day."""
    found = packs_in_force(tuple(all_packs().values()), region, "", on)
    return tuple(rule for pack in found for rule in pack.clocks)


def with_limit(rule: ClockRule, limit: timedelta, pack_id: str) -> ClockRule:
    """The same demand by another document with another figure."""
    return replace(rule, limit=limit, pack_id=pack_id)


def rule(milestone: str, pack_id: str = "") -> ClockRule:
    """One national rule by its short name: ``rule("5h")``."""
    rules = rules_of(pack_id) if pack_id else national()
    return next(rule for rule in rules if rule.rule_id == MILESTONES[milestone])


# --- facts -----------------------------------------------------------------------------------------------------------


def incident(
    kind: Kind = EMERGENCY,
    severity: Severity | None = None,
    *,
    registered: str,
    occurred: str | None = None,
    exposed: str | None = None,
    captured: str | None = None,
    detected: str | None = None,
    notified: str | None = None,
    rules: Sequence[ClockRule] | None = None,
    source: str = "monitoring",
    late_exposure: bool = False,
) -> Facts:
    """An incident as somebody registered it."""
    stated = {
        TimeKind.OCCURRED: occurred,
        TimeKind.EXPOSED: exposed,
        TimeKind.CAPTURED: captured,
        TimeKind.DETECTED: detected,
        TimeKind.NOTIFIED: notified,
    }
    return Facts(
        kind=kind,
        severity=severity,
        source=source,
        registered_at=at(registered),
        times=tuple(TimeFact(kind, at(value), "值班记录") for kind, value in stated.items() if value),
        rules=tuple(national() if rules is None else rules),
        late_exposure=late_exposure,
        unit_id="lead",
    )


def graded(
    facts: Facts,
    severity: Severity | None,
    basis: GradeBasis,
    when: str,
    *,
    effective: str | None = None,
    kind: Kind = EMERGENCY,
) -> Facts:
    """The same incident after one more grading; ``effective`` is the moment of the new fact."""
    grading = Grading(kind, severity, basis, at(effective or when), at(when), "定级依据")
    return replace(facts, gradings=(*facts.gradings, grading))


def publication(
    kind: PublicationKind,
    published: str,
    *,
    entered: str | None = None,
    content: ContentKind = ContentKind.ORIGINAL,
    evidence: bool = True,
    review: Review = Review.PENDING,
    credited: bool = False,
    confirmed: bool = False,
    withdrawn: bool = False,
) -> Publication:
    """Something put before the public, entered at once unless said otherwise."""
    return Publication(
        id=next(_ids),
        kind=kind,
        published_at=at(published),
        content_kind=content,
        has_evidence=evidence,
        entered_at=at(entered or published),
        review=review,
        credited=credited,
        confirmed=confirmed,
        withdrawn=withdrawn,
    )


def publishing(facts: Facts, *publications: Publication) -> Facts:
    """The same incident with these publications as well."""
    return replace(facts, publications=facts.publications + publications)


def restated(facts: Facts, kind: TimeKind, value: str | None, *, estimated: bool = False) -> Facts:
    """The same incident with one time corrected, or taken back."""
    others = tuple(fact for fact in facts.times if fact.kind is not kind)
    new = (TimeFact(kind, at(value), "更正", estimated=estimated),) if value else ()
    return replace(facts, times=(*others, *new))


def ended(facts: Facts, what: str, when: str) -> Facts:
    """The same incident voided, waived, handed over or closed."""
    return replace(facts, ending=Ending(what, at(when), "理由"))


def transferred(facts: Facts, received: str, due: str | None, *, feedback: str | None = None) -> Facts:
    """The same incident with a notice passed down by a superior."""
    notice = Transfer(
        f"t{len(facts.transfers) + 1}",
        "国办公开办转〔2026〕1号",
        at(received),
        at(due) if due else None,
        at(feedback) if feedback else None,
    )
    return replace(facts, transfers=(*facts.transfers, notice))


def tasked(facts: Facts, unit: str, assigned: str, due: str, *, done: str | None = None) -> Facts:
    """The same incident with a task of one department."""
    task = Task(f"k{len(facts.tasks) + 1}", "部门任务", unit, at(assigned), at(due), at(done) if done else None)
    return replace(facts, tasks=(*facts.tasks, task))


# --- clocks ----------------------------------------------------------------------------------------------------------


def clocks(facts: Facts, now: str) -> tuple[Clock, ...]:
    """All clocks as they stand at that Beijing time."""
    return derive_clocks(facts, at(now))


def binding(facts: Facts, now: str) -> dict[str, Clock]:
    """The binding clock of each milestone by its short name, and the internal action clocks as "5h内部"."""
    short = {rule_id: name for name, rule_id in MILESTONES.items()}
    found: dict[str, Clock] = {}
    for clock in clocks(facts, now):
        if not clock.binding or clock.rule_id not in short:
            continue
        name = short[clock.rule_id] + ("内部" if clock.is_internal else "")
        assert name not in found, f"two binding clocks for {name}"
        found[name] = clock
    return found


def table(facts: Facts, now: str) -> dict[str, str]:
    """What a duty officer reads, ready to compare: ``{"5h": "2026-02-16 03:30+08:00 running"}``."""
    return {name: f"{beijing(clock.due_at)} {clock.state}" for name, clock in binding(facts, now).items()}


# --- escalation policies ---------------------------------------------------------------------------------------------


@cache
def all_policies() -> tuple[Policy, ...]:
    """The escalation policies as they are shipped in ``config/policies``."""
    return load_policies().policies


def policy(policy_id: str) -> Policy:
    """One shipped policy."""
    return next(policy for policy in all_policies() if policy.id == policy_id)
