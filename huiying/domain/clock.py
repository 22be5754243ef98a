"""Clocks: a pure function of rules, time facts, gradings, publications and ``now``.

Nothing here remembers. ``derive_clocks`` folds the gradings of an incident once per rule, decides where each clock
starts, what ended it, what fulfilled it and where it stands at ``now``; so a missed timer never loses a breach.
Where the documents are silent the reading is ours and stands in docs/readings.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from huiying.domain.incident import Anchoring, Continuous, Facts, Publication, first_known, resolve_anchor
from huiying.domain.kinds import (
    Attribution,
    ClockOrigin,
    ClockState,
    GradeBasis,
    Kind,
    LimitStatus,
    PublicationKind,
    Review,
    Severity,
    TimeKind,
)
from huiying.domain.rules import (
    AUTHORITATIVE_RELEASE,
    AUTHORITATIVE_RESPONSE,
    PRESS_CONFERENCE,
    ClockRule,
)
from huiying.domain.sentences import said, term

_MILESTONE_OF = {
    PublicationKind.RELEASE: AUTHORITATIVE_RELEASE,
    PublicationKind.RESPONSE: AUTHORITATIVE_RESPONSE,
    PublicationKind.PRESS_CONFERENCE: PRESS_CONFERENCE,
}
_STATUS_ORDER = [
    LimitStatus.STATUTORY,
    LimitStatus.STIPULATED,
    LimitStatus.BY_REFERENCE,
    LimitStatus.INTERNAL,
    LimitStatus.UNTIMED,
]
_SETTLED = "定级后不适用"
#: Severities that make an emergency "特别重大、重大".
GRAVE = frozenset({Severity.EXTRA_MAJOR, Severity.MAJOR})


@dataclass(frozen=True, slots=True)
class Clock:
    """One clock as it stands at the moment of asking. All instants are aware UTC."""

    key: str
    origin: ClockOrigin
    rule_id: str
    name: str
    status: LimitStatus
    anchor_field: str
    anchor_stated: bool
    anchor_estimated: bool
    started_at: datetime
    due_at: datetime
    state: ClockState
    pack_id: str = ""
    unit_id: str = ""
    binding: bool = True
    provisional: bool = False
    on_receipt: bool = False
    attribution: Attribution | None = None
    fulfilled_at: datetime | None = None
    publication_id: int | None = None
    ended_at: datetime | None = None
    ended_reason: str = ""
    superseded_by: str = ""
    was_breached: bool = False

    @property
    def limit(self) -> timedelta:
        """The whole allowance."""
        return self.due_at - self.started_at

    @property
    def is_internal(self) -> bool:
        """True for house targets, which never look like law and never reach the principal."""
        return self.status is LimitStatus.INTERNAL


@dataclass(frozen=True, slots=True)
class _Regime:
    """A stretch of time during which the incident had one kind and severity."""

    kind: Kind
    severity: Severity | None
    since: datetime
    effective_at: datetime
    basis: GradeBasis | None

    @property
    def ungraded(self) -> bool:
        return self.kind is Kind.EMERGENCY and self.severity is None

    @property
    def rank(self) -> int:
        return self.severity.rank if self.kind is Kind.EMERGENCY and self.severity else 0

    def covers(self, rule: ClockRule, source: str) -> bool:
        """An ungraded emergency runs the clocks of either outcome, provisionally."""
        if not self.ungraded:
            return rule.applies_to.covers(self.kind, self.severity, source)
        return any(rule.applies_to.covers(self.kind, severity, source) for severity in Severity)


@dataclass(frozen=True, slots=True)
class _Course:
    """How one rule's clock came about and, perhaps, was taken away again by a grading."""

    anchor: Anchoring
    since: datetime
    credit_before: datetime | None
    provisional: bool
    by_regrade: bool
    rank: int
    ended_at: datetime | None = None
    ended_as: ClockState | None = None
    ended_reason: str = ""


def _regimes(facts: Facts) -> list[_Regime]:
    start = facts.registered_at
    found = [_Regime(facts.kind, facts.severity, start, start, None)]
    found += [_Regime(g.kind, g.severity, g.graded_at, g.effective_at, g.basis) for g in facts.gradings]
    return found


