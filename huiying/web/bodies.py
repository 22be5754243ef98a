"""What the JSON API takes: parsed and named here, judged by the use cases. Unknown fields are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from huiying.domain.errors import InvalidInput
from huiying.domain.freetext import BODY_LIMIT, NOTE_LIMIT, NOTICE_TITLE_LIMIT, TITLE_LIMIT
from huiying.domain.kinds import (
    Attribution,
    ContentKind,
    GradeBasis,
    Kind,
    PublicationKind,
    Review,
    Severity,
    TimeKind,
)
from huiying.domain.text import moment
from huiying.service.requests import (
    AckRequest,
    CorrectRequest,
    GradeRequest,
    RegisterRequest,
    ReleaseRequest,
    ReviewRequest,
    TimeInput,
    TransferInput,
)


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("时间应写成文字，如 2026-11-22T08:30:00+08:00。")  # noqa: TRY004 - pydantic shows a ValueError
    try:
        return moment("time", value)
    except InvalidInput as error:
        raise ValueError(error.message) from None


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T08:30:00+08:00"]}),
]
_Note = Annotated[str, Field(max_length=NOTE_LIMIT)]
_Id = Annotated[str, Field(max_length=64)]


class Body(BaseModel):
    """A request's body; a misspelt field is an error and not silently lost."""

    model_config = ConfigDict(extra="forbid")


class TimeBody(Body):
    """A stated time with where the officer has it from."""

    value: Moment
    source: str = ""
    precision: str = "second"
    estimated: bool = False

    def parsed(self) -> TimeInput:
        return TimeInput(self.value, self.source, self.precision, self.estimated)


class TransferBody(Body):
    """A superior's notice; ``due_at`` only when the notice names one."""

    notice_no: str
    received_at: Moment
    due_at: Moment | None = None
    from_org: str = ""

    def parsed(self) -> TransferInput:
        return TransferInput(self.notice_no, self.received_at, self.due_at, self.from_org)


class RegisterBody(Body):
    """A new incident. ``severity`` only for emergencies, and possibly not yet; no ``unit_id``: the only office there is."""

    title: str = Field(max_length=TITLE_LIMIT)
    kind: Kind
    unit_id: _Id = ""
    severity: Severity | None = None
    criterion: str = ""
    times: dict[TimeKind, TimeBody] = Field(default_factory=dict)
    body: str = Field(default="", max_length=BODY_LIMIT)
    notice_title: str = Field(default="", max_length=NOTICE_TITLE_LIMIT)
    source: str = ""
    source_detail: dict[str, str] = Field(default_factory=dict, max_length=20)
    co_units: list[_Id] = Field(default_factory=list, max_length=50)
    region_code: str = ""
    category: str = ""
    late_exposure: bool = False
    transfer: TransferBody | None = None
    drill: bool = False

    def parsed(self) -> RegisterRequest:
        return RegisterRequest(
            title=self.title,
            kind=self.kind,
            unit_id=self.unit_id,
            severity=self.severity,
            criterion=self.criterion,
            times={kind: stated.parsed() for kind, stated in self.times.items()},
            body=self.body,
            notice_title=self.notice_title,
            source=self.source,
            source_detail=self.source_detail,
            co_units=tuple(self.co_units),
            region_code=self.region_code,
            category=self.category,
            late_exposure=self.late_exposure,
            transfer=self.transfer.parsed() if self.transfer else None,
            drill=self.drill,
        )


class GradeBody(Body):
    """A grading; ``effective_at`` is the moment of the new fact."""

    kind: Kind
    severity: Severity | None = None
    basis: GradeBasis
    criterion: str
    effective_at: Moment | None = None
    evidence: str = ""

    def parsed(self) -> GradeRequest:
        return GradeRequest(self.kind, self.severity, self.basis, self.criterion, self.effective_at, self.evidence)


