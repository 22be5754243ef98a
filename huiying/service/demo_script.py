"""The sample city of ``config/demo.yaml``, read as strictly as a rule pack.

Every time in it is a span before the moment at which the sample data is made (``before``), so that the incidents stand
at the same points of their clocks whenever that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.document import Form, Section, read_path, refusal
from huiying.domain.access import AccessRole
from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Role, Severity, TimeKind

SCHEMA = 1
#: Whoever is duty officer at that moment.
ON_DUTY = "on_duty"
_ID = r"[a-z0-9][a-z0-9_-]{0,30}"
_ID_HINT = "只用小写字母、数字、下划线和连字符"
_SAMPLE = r"示例.*"
_SAMPLE_HINT = "示例数据的名称和标题都以“示例”开头"
_SPAN = timedelta(hours=1)
#: What people do, with the keys each deed may carry; ``due_after`` counts from the moment of the deed.
ACTIONS: dict[str, tuple[str, ...]] = {
    "acknowledge": ("note",),
    "release": ("kind", "content", "channel", "url", "title", "text"),
    "grade": ("kind", "severity", "basis", "criterion"),
    "stage": ("stage",),
    "task": ("unit", "name", "due_after"),
    "merge": ("into", "reason"),
    "waive": ("reason",),
    "void": ("reason",),
    "close": ("reason",),
    "approve": ("note",),
}
_OPTIONAL = {
    ("acknowledge", "note"), ("approve", "note"), ("grade", "kind"), ("grade", "severity"),
    *(("release", name) for name in ("content", "channel", "url", "title", "text")),
}  # fmt: skip
_CHOICES: dict[tuple[str, str], type[Any]] = {
    ("release", "kind"): PublicationKind,
    ("release", "content"): ContentKind,
    ("grade", "kind"): Kind,
    ("grade", "severity"): Severity,
    ("grade", "basis"): GradeBasis,
}


@dataclass(frozen=True, slots=True)
class SampleUnit:
    """An invented unit; ``parent`` is empty for the one at the top, which the first start has made."""

    id: str
    name: str
    parent: str
    region_code: str


@dataclass(frozen=True, slots=True)
class SamplePerson:
    """An invented person: an account and, perhaps, standing duties for the own unit."""

    id: str
    name: str
    unit: str
    access: AccessRole
    duties: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class SampleTurn:
    """Who takes turns in a role, one shift after another."""

    role: Role
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SampleTime:
    """A stated time."""

    kind: TimeKind
    before: timedelta
    source: str


@dataclass(frozen=True, slots=True)
class SampleNotice:
    """A superior's notice; its due time counts from its receipt."""

    notice_no: str
    from_org: str
    before: timedelta
    due_after: timedelta


@dataclass(frozen=True, slots=True)
class SampleDeed:
    """What somebody does with the incident."""

    before: timedelta
    who: str
    do: str
    words: dict[str, str]
    due_after: timedelta


@dataclass(frozen=True, slots=True)
class SampleIncident:
    """An invented incident and what becomes of it."""

    key: str
    title: str
    body: str
    kind: Kind
    severity: Severity | None
    criterion: str
    unit: str
    source: str
    category: str
    before: timedelta
    who: str
    times: tuple[SampleTime, ...]
    notice: SampleNotice | None
    deeds: tuple[SampleDeed, ...]


@dataclass(frozen=True, slots=True)
class SampleCity:
    """The whole sample."""

    units: tuple[SampleUnit, ...]
    people: tuple[SamplePerson, ...]
    shift_length: timedelta
    turns: tuple[SampleTurn, ...]
    incidents: tuple[SampleIncident, ...]


def read_city(path: Path) -> SampleCity:
    """The sample of a file, or ``BadRulePack`` with every fault."""
    city, findings = read_path(path, _build)
    if city is None:
        raise refusal("示例数据", findings)
    return city


def _build(_form: Form, top: Section) -> SampleCity:
    top.only("schema", "units", "people", "shift_length", "turns", "incidents")
    top.integer("schema", SCHEMA, SCHEMA)
    units = tuple(_unit(section) for section in top.sections("units"))
    people = tuple(_person(section, [unit.id for unit in units]) for section in top.sections("people"))
    names = [person.id for person in people]
    actors = [ON_DUTY, *names]
    incidents = top.sections("incidents")
    keys = [section.text("key", pattern=_ID, hint=_ID_HINT) for section in incidents]
    return SampleCity(
        units=units,
        people=people,
        shift_length=top.duration("shift_length") or _SPAN,
        turns=tuple(_turn(section, names) for section in top.sections("turns")),
        incidents=tuple(_incident(section, keys, [unit.id for unit in units], actors) for section in incidents),
    )