def _anchor_in(rule: ClockRule, regime: _Regime, facts: Facts, previous: _Regime | None) -> Anchoring:
    """Where a clock starts when this regime brings it into being."""
    field_name = rule.anchor.field if rule.anchor else "registered_at"
    if regime.basis is GradeBasis.WORSENED and previous is not None and not previous.ungraded:
        became_emergency = regime.ungraded and previous.kind is Kind.OPINION
        if became_emergency or regime.rank > previous.rank:
            return Anchoring(regime.effective_at, estimated=False, taken_from="severity_effective_at")
    return resolve_anchor(field_name, facts)


def _enter(rule: ClockRule, regime: _Regime, previous: _Regime | None, facts: Facts, old: _Course | None) -> _Course:
    """The rule applies in this regime: start its clock, or keep it; one that comes again keeps the earlier anchor.

    What was only provisional and was then settled by a grade never counted, and starts afresh.
    """
    by_regrade = previous is not None and not previous.ungraded
    correction = by_regrade and regime.basis is GradeBasis.CORRECTION
    if old is None or (old.provisional and old.ended_at is not None):
        line = None
        if by_regrade and previous is not None and (regime.ungraded or regime.rank > previous.rank):
            # What was published before the graver fact may or may not answer it: a reviewer says so.
            line = regime.effective_at if regime.basis is GradeBasis.WORSENED else regime.since
        anchor = _anchor_in(rule, regime, facts, previous)
        return _Course(anchor, regime.since, line, regime.ungraded, by_regrade, regime.rank)
    if old.ended_at is not None or correction:
        anchor = _anchor_in(rule, regime, facts, previous)
        if anchor.at < old.anchor.at:
            old = replace(old, anchor=anchor, since=regime.since, by_regrade=correction or old.by_regrade)
    rank = old.rank if regime.ungraded else regime.rank
    provisional = old.provisional and regime.ungraded
    return replace(old, provisional=provisional, rank=rank, ended_at=None, ended_as=None, ended_reason="")


def _leave(regime: _Regime, old: _Course) -> _Course:
    """The rule no longer applies; whether an open clock is superseded is settled with all clocks in view."""
    if old.ended_at is not None:
        return old
    if old.provisional:
        return replace(old, ended_at=regime.since, ended_as=ClockState.CANCELLED, ended_reason=_SETTLED)
    if regime.rank > old.rank:
        return replace(
            old, ended_at=regime.since, ended_as=ClockState.SUPERSEDED, ended_reason="升级后由更紧的时限替代"
        )
    return replace(old, ended_at=regime.since, ended_as=ClockState.CANCELLED, ended_reason="降级后不再适用")


def _course(rule: ClockRule, facts: Facts) -> _Course | None:
    course: _Course | None = None
    previous: _Regime | None = None
    for regime in _regimes(facts):
        if regime.covers(rule, facts.source):
            course = _enter(rule, regime, previous, facts, course)
        elif course is not None:
            course = _leave(regime, course)
        previous = regime
    return course


@dataclass(frozen=True, slots=True)
class _Fulfilment:
    at: datetime
    publication_id: int | None


def counts_at(publication: Publication, due_at: datetime) -> datetime:
    """The moment a publication counts from.

    One that is on time but was entered only after the limit had passed counts from its entry, until a second person has
    confirmed it (domain.md §7.5): the clock stops, the verdict does not flip. What had been entered before a time was
    corrected counts from its own time: a due time that moves earlier makes no publication late by its entry. Where such
    a correction turns a breach into a success, ``second_person_reasons`` holds the correction itself.
    """
    entered_after = publication.published_at <= due_at < publication.entered_at
    settled = publication.confirmed or publication.as_published
    return publication.entered_at if entered_after and not settled else publication.published_at


def _fulfilment(
    rule: ClockRule, course: _Course, due_at: datetime, publications: Iterable[Publication]
) -> _Fulfilment | None:
    found = []
    for publication in publications:
        if not publication.is_valid or _MILESTONE_OF[publication.kind] not in rule.satisfied_by:
            continue
        line = max(course.anchor.at, course.credit_before or course.anchor.at)
        if publication.published_at < line and not publication.credited:
            continue
        found.append(_Fulfilment(counts_at(publication, due_at), publication.id))
    return min(found, key=lambda f: f.at) if found else None


