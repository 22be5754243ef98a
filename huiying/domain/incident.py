"""The facts of an incident: what people stated, graded, published and decided, each with its moment.

``Facts`` is everything a clock depends on. It is folded from the append-only history; nothing in it is ever overwritten
there, a later statement only comes after an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from huiying.domain.errors import InvalidInput
from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Review, Severity, TimeKind
from huiying.domain.rules import ClockRule
from huiying.domain.sentences import said


@dataclass(frozen=True, slots=True)
class TimeFact:
    """One stated time (aware UTC). A time given to the minute counts as :00; ``estimated`` times are flagged everywhere."""

    kind: TimeKind
    value: datetime
    source: str
    precision: str = "second"
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Grading:
    """One grading: from ``graded_at`` on the incident is of this kind and severity.

    ``effective_at`` matters for ``worsened``: the moment of the new fact, where the clocks of the new grade start.
    """

    kind: Kind
    severity: Severity | None
    basis: GradeBasis
    effective_at: datetime
    graded_at: datetime
    criterion: str = ""


@dataclass(frozen=True, slots=True)
class Publication:
    """Something put before the public. ``published_at`` is the start for a press conference.

    ``confirmed``: a second person confirmed an on-time publication that was entered only after the limit had passed.
    ``as_published``: a time was corrected after it had been entered; since then its own time counts, not its entry.
    ``credited``: a reviewer lets a publication count although it is older than the grading that started the clock.
    """

    id: int
    kind: PublicationKind
    published_at: datetime
    content_kind: ContentKind
    has_evidence: bool
    entered_at: datetime
    review: Review = Review.PENDING
    credited: bool = False
    confirmed: bool = False
    withdrawn: bool = False
    as_published: bool = False

    @property
    def is_valid(self) -> bool:
        """Shown to the public, evidenced, ours and not rejected: able to stop a clock (domain.md §7.4)."""
        return (
            self.has_evidence
            and not self.withdrawn
            and not self.content_kind.is_repost
            and self.review is not Review.REJECTED
        )


@dataclass(frozen=True, slots=True)
class Ending:
    """The incident was voided, waived, handed over or closed."""

    what: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """A notice passed down by a superior; ``due_at`` only when the notice names one."""

    key: str
    notice_no: str
    received_at: datetime
    due_at: datetime | None
    feedback_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """An internal task of one department, with its own due time; never more than a house target."""

    key: str
    name: str
    unit_id: str
    assigned_at: datetime
    due_at: datetime
    done_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Continuous:
    """The office's own interval for 持续发布, an internal figure.

    ``until``: when it was stopped, or replaced by another interval (``replaced``). ``earlier`` are those it followed:
    setting another one takes no breach away that happened under them.
    """

    every: timedelta
    since: datetime
    until: datetime | None = None
    replaced: bool = False
    earlier: tuple[Continuous, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the clocks of one cycle of an incident depend on."""

    kind: Kind
    severity: Severity | None
    source: str
    registered_at: datetime
    times: tuple[TimeFact, ...] = ()
    gradings: tuple[Grading, ...] = ()
    publications: tuple[Publication, ...] = ()
    rules: tuple[ClockRule, ...] = ()
    late_exposure: bool = False
    ending: Ending | None = None
    merged_into: str = ""
    merged_at: datetime | None = None
    transfers: tuple[Transfer, ...] = ()
    tasks: tuple[Task, ...] = ()
    continuous: Continuous | None = None
    unit_id: str = ""
    #: The incidents merged into this one; their times count too, the earliest anchors.
    members: tuple[Facts, ...] = ()

    def time(self, kind: TimeKind) -> TimeFact | None:
        """The stated time of that kind that holds now."""
        return next((fact for fact in self.times if fact.kind is kind), None)

    @property
    def present(self) -> tuple[Kind, Severity | None]:
        """Kind and severity after the last grading."""
        if self.gradings:
            return self.gradings[-1].kind, self.gradings[-1].severity
        return self.kind, self.severity


