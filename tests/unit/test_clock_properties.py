"""Invariants over random histories: gradings, corrections, publications and their reviews, notices, merges, endings.

A history is a list of steps on a grid of ten minutes, so that exact coincidences happen. Each step is judged the way the
use cases judge it: the clocks before and after it, at the moment it is recorded. ``HUIYING_EXAMPLES=5000`` looks longer
and elsewhere each time; without it the same histories are tried on every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from huiying.domain.clock import Clock, derive_clocks, second_person_reasons
from huiying.domain.folding import unite
from huiying.domain.incident import (
    Ending,
    Facts,
    Grading,
    Publication,
    Task,
    TimeFact,
    Transfer,
    first_known,
    resolve_anchor,
)
from huiying.domain.kinds import (
    ClockOrigin,
    ClockState,
    ContentKind,
    GradeBasis,
    Kind,
    PublicationKind,
    Review,
    Severity,
    TimeKind,
)
from huiying.domain.plan import plan_actions
from tests.builders import all_policies, at, hours, national, rule, rules_of, with_limit

_MORE = os.environ.get("HUIYING_EXAMPLES")
EXAMPLES = settings(max_examples=int(_MORE or 100), derandomize=not _MORE, deadline=None)

START = at("2026-03-10 00:00")
TICK = timedelta(minutes=10)
DECIDED_LATE = {ClockState.BREACHED, ClockState.SATISFIED_LATE}
ENDED = {ClockState.CANCELLED, ClockState.WAIVED, ClockState.SUPERSEDED, ClockState.MERGED}

RULES = (
    national(),
    (*national(), with_limit(rule("5h"), hours(6), "local-6h"), with_limit(rule("48h"), hours(48), "local-48h")),
    (*rules_of("cn-230600-daqing-2016"), *national()),
    rules_of("cn-230600-daqing-2016"),
)


@dataclass(frozen=True)
class Step:
    """One change as the use cases see it: the moment, and the clocks and facts on both sides."""

    what: str
    at: datetime
    before: Facts
    after: Facts
    first_grading: bool = False
    other: Facts | None = None

    @property
    def clocks_before(self) -> list[Clock]:
        """The clocks at the moment of the change, as if nothing were to happen; also those of a merged incident."""
        found = list(derive_clocks(self.before, self.at))
        if self.other is not None:
            found += _marked(derive_clocks(self.other, self.at))
        return found

    @property
    def clocks_after(self) -> list[Clock]:
        """The clocks once the change is recorded."""
        found = list(derive_clocks(self.after, self.at))
        if self.other is not None:
            merged = replace(self.other, merged_into="2026-0001", merged_at=self.at)
            found += _marked(derive_clocks(merged, self.at))
        return found

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why one person alone may not do it."""
        late = self.what not in {"publish", "review"}
        return second_person_reasons(
            self.clocks_before, self.clocks_after, first_grading=self.first_grading, later_due=late
        )


def _marked(clocks: Sequence[Clock]) -> list[Clock]:
    return [replace(clock, key=f"2026-0002/{clock.key}") for clock in clocks]


def _tick(low: int, high: int) -> st.SearchStrategy[datetime]:
    return st.integers(low, max(low, high)).map(lambda number: START + number * TICK)


def _ticks(moment: datetime) -> int:
    return int((moment - START) / TICK)


@st.composite
def registrations(draw: st.DrawFn, rules: Sequence | None = None) -> Facts:
    """An incident as somebody may register it: some times unknown, known late, registered late."""
    kind = draw(st.sampled_from(Kind))
    severity = draw(st.none() | st.sampled_from(Severity)) if kind is Kind.EMERGENCY else None
    registered = draw(st.integers(0, 80))
    stated = [word for word in TimeKind if word is not TimeKind.REGISTERED and draw(st.booleans())]
    times = [TimeFact(word, draw(_tick(0, registered)), "值班记录") for word in stated]
    facts = Facts(
        kind=kind,
        severity=severity,
        source="monitoring",
        registered_at=START + registered * TICK,
        times=tuple(_in_order(times)),
        rules=tuple(draw(st.sampled_from(RULES)) if rules is None else rules),
        late_exposure=draw(st.integers(0, 4)) == 0,
    )
    return draw(_with_other_clocks(facts))