def _judge(due_at: datetime, started_at: datetime, fulfilled_at: datetime | None, now: datetime) -> ClockState:
    """Exactly at due is on time; ``now`` after due without fulfilment is a breach."""
    if fulfilled_at is not None and fulfilled_at <= now:
        return ClockState.SATISFIED if fulfilled_at <= due_at else ClockState.SATISFIED_LATE
    if now > due_at:
        return ClockState.BREACHED
    return ClockState.SCHEDULED if started_at > now else ClockState.RUNNING


def _attribution(facts: Facts, course: _Course, due_at: datetime, rule: ClockRule, *, on_receipt: bool) -> Attribution:
    """Our suggestion why the limit was missed; a person confirms it."""
    if on_receipt:
        known = first_known(facts)
        if known.at <= due_at:
            return Attribution.LATE_REGISTRATION
        return Attribution.LATE_REPORT if known.taken_from == TimeKind.NOTIFIED else Attribution.LATE_DETECTION
    if course.by_regrade and due_at < course.since:
        return Attribution.LATE_GRADING
    refused = any(
        (p.content_kind.is_repost or p.review is Review.REJECTED or p.withdrawn)
        and p.published_at <= due_at
        and _MILESTONE_OF[p.kind] in rule.satisfied_by
        for p in facts.publications
    )
    return Attribution.INVALID_RESPONSE if refused else Attribution.LATE_RESPONSE


def _rule_clock(rule: ClockRule, course: _Course, facts: Facts, now: datetime) -> Clock:
    assert rule.limit is not None
    started_at = course.anchor.at
    due_at = started_at + rule.limit
    fulfilled = _fulfilment(rule, course, due_at, facts.publications)
    state = _judge(due_at, started_at, fulfilled.at if fulfilled else None, now)
    on_receipt = course.since == facts.registered_at and due_at < facts.registered_at
    missed = state in {ClockState.BREACHED, ClockState.SATISFIED_LATE}
    clock = Clock(
        key=f"{rule.pack_id}:{rule.rule_id}",
        origin=ClockOrigin.RULE,
        rule_id=rule.rule_id,
        name=rule.name,
        status=rule.status,
        anchor_field=course.anchor.taken_from,
        anchor_stated=bool(rule.anchor and rule.anchor.stated),
        anchor_estimated=course.anchor.estimated,
        started_at=started_at,
        due_at=due_at,
        state=state,
        pack_id=rule.pack_id,
        unit_id=facts.unit_id,
        provisional=course.provisional,
        on_receipt=on_receipt and missed,
        attribution=_attribution(facts, course, due_at, rule, on_receipt=on_receipt) if missed else None,
        fulfilled_at=fulfilled.at if fulfilled and fulfilled.at <= now else None,
        publication_id=fulfilled.publication_id if fulfilled and fulfilled.at <= now else None,
        was_breached=missed,
    )
    return _apply_grading_end(clock, course)


def _apply_grading_end(clock: Clock, course: _Course) -> Clock:
    """A grading took the rule away: what was already decided stays, an open clock ends.

    Fulfilled before → stays. Breached before (and not merely provisional) → stays a breach. Superseding is settled
    afterwards in ``_settle_superseded``.
    """
    if course.ended_at is None or course.ended_as is None:
        return clock
    if clock.fulfilled_at is not None and clock.fulfilled_at <= course.ended_at:
        return clock
    breached_before = clock.due_at < course.ended_at
    if breached_before and course.ended_reason != _SETTLED:
        return clock
    return replace(
        clock,
        state=course.ended_as,
        ended_at=course.ended_at,
        ended_reason=course.ended_reason,
        fulfilled_at=None,
        publication_id=None,
        attribution=None,
        on_receipt=False,
        was_breached=breached_before,
    )


def _open_at(clock: Clock, at: datetime) -> bool:
    """Whether a clock still demanded something at that moment, as far as anybody could know."""
    if clock.started_at > at or clock.state in {ClockState.CANCELLED, ClockState.SUPERSEDED}:
        return clock.state is ClockState.SUPERSEDED and clock.ended_at is not None and clock.ended_at > at
    return clock.fulfilled_at is None or clock.fulfilled_at > at