class ReleaseBody(Body):
    """A publication that happened at ``published_at`` (a press conference: when it started)."""

    kind: PublicationKind
    published_at: Moment
    content_kind: ContentKind = ContentKind.ORIGINAL
    title: str = ""
    url: str = ""
    text: str = ""
    channel: str = ""
    leader_voice: bool = False
    confidentiality: dict[str, str] = Field(default_factory=dict, max_length=20)

    def parsed(self) -> ReleaseRequest:
        return ReleaseRequest(
            self.kind,
            self.published_at,
            self.content_kind,
            title=self.title,
            url=self.url,
            text=self.text,
            channel=self.channel,
            leader_voice=self.leader_voice,
            confidentiality=self.confidentiality,
        )


class ReviewBody(Body):
    """A reviewer's judgement; absent fields stay as they are."""

    review: Review | None = None
    content_kind: ContentKind | None = None
    substantive: bool | None = None
    credited: bool | None = None
    withdrawn: bool | None = None
    note: str = ""

    def parsed(self, publication_id: int) -> ReviewRequest:
        return ReviewRequest(publication_id, **self.model_dump())


class AckBody(Body):
    """An acknowledgement of one clock and step, of one message, or (all empty) of everything asked of the caller."""

    clock_key: str = ""
    step_id: str = ""
    note: _Note = ""
    notice_no: str = ""

    def parsed(self) -> AckRequest:
        return AckRequest(self.clock_key, self.step_id, self.note, self.notice_no, via="api")


class CorrectBody(Body):
    """A corrected time fact with its reason, or ``late_exposure`` set or cleared."""

    reason: str
    kind: TimeKind | None = None
    time: TimeBody | None = None
    late_exposure: bool | None = None

    def parsed(self) -> CorrectRequest:
        return CorrectRequest(self.reason, self.kind, self.time.parsed() if self.time else None, self.late_exposure)


class ReasonBody(Body):
    """Why: void, waive, hand over, close, un-merge."""

    reason: str


class MergeBody(ReasonBody):
    """Into which incident, and why."""

    into: str


class ReopenBody(ReasonBody):
    """A flare-up with its own times."""

    times: dict[TimeKind, TimeBody] = Field(default_factory=dict)


class TaskBody(Body):
    """An internal task of a department."""

    unit_id: _Id
    name: str
    due_at: Moment


class DoneBody(Body):
    """When it was done."""

    at: Moment


class ContinuousBody(Body):
    """The office's own interval in hours; 0 stops it."""

    every_hours: int = Field(ge=0, le=168)


class StageBody(Body):
    """Which stage the incident enters."""

    stage: str
    note: str = ""


class AttributionBody(Body):
    """Why a limit was missed, confirmed by a person."""

    clock_key: str
    attribution: Attribution
    note: str


class ReplanBody(ReasonBody):
    """Another escalation policy for a clock."""

    clock_key: str
    policy_id: str


class ReassignBody(ReasonBody):
    """Another unit takes the lead."""

    unit_id: _Id


class DetailsBody(ReasonBody):
    """Changed texts; absent fields stay."""

    title: str | None = Field(default=None, max_length=TITLE_LIMIT)
    body: str | None = Field(default=None, max_length=BODY_LIMIT)
    notice_title: str | None = Field(default=None, max_length=NOTICE_TITLE_LIMIT)
    category: str | None = None

    def changes(self) -> dict[str, str]:
        """What was given, without the reason."""
        return {key: value for key, value in self.model_dump(exclude={"reason"}).items() if value is not None}


class DecisionBody(Body):
    """A second person's word on a pending change."""

    note: str = ""


class PreviewBody(Body):
    """An incident that may come; nothing is written."""

    packs: list[str] = Field(default_factory=list, max_length=20)
    kind: Kind | None = None
    severity: Severity | None = None
    times: dict[TimeKind, TimeBody] = Field(default_factory=dict)
    registered_at: Moment | None = None
    region_code: str = ""
    unit_id: str = ""


class ExchangeBody(Body):
    """A password, one's own or a one-time one, for which a token is made."""

    person_id: str = Field(max_length=64)
    password: str = Field(max_length=200)
    code: str = Field(default="", max_length=60)
    name: str = ""
    scopes: list[str] = Field(default_factory=list, max_length=50)
    days: int = 90


class TokenBody(Body):
    """Another token for the caller."""

    name: str
    scopes: list[str] = Field(default_factory=list, max_length=50)
    days: int = 90