def _in_order(times: list[TimeFact]) -> list[TimeFact]:
    """Exposed before it occurred is refused at the door."""
    occurred = next((fact.value for fact in times if fact.kind is TimeKind.OCCURRED), START)
    return [fact for fact in times if fact.kind is not TimeKind.EXPOSED or fact.value >= occurred]


@st.composite
def _with_other_clocks(draw: st.DrawFn, facts: Facts) -> Facts:
    received = facts.registered_at
    if draw(st.integers(0, 3)) == 0:
        due = received + draw(st.integers(1, 200)) * TICK
        facts = replace(facts, transfers=(Transfer("1", "转〔2026〕1号", received, due),))
    if draw(st.integers(0, 3)) == 0:
        facts = replace(facts, tasks=(Task("1", "核实", "office", received, received + 6 * TICK),))
    return facts


@st.composite
def grave_registrations(draw: st.DrawFn) -> Facts:
    """A major emergency registered in time: its clocks run, and may run out."""
    registered = draw(st.integers(30, 60))
    occurred = TimeFact(TimeKind.OCCURRED, draw(_tick(registered - 29, registered)), "值班记录")
    return Facts(
        kind=Kind.EMERGENCY,
        severity=Severity.MAJOR,
        source="monitoring",
        registered_at=START + registered * TICK,
        times=(occurred,),
        rules=tuple(draw(st.sampled_from(RULES))),
    )


def _awaits_its_first_grade(facts: Facts) -> bool:
    graded = [facts.severity, *(grading.severity for grading in facts.gradings)]
    return facts.present == (Kind.EMERGENCY, None) and not any(graded)


@st.composite
def _regrade(draw: st.DrawFn, facts: Facts, now: datetime) -> tuple[Facts, bool]:
    _, severity_now = facts.present
    kind = draw(st.sampled_from([Kind.EMERGENCY, Kind.EMERGENCY, Kind.OPINION]))
    severity = draw(st.none() | st.sampled_from(Severity)) if kind is Kind.EMERGENCY else None
    first = _awaits_its_first_grade(facts) and severity is not None
    rises = (severity.rank if severity else 0) > (severity_now.rank if severity_now else 0)
    basis = draw(st.sampled_from([GradeBasis.CORRECTION, GradeBasis.WORSENED if rises else GradeBasis.DOWNGRADE]))
    effective = draw(_tick(_ticks(resolve_anchor("occurred_at", facts).at), _ticks(now)))
    grading = Grading(kind, severity, GradeBasis.INITIAL if first else basis, min(effective, now), now)
    return replace(facts, gradings=(*facts.gradings, grading)), first


@st.composite
def _correct(draw: st.DrawFn, facts: Facts, now: datetime) -> Facts:
    words = [TimeKind.OCCURRED, TimeKind.EXPOSED, TimeKind.DETECTED, TimeKind.NOTIFIED]
    fact = TimeFact(draw(st.sampled_from(words)), draw(_tick(0, _ticks(now))), "更正")
    others = [known for known in facts.times if known.kind is not fact.kind]
    return replace(facts, times=tuple(_in_order([*others, fact])))


def _telling_moments(facts: Facts, now: datetime) -> list[datetime]:
    """Now, and the due times that are past: where on time and late part."""
    return [now, *(clock.due_at for clock in derive_clocks(facts, now) if START <= clock.due_at <= now)]