def _settle_superseded(clocks: list[Clock], facts: Facts, now: datetime) -> list[Clock]:
    """An upgrade replaces an open 48 h clock only if the earliest open due time does not move later by it."""
    settled = []
    for clock in clocks:
        if clock.state is not ClockState.SUPERSEDED or clock.ended_at is None:
            settled.append(clock)
            continue
        others = [c for c in clocks if c.rule_id != clock.rule_id and _open_at(c, clock.ended_at)]
        tightest = min(others, key=lambda c: c.due_at, default=None)
        if tightest is not None and tightest.due_at <= clock.due_at:
            settled.append(replace(clock, superseded_by=tightest.key))
        else:
            rule = next(r for r in facts.rules if f"{r.pack_id}:{r.rule_id}" == clock.key)
            course = _course(rule, facts)
            assert course is not None
            settled.append(_rule_clock(rule, replace(course, ended_at=None, ended_as=None), facts, now))
    return settled


def _bind(clocks: list[Clock]) -> list[Clock]:
    """Where several packs demand the same milestone the tightest binds (domain.md §7.3)."""
    gone = {ClockState.CANCELLED, ClockState.SUPERSEDED}
    binding: dict[str, Clock] = {}
    for clock in sorted(clocks, key=lambda c: (c.state in gone, c.due_at, _STATUS_ORDER.index(c.status), c.pack_id)):
        binding.setdefault(clock.rule_id, clock)
    return [replace(clock, binding=binding[clock.rule_id].key == clock.key) for clock in clocks]


def _action_clocks(clocks: list[Clock], facts: Facts, now: datetime) -> list[Clock]:
    """Late registration or late grading: an internal clock of the same length, so that somebody acts now."""
    found = []
    for clock in clocks:
        late_grading = clock.attribution is Attribution.LATE_GRADING
        if not clock.binding or not (clock.on_receipt or late_grading):
            continue
        rule = next(r for r in facts.rules if f"{r.pack_id}:{r.rule_id}" == clock.key)
        course = _course(rule, facts)
        assert course is not None
        begin = course.since if late_grading else first_known(facts).at
        if begin + clock.limit <= course.since:
            begin = course.since
        due_at = begin + clock.limit
        state = _judge(due_at, begin, clock.fulfilled_at, now)
        found.append(
            replace(
                clock,
                key=f"action:{clock.rule_id}",
                origin=ClockOrigin.ACTION,
                name=f"{clock.name}（内部行动）",
                status=LimitStatus.INTERNAL,
                started_at=begin,
                due_at=due_at,
                state=state,
                binding=True,
                anchor_field=_action_anchor(begin, course, late_grading=late_grading),
                anchor_stated=False,
                on_receipt=False,
                pack_id="",
                was_breached=state in {ClockState.BREACHED, ClockState.SATISFIED_LATE},
                attribution=Attribution.LATE_RESPONSE
                if state in {ClockState.BREACHED, ClockState.SATISFIED_LATE}
                else None,
            )
        )
    return found


def _action_anchor(begin: datetime, course: _Course, *, late_grading: bool) -> str:
    if late_grading:
        return "graded_at"
    return "first_known_at" if begin != course.since else "registered_at"


def _plain_clock(
    key: str,
    origin: ClockOrigin,
    name: str,
    status: LimitStatus,
    anchor_field: str,
    started_at: datetime,
    due_at: datetime,
    fulfilled_at: datetime | None,
    now: datetime,
    unit_id: str,
) -> Clock:
    state = _judge(due_at, started_at, fulfilled_at, now)
    missed = state in {ClockState.BREACHED, ClockState.SATISFIED_LATE}
    return Clock(
        key=key,
        origin=origin,
        rule_id=str(origin),
        name=name,
        status=status,
        anchor_field=anchor_field,
        anchor_stated=True,
        anchor_estimated=False,
        started_at=started_at,
        due_at=due_at,
        state=state,
        unit_id=unit_id,
        fulfilled_at=fulfilled_at,
        was_breached=missed,
        attribution=Attribution.LATE_RESPONSE if missed else None,
    )


