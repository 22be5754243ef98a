"""A drill's script: an invented incident, its people and what they do when, read as strictly as a rule pack."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from config.document import Form, Section, read_document, refusal
from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Role, Severity, TimeKind
from huiying.domain.plan import SHANGHAI

SCHEMA = 1
LONGEST = timedelta(days=7)
_ID = r"[a-z0-9][a-z0-9_-]{0,30}"
_ID_HINT = "只用小写字母、数字、下划线和连字符"
#: What people do in a drill, with the keys each may carry.
ACTIONS: dict[str, tuple[str, ...]] = {
    "acknowledge": ("note",),
    "release": ("kind", "content", "channel", "url", "title", "text"),
    "grade": ("kind", "severity", "basis", "criterion"),
    "stage": ("stage",),
    "close": ("reason",),
}


@dataclass(frozen=True, slots=True)
class Player:
    """An invented person with the duties that bring messages."""

    id: str
    name: str
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """A time that is stated when the incident is registered."""

    kind: TimeKind
    before: timedelta
    source: str


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody does ``at`` after the start."""

    at: timedelta
    who: str
    do: str
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Script:
    """A whole drill."""

    name: str
    starts_at: datetime
    length: timedelta
    unit_name: str
    region_code: str
    people: tuple[Player, ...]
    title: str
    notice_title: str
    kind: Kind
    severity: Severity | None
    criterion: str
    source: str
    times: tuple[Statement, ...]
    deeds: tuple[Deed, ...]

    @property
    def registrar(self) -> str:
        """Who registers the incident: the duty officer where there is one."""
        officers = [player.id for player in self.people if Role.DUTY_OFFICER in player.roles]
        return (officers or [self.people[0].id])[0]


def read_script(file: str, data: bytes) -> Script:
    """The script of a file, or ``BadRulePack`` with every fault."""
    script, findings = read_document(file, data, _build)
    if script is None:
        raise refusal("演练脚本", findings)
    return script


def _build(_form: Form, top: Section) -> Script:
    top.only("schema", "name", "starts", "length", "unit", "people", "register", "events")
    top.integer("schema", SCHEMA, SCHEMA)
    unit, register = top.section("unit"), top.section("register")
    unit.only("name", "region_code")
    register.only("title", "notice_title", "kind", "severity", "criterion", "source", "times")
    people = tuple(_player(section) for section in top.sections("people"))
    severity = register.choice("severity", [word.value for word in Severity], required=False)
    return Script(
        name=top.text("name", longest=60),
        starts_at=_start(top),
        length=_within(top, "length"),
        unit_name=unit.text("name", longest=60),
        region_code=unit.text("region_code", required=False, pattern=r"\d{6}", hint="6 位数字，加引号"),
        people=people,
        title=register.text("title", longest=200),
        notice_title=register.text("notice_title", required=False, longest=60),
        kind=Kind(register.choice("kind", [word.value for word in Kind], default=Kind.OPINION)),
        severity=Severity(severity) if severity else None,
        criterion=register.text("criterion", required=False),
        source=register.text("source", required=False, longest=40),
        times=tuple(_statement(section) for section in register.sections("times", required=False)),
        deeds=tuple(sorted((_deed(section, people) for section in top.sections("events")), key=lambda deed: deed.at)),
    )


def _start(top: Section) -> datetime:
    text = top.text(
        "starts", pattern=r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}", hint='写成 "2026-03-10 08:40"（北京时间，要加引号）'
    )
    try:
        return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)
    except ValueError:
        if text:
            top.fail("starts", "不是存在的时间。")
        return datetime(2026, 1, 1, tzinfo=SHANGHAI)


def _within(section: Section, name: str) -> timedelta:
    value = section.duration(name) or timedelta(hours=1)
    if value > LONGEST:
        section.fail(name, "演练最长 7 天（PT168H）。")
    return value


def _player(section: Section) -> Player:
    section.only("id", "name", "roles")
    roles = section.choices("roles", [role.value for role in Role])
    return Player(
        section.text("id", pattern=_ID, hint=_ID_HINT),
        section.text("name", longest=40),
        tuple(Role(role) for role in roles),
    )


def _statement(section: Section) -> Statement:
    section.only("kind", "before", "source")
    kinds = [word.value for word in TimeKind if word is not TimeKind.REGISTERED]
    kind = section.choice("kind", kinds, default=TimeKind.OCCURRED)
    return Statement(TimeKind(kind), _within(section, "before"), section.text("source", longest=200))


_CHOICES: dict[tuple[str, str], type[Any]] = {
    ("release", "kind"): PublicationKind,
    ("release", "content"): ContentKind,
    ("grade", "kind"): Kind,
    ("grade", "severity"): Severity,
    ("grade", "basis"): GradeBasis,
}
_REQUIRED = {("release", "kind"), ("grade", "basis"), ("grade", "criterion"), ("stage", "stage"), ("close", "reason")}


def _deed(section: Section, people: tuple[Player, ...]) -> Deed:
    do = section.choice("do", ACTIONS, default="acknowledge")
    section.only("at", "who", "do", *ACTIONS[do])
    words = {}
    for name in ACTIONS[do]:
        required = (do, name) in _REQUIRED
        known = _CHOICES.get((do, name))
        if known is not None:
            value = section.choice(name, [word.value for word in known], required=required)
        else:
            value = section.text(name, required=required, longest=400)
        if value:
            words[name] = value
    who = section.choice("who", [player.id for player in people])
    return Deed(_within(section, "at"), who, do, words)