@st.composite
def _publish(draw: st.DrawFn, facts: Facts, now: datetime, number: int) -> Facts:
    made = Publication(
        id=number,
        kind=draw(st.sampled_from(PublicationKind)),
        published_at=draw(st.sampled_from(_telling_moments(facts, now)) | _tick(_ticks(now) - 40, _ticks(now))),
        content_kind=draw(st.sampled_from([ContentKind.ORIGINAL, ContentKind.ORIGINAL, ContentKind.NEWS_REPORT])),
        has_evidence=True,
        entered_at=now,
    )
    return replace(facts, publications=(*facts.publications, made))


@st.composite
def _review(draw: st.DrawFn, facts: Facts) -> Facts:
    chosen = draw(st.sampled_from(facts.publications))
    change: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"review": Review.REJECTED},
                {"review": Review.ACCEPTED},
                {"content_kind": ContentKind.COMMENTARY},
                {"content_kind": ContentKind.ORIGINAL},
                {"credited": True},
                {"confirmed": True},
                {"withdrawn": True},
            ]
        )
    )
    changed = (replace(p, **change) if p is chosen else p for p in facts.publications)
    return replace(facts, publications=tuple(changed))


@st.composite
def histories(
    draw: st.DrawFn, *, kinds: Sequence[str] = (), first: st.SearchStrategy[Facts] | None = None
) -> list[Step]:
    """A registration and up to six changes, each later than the one before or at the same moment."""
    own = draw(registrations() if first is None else first)
    children: tuple[Facts, ...] = ()
    now, steps = own.registered_at, []
    wanted = kinds or ("grade", "grade", "correct", "publish", "publish", "review", "merge", "end")
    for number in range(draw(st.integers(1, 6))):
        dues = [clock.due_at for clock in derive_clocks(own, now) if clock.due_at > now]
        later = now + draw(st.integers(0, 120)) * TICK
        now = draw(st.sampled_from([later, later, *dues]))
        what = draw(st.sampled_from(wanted))
        if what == "review" and not own.publications:
            what = "publish"
        before, initial, other = unite(own, children), False, None
        match what:
            case "grade":
                own, initial = draw(_regrade(own, now))
            case "correct":
                own = draw(_correct(own, now))
            case "publish":
                own = draw(_publish(own, now, number + 1))
            case "review":
                own = draw(_review(own))
            case "merge":
                other = draw(registrations(rules=own.rules))
                now = max(now, other.registered_at)
                children = (*children, other)
            case _:
                how = draw(st.sampled_from(["voided", "waived", "handed_over"]))
                own = replace(own, ending=Ending(how, now, "理由"))
        steps.append(Step(what, now, before, unite(own, children), initial, other))
        if what == "end":
            break
    return steps


@st.composite
def finished(draw: st.DrawFn) -> tuple[Facts, datetime]:
    """The facts at the end of a random history, and a moment after everything in them was recorded."""
    steps = draw(histories())
    return steps[-1].after, steps[-1].at + draw(st.integers(0, 400)) * TICK


# --- what a change may do --------------------------------------------------------------------------------------------


def _earliest(clocks: Sequence[Clock]) -> datetime | None:
    dues = [c.due_at for c in clocks if c.state.is_open and not c.is_internal]
    return min(dues, default=None)


@EXAMPLES
@given(histories(kinds=("grade", "correct", "merge", "publish")))
def test_no_regrade_merge_or_correction_moves_the_earliest_open_due_time_later_alone(steps):
    for step in steps:
        if step.what == "publish" or step.first_grading:
            continue
        before, after = _earliest(step.clocks_before), _earliest(step.clocks_after)
        if before is not None and (after is None or after > before):
            assert step.reasons, (step.what, before, after)


@EXAMPLES
@given(histories())
def test_no_change_turns_a_breach_into_a_success_alone(steps):
    for step in steps:
        after = {clock.key: clock for clock in step.clocks_after}
        for was in step.clocks_before:
            now_is = after.get(was.key)
            if was.is_internal or was.state not in DECIDED_LATE or now_is is None:
                continue
            if now_is.state is ClockState.SATISFIED or (now_is.on_receipt and not was.on_receipt):
                assert step.reasons, (step.what, was.key)