def _other_clocks(facts: Facts, now: datetime) -> list[Clock]:
    """Transferred notices with their own due time, departments' tasks and the office's continuous-release interval."""
    found = [
        _plain_clock(
            f"transfer:{t.key}",
            ClockOrigin.TRANSFER,
            "转办通知反馈",
            LimitStatus.STIPULATED,
            TimeKind.NOTIFIED,
            t.received_at,
            t.due_at,
            t.feedback_at,
            now,
            facts.unit_id,
        )
        for t in facts.transfers
        if t.due_at is not None
    ]
    found += [
        _plain_clock(
            f"task:{t.key}",
            ClockOrigin.TASK,
            t.name,
            LimitStatus.INTERNAL,
            "assigned_at",
            t.assigned_at,
            t.due_at,
            t.done_at,
            now,
            t.unit_id,
        )
        for t in facts.tasks
    ]
    return found + _continuous_clocks(facts, now)


def _continuous_clocks(facts: Facts, now: datetime) -> list[Clock]:
    """Each publication is answered by the next within the interval; intervals that were set before keep their clocks."""
    if facts.continuous is None:
        return []
    published = sorted(p.published_at for p in facts.publications if p.is_valid)
    found = []
    for nth, plan in enumerate((*facts.continuous.earlier, facts.continuous), start=1):
        prefix = "continuous:" if nth == 1 else f"continuous:{nth}."
        found += _interval_clocks(plan, prefix, published, facts.unit_id, now)
    return found


def _interval_clocks(
    plan: Continuous, prefix: str, published: list[datetime], unit_id: str, now: datetime
) -> list[Clock]:
    inside = {at for at in published if at >= plan.since and (plan.until is None or at <= plan.until)}
    starts, found = [plan.since, *sorted(inside)], []
    # What was overdue when another interval was set stays overdue until something is published.
    after = min((at for at in published if plan.until is not None and at > plan.until), default=None)
    for number, begin in enumerate(starts, start=1):
        following = starts[number] if number < len(starts) else None
        if following == begin:
            continue
        due_at = begin + plan.every
        overdue = plan.replaced and plan.until is not None and following is None and due_at < plan.until
        clock = _plain_clock(
            f"{prefix}{number}",
            ClockOrigin.CONTINUOUS,
            "持续发布（内部间隔）",
            LimitStatus.INTERNAL,
            "published_at",
            begin,
            due_at,
            after if overdue else following,
            now,
            unit_id,
        )
        if plan.until is not None and clock.state.is_open and not overdue:
            reason = "已改用新的持续发布间隔" if plan.replaced else "已停止持续发布间隔"
            missed = due_at < plan.until
            clock = replace(
                clock, state=ClockState.CANCELLED, ended_at=plan.until, ended_reason=reason, was_breached=missed,
                attribution=clock.attribution if missed else None,
            )  # fmt: skip
        found.append(clock)
    return found


def _apply_ending(clock: Clock, facts: Facts) -> Clock:
    """Voiding, waiving, handing over and merging end what is still open; what was decided stays."""
    if not clock.state.is_open:
        return clock
    breached = clock.state is ClockState.BREACHED
    if facts.merged_at is not None:
        return replace(
            clock,
            state=ClockState.MERGED,
            ended_at=facts.merged_at,
            ended_reason=said("已并入%(no)s", no=facts.merged_into),
            was_breached=breached,
        )
    if facts.ending is None or facts.ending.what == "closed":
        return clock
    state = ClockState.WAIVED if facts.ending.what == "waived" else ClockState.CANCELLED
    return replace(
        clock, state=state, ended_at=facts.ending.at, ended_reason=facts.ending.reason, was_breached=breached
    )


def derive_clocks(facts: Facts, now: datetime) -> tuple[Clock, ...]:
    """Every clock of the incident as it stands at ``now``, rules in the order of the packs, then the internal ones.

    Clocks run until the incident was merged, voided, waived or handed over, and stay as they stood then. Archiving ends no
    clock: a repost that is found out afterwards is a breach in retrospect.
    """
    stopped = facts.ending is not None and facts.ending.what != "closed"
    ends = [facts.merged_at, facts.ending.at if facts.ending and stopped else None]
    moment = min([now, *(at for at in ends if at is not None)])
    timed = [(rule, _course(rule, facts)) for rule in facts.rules if rule.limit is not None]
    clocks = [_rule_clock(rule, course, facts, moment) for rule, course in timed if course is not None]
    clocks = _bind(_settle_superseded(clocks, facts, moment))
    clocks += _action_clocks(clocks, facts, moment)
    clocks += _other_clocks(facts, moment)
    return tuple(_apply_ending(clock, facts) for clock in clocks)