def _unit(section: Section) -> SampleUnit:
    section.only("id", "name", "parent", "region_code")
    return SampleUnit(
        section.text("id", pattern=_ID, hint=_ID_HINT),
        section.text("name", longest=60, pattern=_SAMPLE, hint=_SAMPLE_HINT),
        section.text("parent", required=False, pattern=_ID, hint=_ID_HINT),
        section.text("region_code", pattern=r"\d{6}", hint="6 位数字，加引号"),
    )


def _person(section: Section, units: list[str]) -> SamplePerson:
    section.only("id", "name", "unit", "access", "duties")
    return SamplePerson(
        section.text("id", pattern=_ID, hint=_ID_HINT),
        section.text("name", longest=40, pattern=_SAMPLE, hint=_SAMPLE_HINT),
        section.choice("unit", units),
        AccessRole(section.choice("access", [role.value for role in AccessRole], default=AccessRole.DUTY)),
        tuple(Role(role) for role in section.choices("duties", [role.value for role in Role], required=False)),
    )


def _turn(section: Section, people: list[str]) -> SampleTurn:
    section.only("role", "people")
    role = section.choice("role", [role.value for role in Role], default=Role.DUTY_OFFICER)
    return SampleTurn(Role(role), section.choices("people", people))


def _incident(section: Section, keys: list[str], units: list[str], people: list[str]) -> SampleIncident:
    section.only("key", "title", "body", "kind", "severity", "criterion", "unit", "source", "category", "before", "who",
                 "times", "notice", "deeds")  # fmt: skip
    severity = section.choice("severity", [word.value for word in Severity], required=False)
    deeds = [_deed(deed, keys, units, people) for deed in section.sections("deeds", required=False)]
    return SampleIncident(
        key=section.text("key", pattern=_ID, hint=_ID_HINT),
        title=section.text("title", longest=50, pattern=_SAMPLE, hint=_SAMPLE_HINT),
        body=section.text("body", required=False),
        kind=Kind(section.choice("kind", [word.value for word in Kind], default=Kind.OPINION)),
        severity=Severity(severity) if severity else None,
        criterion=section.text("criterion", required=bool(severity)),
        unit=section.choice("unit", units),
        source=section.text("source", longest=40),
        category=section.text("category", required=False, longest=40),
        before=section.duration("before") or _SPAN,
        who=section.choice("who", people),
        times=tuple(_time(time) for time in section.sections("times")),
        notice=_notice(section.section("notice")) if section.has("notice") else None,
        deeds=tuple(sorted(deeds, key=lambda deed: deed.before, reverse=True)),
    )


def _time(section: Section) -> SampleTime:
    section.only("kind", "before", "source")
    kinds = [word.value for word in TimeKind if word is not TimeKind.REGISTERED]
    kind = section.choice("kind", kinds, default=TimeKind.OCCURRED)
    return SampleTime(TimeKind(kind), section.duration("before") or _SPAN, section.text("source", longest=200))


def _notice(section: Section) -> SampleNotice:
    section.only("notice_no", "from_org", "before", "due_after")
    return SampleNotice(
        section.text("notice_no", longest=80, pattern=_SAMPLE, hint=_SAMPLE_HINT),
        section.text("from_org", longest=120, pattern=_SAMPLE, hint=_SAMPLE_HINT),
        section.duration("before") or _SPAN,
        section.duration("due_after") or _SPAN,
    )


def _deed(section: Section, keys: list[str], units: list[str], people: list[str]) -> SampleDeed:
    do = section.choice("do", ACTIONS, default="acknowledge")
    section.only("before", "who", "do", *ACTIONS[do])
    named = {"into": keys, "unit": units}
    words = {}
    for name in ACTIONS[do]:
        required = (do, name) not in _OPTIONAL
        if name == "due_after":
            continue
        known = _CHOICES.get((do, name))
        allowed = [word.value for word in known] if known is not None else named.get(name)
        if allowed is not None:
            value = section.choice(name, allowed, required=required)
        else:
            value = section.text(name, required=required)
        if value:
            words[name] = value
    due_after = section.duration("due_after") if "due_after" in ACTIONS[do] else None
    who = section.choice("who", people)
    return SampleDeed(section.duration("before") or _SPAN, who, do, words, due_after or _SPAN)