@EXAMPLES
@given(histories(kinds=("publish",)))
def test_entering_a_publication_never_turns_a_breach_into_a_success(steps):
    """The verdict flips only when a second person has confirmed the publication."""
    for step in steps:
        after = {clock.key: clock.state for clock in step.clocks_after}
        assert not [
            was.key
            for was in step.clocks_before
            if was.state in DECIDED_LATE and not was.is_internal and after[was.key] is ClockState.SATISFIED
        ]


def _carried_on(was: Clock, after: Sequence[Clock]) -> bool:
    """Whether what a clock demanded is still demanded, no later, or was fulfilled, or gave way to a tighter clock."""
    for clock in after:
        same = clock.key == was.key or (clock.rule_id == was.rule_id and not clock.key.startswith("2026-0002/"))
        if not same or clock.due_at > was.due_at or clock.state in {ClockState.CANCELLED, ClockState.WAIVED}:
            continue
        if clock.state is ClockState.MERGED:
            continue
        if clock.state is not ClockState.SUPERSEDED:
            return True
        by = next((other for other in after if other.key == clock.superseded_by), None)
        if by is not None and by.due_at <= was.due_at and by.state not in ENDED:
            return True
    return False


@EXAMPLES
@given(histories(kinds=("grade", "correct", "merge", "publish", "end")))
def test_no_documents_clock_disappears_or_moves_later_in_silence(steps):
    """Of each open clock: still there and no later, fulfilled, superseded by a tighter one, or a second person knows."""
    for step in steps:
        if step.first_grading:
            continue
        after = step.clocks_after
        for was in step.clocks_before:
            if was.state.is_open and not was.is_internal and was.binding and not _carried_on(was, after):
                assert step.reasons, (step.what, was.key, was.state)


@EXAMPLES
@given(histories(kinds=("correct",), first=grave_registrations()))
def test_a_running_clock_never_becomes_overdue_on_receipt_alone(steps):
    for step in steps:
        after = {clock.key: clock for clock in step.clocks_after}
        for was in step.clocks_before:
            if was.state is ClockState.RUNNING and not was.is_internal and after.get(was.key, was).on_receipt:
                assert step.reasons, (step.what, was.key)


@EXAMPLES
@given(histories(kinds=("grade",), first=grave_registrations()))
def test_a_breach_survives_every_regrade_of_a_graded_incident(steps):
    """Breached ones stay; only what was never more than provisional may be settled otherwise."""
    for step in steps:
        if step.what != "grade":
            continue
        after = {clock.key: clock for clock in step.clocks_after}
        for was in step.clocks_before:
            if was.origin is not ClockOrigin.RULE or was.state is not ClockState.BREACHED:
                continue
            if _was_ever_meant(was, step.before):
                assert after[was.key].state in DECIDED_LATE, (was.key, after[was.key].state)


def _was_ever_meant(clock: Clock, facts: Facts) -> bool:
    """Whether some grade of the incident, not merely the lack of one, has asked for this clock."""
    rule = next(rule for rule in facts.rules if f"{rule.pack_id}:{rule.rule_id}" == clock.key)
    looks = [(facts.kind, facts.severity), *((grading.kind, grading.severity) for grading in facts.gradings)]
    meant = [look for look in looks if look != (Kind.EMERGENCY, None)]
    return any(rule.applies_to.covers(kind, severity, facts.source) for kind, severity in meant)