@dataclass(frozen=True, slots=True)
class Anchoring:
    """An anchor resolved: the instant, and whether it had to be estimated from another time."""

    at: datetime
    estimated: bool
    taken_from: str


def first_known(facts: Facts) -> Anchoring:
    """When somebody responsible knew: the earlier of detected and notified; neither given → registration, flagged.

    A machine's capture (``captured_at``) is no knowledge and starts nothing (domain.md §3).
    """
    return resolve_anchor("first_known_at", facts)


def resolve_anchor(field_name: str, facts: Facts) -> Anchoring:
    """Find the instant a rule's anchor field stands for (domain.md §3 "When a clock starts", §7.1).

    Of merged incidents each is read by its own times, and the earliest counts (domain.md §6 "Merge").
    """
    found = [_resolve_alone(field_name, member) for member in (facts, *facts.members)]
    return min(found, key=lambda anchoring: anchoring.at)


def _resolve_alone(field_name: str, facts: Facts) -> Anchoring:
    if field_name == "occurred_at":
        return _occurrence(facts)
    if field_name == "first_known_at":
        return _known(facts)
    fact = facts.time(TimeKind(field_name)) if field_name != TimeKind.REGISTERED else None
    if fact is not None:
        return Anchoring(fact.value, fact.estimated, field_name)
    return Anchoring(facts.registered_at, field_name != TimeKind.REGISTERED, TimeKind.REGISTERED)


def _known(facts: Facts) -> Anchoring:
    stated = [fact for kind in (TimeKind.DETECTED, TimeKind.NOTIFIED) if (fact := facts.time(kind))]
    if not stated:
        return Anchoring(facts.registered_at, estimated=True, taken_from=TimeKind.REGISTERED)
    first = min(stated, key=lambda fact: fact.value)
    if first.value > facts.registered_at:  # who registers knows, whatever is stated later
        return Anchoring(facts.registered_at, estimated=False, taken_from=TimeKind.REGISTERED)
    return Anchoring(first.value, first.estimated, first.kind)


def _occurrence(facts: Facts) -> Anchoring:
    exposed, occurred = facts.time(TimeKind.EXPOSED), facts.time(TimeKind.OCCURRED)
    if facts.late_exposure and exposed is not None:
        return Anchoring(exposed.value, exposed.estimated, TimeKind.EXPOSED)
    if occurred is not None:
        return Anchoring(occurred.value, occurred.estimated, TimeKind.OCCURRED)
    known = _known(facts)
    candidates = [(known.at, known.taken_from), (facts.registered_at, str(TimeKind.REGISTERED))]
    if exposed is not None:
        candidates.append((exposed.value, str(TimeKind.EXPOSED)))
    at, taken_from = min(candidates)
    return Anchoring(at, estimated=True, taken_from=taken_from)


def check_times(times: Sequence[TimeFact], now: datetime) -> None:
    """Refuse times that cannot be: in the future, exposure before occurrence, a naive instant."""
    by_kind: dict[TimeKind, TimeFact] = {}
    for fact in times:
        if fact.value.tzinfo is None:
            raise InvalidInput(
                fact.kind, said("%(kind)s缺少时区，请写明如 2026-11-22T08:30:00+08:00。", kind=fact.kind)
            )
        if fact.value > now:
            raise InvalidInput(fact.kind, said("%(kind)s晚于当前时间，请核对。内容未登记。", kind=fact.kind))
        by_kind[fact.kind] = fact
    occurred, exposed = by_kind.get(TimeKind.OCCURRED), by_kind.get(TimeKind.EXPOSED)
    if occurred and exposed and occurred.value > exposed.value:
        raise InvalidInput(TimeKind.OCCURRED, "事发时间晚于首发（曝光）时间，请核对两个时间。内容未登记。")


def to_precision(value: datetime, precision: str) -> datetime:
    """A time given to the minute counts as :00; to the second, fractions are dropped."""
    if precision == "minute":
        return value.replace(second=0, microsecond=0)
    return value.replace(microsecond=0)
