"""What the faces hand to the use cases: plain values, already parsed, not yet judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Review, Severity, TimeKind


@dataclass(frozen=True, slots=True)
class TimeInput:
    """A stated time: aware, with its source (where the officer has it from)."""

    value: datetime
    source: str = ""
    precision: str = "second"
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class TransferInput:
    """A superior's notice; ``due_at`` only when the notice names one."""

    notice_no: str
    received_at: datetime
    due_at: datetime | None = None
    from_org: str = ""


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """A new incident. ``title`` ≤ 200 characters, ``body`` ≤ 20,000, ``notice_title`` ≤ 60 (may leave the house)."""

    title: str
    kind: Kind
    unit_id: str
    severity: Severity | None = None
    criterion: str = ""
    times: Mapping[TimeKind, TimeInput] = field(default_factory=dict)
    body: str = ""
    notice_title: str = ""
    source: str = ""
    source_detail: Mapping[str, str] = field(default_factory=dict)
    co_units: tuple[str, ...] = ()
    region_code: str = ""
    category: str = ""
    late_exposure: bool = False
    transfer: TransferInput | None = None
    drill: bool = False


@dataclass(frozen=True, slots=True)
class GradeRequest:
    """A grading. ``basis`` initial/correction/worsened/downgrade; ``effective_at`` is the moment of the new fact."""

    kind: Kind
    severity: Severity | None
    basis: GradeBasis
    criterion: str
    effective_at: datetime | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A release, response or press conference that happened at ``published_at`` (a conference: when it started)."""

    kind: PublicationKind
    published_at: datetime
    content_kind: ContentKind = ContentKind.ORIGINAL
    title: str = ""
    url: str = ""
    text: str = ""
    channel: str = ""
    leader_voice: bool = False
    confidentiality: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """A reviewer's judgement of a publication; None leaves a field as it is."""

    publication_id: int
    review: Review | None = None
    content_kind: ContentKind | None = None
    substantive: bool | None = None
    credited: bool | None = None
    withdrawn: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CorrectRequest:
    """A corrected time fact; the reason is obligatory. ``late_exposure`` sets or clears that reading instead."""

    reason: str
    kind: TimeKind | None = None
    time: TimeInput | None = None
    late_exposure: bool | None = None


@dataclass(frozen=True, slots=True)
class AckRequest:
    """An acknowledgement by a person: of one clock and step, or (both empty) of everything asked of that person."""

    clock_key: str = ""
    step_id: str = ""
    note: str = ""
    notice_no: str = ""
    via: str = "api"