def untimed_duties(facts: Facts) -> tuple[ClockRule, ...]:
    """Duties without a figure that hold for the incident as it is graded now: shown, never a clock."""
    kind, severity = facts.present
    return tuple(
        rule for rule in facts.rules if rule.limit is None and rule.applies_to.covers(kind, severity, facts.source)
    )


def earliest_open_due(clocks: Iterable[Clock]) -> datetime | None:
    """The earliest due time that still demands something under a document; internal clocks do not count."""
    dues = [c.due_at for c in clocks if c.state.is_open and not c.is_internal]
    return min(dues, default=None)


def second_person_reasons(
    before: Iterable[Clock], after: Iterable[Clock], *, first_grading: bool = False, later_due: bool = True
) -> tuple[str, ...]:
    """Why a change may not be made by one person alone (Chinese sentences; empty when it may).

    The first grading of an ungraded emergency is exempt from the rule on later due times: the shift leader is told.
    ``later_due`` is False for what may end a clock in its own right: a publication and its review.
    """
    old, new = {c.key: c for c in before}, {c.key: c for c in after}
    reasons: list[str] = []
    earlier, later = earliest_open_due(old.values()), earliest_open_due(new.values())
    if later_due and earlier is not None and (later is None or later > earlier) and not first_grading:
        reasons.append(said("最早的未完成截止时间将被推后或消失"))
    for key, was in old.items():
        if was.is_internal:
            continue
        now_is = new.get(key)
        if later_due and was.state.is_open and now_is is not None and now_is.due_at > was.due_at and not first_grading:
            reasons.append(said("「%(clock)s」的截止时间将被推后", clock=term(was.name)))
        reasons += _breach_reasons(was, now_is, first_grading=first_grading)
        revived = now_is is not None and now_is.state.is_open and now_is.due_at > was.due_at
        if was.state is ClockState.CANCELLED and was.was_breached and revived:
            reasons.append(said("「%(clock)s」曾在待定级期间超时，现将重新起算", clock=term(was.name)))
        taken_away = now_is is None or now_is.state in {ClockState.CANCELLED, ClockState.WAIVED}
        if was.state.is_open and taken_away and not first_grading:
            reasons.append(said("未完成的「%(clock)s」将被取消", clock=term(was.name)))
        if was.state.is_open and now_is is not None and now_is.state is ClockState.MERGED and not _taken_over(was, new):
            reasons.append(said("未完成的「%(clock)s」将因并案消失", clock=term(was.name)))
    return tuple(dict.fromkeys(reasons))


def _taken_over(was: Clock, new: dict[str, Clock]) -> bool:
    """Whether another incident's clock now demands the same duty, no later."""
    ended = {ClockState.MERGED, ClockState.CANCELLED, ClockState.SUPERSEDED, ClockState.WAIVED}
    return any(c.state not in ended and c.due_at <= was.due_at and _same_duty(was, c) for c in new.values())


def _same_duty(was: Clock, other: Clock) -> bool:
    """What makes two clocks one duty: the milestone of a rule, by a ground no weaker; or the very same notice.

    All notices of superiors carry one rule id, and an internal clock carries that of the limit it follows.
    """
    if (was.origin, was.rule_id) != (other.origin, other.rule_id):
        return False
    if was.origin is ClockOrigin.RULE:
        return _STATUS_ORDER.index(other.status) <= _STATUS_ORDER.index(was.status)
    return (was.started_at, was.due_at, was.name) == (other.started_at, other.due_at, other.name)


def _breach_reasons(was: Clock, now_is: Clock | None, *, first_grading: bool) -> list[str]:
    failed = {ClockState.BREACHED, ClockState.SATISFIED_LATE}
    if now_is is not None and now_is.on_receipt and not was.on_receipt:
        return [said("「%(clock)s」将改记为接报时已逾期", clock=term(was.name))]
    if was.state not in failed:
        return []
    if now_is is not None and now_is.state is ClockState.SATISFIED:
        return [said("「%(clock)s」将由超时变为按时", clock=term(was.name))]
    if (now_is is None or now_is.state not in failed) and not first_grading:
        return [said("「%(clock)s」的超时记录将不再计入", clock=term(was.name))]
    return []