@EXAMPLES
@given(registrations(), st.data())
def test_between_extra_major_and_major_nothing_changes(facts, data):
    """Whatever brought the clocks about, the two graver grades have the same ones."""
    grave = [Severity.MAJOR, Severity.EXTRA_MAJOR]
    now = facts.registered_at + 6 * TICK
    first, second = data.draw(st.permutations(grave))
    kind, severity = facts.present
    basis = GradeBasis.INITIAL if kind is Kind.EMERGENCY and severity is None else GradeBasis.WORSENED
    facts = replace(facts, gradings=(Grading(Kind.EMERGENCY, first, basis, now - TICK, now),))
    later = now + 3 * TICK
    change = GradeBasis.WORSENED if second is Severity.EXTRA_MAJOR else GradeBasis.DOWNGRADE
    after = replace(facts, gradings=(*facts.gradings, Grading(Kind.EMERGENCY, second, change, later, later)))
    assert derive_clocks(after, later) == derive_clocks(facts, later)


# --- what a clock is -------------------------------------------------------------------------------------------------


@EXAMPLES
@given(finished())
def test_exactly_one_clock_binds_for_each_milestone_and_it_is_the_tightest(end):
    facts, now = end
    rows = [clock for clock in derive_clocks(facts, now) if clock.origin is ClockOrigin.RULE]
    for rule_id in {clock.rule_id for clock in rows}:
        same = [clock for clock in rows if clock.rule_id == rule_id]
        binding = [clock for clock in same if clock.binding]
        assert len(binding) == 1
        standing = [c.due_at for c in same if c.state not in {ClockState.CANCELLED, ClockState.SUPERSEDED}]
        assert not standing or binding[0].due_at == min(standing) or facts.ending or facts.merged_at


@EXAMPLES
@given(finished())
def test_each_clock_has_a_key_of_its_own(end):
    found = [clock.key for clock in derive_clocks(*end)]
    assert len(set(found)) == len(found)


_STATE_HOLDS: dict[ClockState, Callable[[Clock, datetime], bool]] = {
    ClockState.SCHEDULED: lambda c, now: c.started_at > now and c.fulfilled_at is None,
    ClockState.RUNNING: lambda c, now: c.started_at <= now <= c.due_at and c.fulfilled_at is None,
    ClockState.BREACHED: lambda c, now: c.due_at < now and c.fulfilled_at is None,
    ClockState.SATISFIED: lambda c, now: c.fulfilled_at is not None and c.fulfilled_at <= min(c.due_at, now),
    ClockState.SATISFIED_LATE: lambda c, now: c.fulfilled_at is not None and c.due_at < c.fulfilled_at <= now,
}


@EXAMPLES
@given(finished())
def test_the_state_agrees_with_due_time_fulfilment_and_now(end):
    facts, now = end
    for clock in derive_clocks(facts, now):
        if clock.state in ENDED:
            assert clock.ended_at is not None, clock
            assert clock.ended_at <= now, clock
            assert not clock.was_breached or clock.due_at < clock.ended_at, clock
            assert clock.fulfilled_at is None, clock
        else:
            assert _STATE_HOLDS[clock.state](clock, now), clock
            assert clock.was_breached == (clock.state in DECIDED_LATE), clock
            assert (clock.attribution is not None) == clock.was_breached, clock


@EXAMPLES
@given(finished())
def test_a_satisfied_clock_was_fulfilled_by_a_valid_publication_in_time(end):
    facts, now = end
    by_id = {publication.id: publication for publication in facts.publications}
    for clock in derive_clocks(facts, now):
        if clock.origin is ClockOrigin.RULE and clock.state is ClockState.SATISFIED:
            found = by_id[clock.publication_id]
            assert found.is_valid
            assert found.published_at <= clock.due_at
            assert found.entered_at <= clock.due_at or found.confirmed


@EXAMPLES
@given(registrations(), st.sampled_from([timedelta(0), timedelta(seconds=1)]))
def test_a_conference_exactly_at_a_due_time_is_on_time_and_a_second_later_is_not(facts, over):
    for clock in derive_clocks(facts, facts.registered_at):
        if clock.origin is not ClockOrigin.RULE or clock.due_at < facts.registered_at:
            continue
        moment = clock.due_at + over
        held = Publication(
            1, PublicationKind.PRESS_CONFERENCE, moment, ContentKind.ORIGINAL, has_evidence=True, entered_at=moment
        )
        after = derive_clocks(replace(facts, publications=(held,)), moment)
        found = next(other for other in after if other.key == clock.key)
        assert found.state is (ClockState.SATISFIED_LATE if over else ClockState.SATISFIED)


@EXAMPLES
@given(finished())
def test_due_is_the_anchor_and_the_documents_hours(end):
    facts, now = end
    limits = {f"{rule.pack_id}:{rule.rule_id}": rule.limit for rule in facts.rules}
    rows = [clock for clock in derive_clocks(facts, now) if clock.origin is ClockOrigin.RULE]
    assert {clock.key for clock in rows} <= set(limits)
    assert all(clock.due_at - clock.started_at == limits[clock.key] for clock in rows)


@EXAMPLES
@given(finished())
def test_deriving_twice_gives_the_same_and_the_order_of_rules_decides_nothing(end):
    facts, now = end
    once = derive_clocks(facts, now)
    assert derive_clocks(facts, now) == once
    turned = derive_clocks(replace(facts, rules=facts.rules[::-1]), now)
    assert sorted(turned, key=lambda c: c.key) == sorted(once, key=lambda c: c.key)


@EXAMPLES
@given(finished(), st.integers(1, 400))
def test_time_alone_never_undoes_a_breach_nor_any_other_verdict(end, later):
    """Without a new fact only running turns into breached and scheduled into running; what has ended stays as it was."""
    facts, now = end
    after = {clock.key: clock for clock in derive_clocks(facts, now + later * TICK)}
    for clock in derive_clocks(facts, now):
        then = after[clock.key]
        if clock.state in {ClockState.SCHEDULED, ClockState.RUNNING}:
            assert then.state in {ClockState.SCHEDULED, ClockState.RUNNING, ClockState.BREACHED}
            assert then.due_at == clock.due_at
        else:
            assert then == clock


# --- merging ---------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(registrations(rules=national()), st.lists(registrations(rules=national()), min_size=1, max_size=3))
def test_a_merged_incident_starts_no_later_than_any_of_its_members(primary, children):
    united = unite(primary, children)
    for member in (primary, *children):
        assert first_known(united).at <= first_known(member).at
        assert resolve_anchor("occurred_at", united).at <= resolve_anchor("occurred_at", member).at
        assert resolve_anchor("registered_at", united).at <= member.registered_at


@EXAMPLES
@given(registrations(rules=national()), registrations(rules=national()))
def test_a_merged_incident_counts_the_publications_of_all(primary, child):
    release = Publication(
        1, PublicationKind.RELEASE, START + 200 * TICK, ContentKind.ORIGINAL, has_evidence=True,
        entered_at=START + 200 * TICK,
    )  # fmt: skip
    told = unite(primary, [replace(child, publications=(release,))])
    assert release in told.publications


# --- planning --------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(finished(), st.sampled_from(all_policies()))
def test_a_plan_lies_ahead_is_in_order_and_tells_nothing_twice(end, policy):
    facts, now = end
    for clock in derive_clocks(facts, now):
        planned = plan_actions(clock, policy, facts.registered_at, now)
        if not (clock.state.is_open and clock.binding) or clock.on_receipt:
            assert planned == ()
        assert all(action.due_at > now or (action.kind == "breached" and action.due_at == now) for action in planned)
        assert [action.due_at for action in planned] == sorted(action.due_at for action in planned)
        assert len({(action.step_id, action.repetition) for action in planned}) == len(planned)
        early = [action for action in planned if action.detail["band"] != "overdue"]
        assert all(clock.started_at <= action.due_at < clock.due_at for action in early)
        assert all(action.due_at > clock.due_at for action in planned if action not in early)
