"""Sample data: an invented city whose incidents stand at different points of their clocks.

Everything is made by the ordinary use cases, on a clock that runs from the earliest incident to the present moment;
reminders of that time were delivered at their own instants, into inboxes and nowhere else. Every incident is a drill, so
that none ever leaves the house, and a data directory holds either sample data or real data: this module refuses to mix
them.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any, ClassVar

import sqlalchemy as sa

import config
from config.keys import write_private
from huiying.domain.access import GRANTS, LOCAL_PERMISSIONS
from huiying.domain.errors import NeedsSecondPerson, Refused
from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Role, Severity
from huiying.domain.passwords import fault
from huiying.service import incidents, people, roster_admin
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.demo_script import (
    ON_DUTY,
    SampleCity,
    SampleDeed,
    SampleIncident,
    SampleNotice,
    SamplePerson,
    read_city,
)
from huiying.service.first_run import ADMINISTRATOR_ID, UNIT_ID
from huiying.service.hashing import hash_password
from huiying.service.playback import JumpingClock, Playback
from huiying.service.requests import (
    AckRequest,
    GradeRequest,
    RegisterRequest,
    ReleaseRequest,
    TimeInput,
    TransferInput,
)
from huiying.service.roster_admin import ShiftInput
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from huiying.store.schema import read_version

MARK = "【演示数据】"
ACCOUNTS_FILE = "demo-accounts"
_KEY = "demo"
_FILE = Path(config.__file__).parent / "demo.yaml"
_MAKER = Actor("system:demo", "", LOCAL_PERMISSIONS, EVERYWHERE)
#: Shifts are there for as long as somebody may look at the demo.
_DAYS_OF_SHIFTS = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Account:
    """With what one signs in."""

    person_id: str
    name: str
    role_zh: str
    password: str


# -- sample or real ----------------------------------------------------------------------------------------------------


_ONLY_WITH_DEMO = "该数据目录存放的是演示数据，只能加 --demo 启动。正式使用请指定另一个空目录（HUIYING_DATA_DIR）。"


def is_demo(store: Store) -> bool:
    """Whether this database holds sample data."""
    return _mark(store) is not None


def refuse_mixing(store: Store, *, sample: bool) -> None:
    """Sample data where they are wanted and real ones where they are not; asked before anything is prepared.

    The schema may be a former one, which the start would bring up to date; what a newer one holds is not known here.
    """
    with store.reading() as tx:
        version = read_version(tx.conn)
    if not 0 < version <= t.SCHEMA_VERSION:
        return
    if sample:
        refuse_real_data(store)
    elif is_demo(store):
        raise Refused(_ONLY_WITH_DEMO)


def refuse_real_data(store: Store) -> None:
    """Sample data is only ever put into an empty system."""
    mark = _mark(store)
    if mark is not None:
        if not mark["complete"]:
            raise Refused("上次生成演示数据时中断，内容不完整。请删除该数据目录后重新运行。")
        return
    with store.reading() as tx:
        matters = tx.value(sa.select(sa.func.count()).select_from(t.incident))
        strangers = tx.value(sa.select(sa.func.count()).select_from(t.person).where(t.person.c.id != ADMINISTRATOR_ID))
    if matters or strangers:
        raise Refused(
            f"该数据目录已有 {matters} 个事项、{strangers} 名人员，不是演示数据；演示未启动，原有内容未作任何改动。"
            "请用 HUIYING_DATA_DIR 指定一个空目录。"
        )


def refuse_mismatch(services: Services) -> None:
    """The setting and the data say the same: a demo asks for no second factor, and nothing else may go without one."""
    sample = is_demo(services.store)
    if services.settings.demo and not sample:
        raise Refused("打开了演示设置（HUIYING_DEMO），但该数据目录不是演示数据，未启动。请先运行 huiying demo。")
    if sample and not services.settings.demo:
        raise Refused(_ONLY_WITH_DEMO)


def _mark(store: Store) -> dict[str, Any] | None:
    with store.reading() as tx:
        found: dict[str, Any] | None = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == _KEY))
    return found


def _set_mark(services: Services, *, complete: bool) -> None:
    with services.store.transaction(_MAKER.id) as tx:
        tx.run(t.setting.delete().where(t.setting.c.key == _KEY))
        tx.run(t.setting.insert().values(key=_KEY, value={"complete": complete}, updated_at=tx.now))
        tx.audit("demo.filled" if complete else "demo.begun", "system", {})


# -- filling -----------------------------------------------------------------------------------------------------------


def prepare(services: Services, say: Say) -> str:
    """Sample data in this data directory, made now where there is none; gives the text that names the accounts."""
    if not services.settings.demo:
        raise Refused("没有打开演示设置（HUIYING_DEMO），未生成演示数据。")
    refuse_real_data(services.store)
    accounts_file = services.settings.data_dir / ACCOUNTS_FILE
    if not is_demo(services.store):
        say("正在生成演示数据（虚构的示例市），约需半分钟 …")
        accounts = fill(services, read_city(_FILE))
        write_private(accounts_file, _as_text(accounts))
    return accounts_file.read_text("utf-8")


def fill(services: Services, city: SampleCity) -> list[Account]:
    """Put a sample city into an empty system, as of now; gives its accounts."""
    now = services.store.now().replace(microsecond=0)
    _set_mark(services, complete=False)
    clock = JumpingClock(now - max(incident.before for incident in city.incidents) - timedelta(hours=1))
    # The same database on a clock of its own; without notifiers nothing can be sent, whatever is configured.
    past = replace(services, store=Store(services.store.engine, clock, fixed_clock=True), make_notifier=None)
    _furnish(past, city)
    shifts = _plan_shifts(past, city, now)
    _History(past, city, shifts, clock, now).play()
    accounts = [_open_account(services, person) for person in city.people]
    _set_mark(services, complete=True)
    return accounts


def _as_text(accounts: list[Account]) -> str:
    lines = [f"{MARK}登录账号（虚构人员；口令随机生成，仅用于本数据目录）：", ""]
    lines += [f"  {a.role_zh:　<6} {a.person_id:<10} {a.password}  {a.name}" for a in accounts]
    return "\n".join([*lines, ""])


def _furnish(services: Services, city: SampleCity) -> None:
    for unit in city.units:
        if unit.id == UNIT_ID:
            people.edit_unit(services, _MAKER, unit.id, name=unit.name, region_code=unit.region_code)
        else:
            more = {"parent_id": unit.parent, "region_code": unit.region_code}
            people.add_unit(services, _MAKER, unit.id, name=unit.name, **more)
    for person in city.people:
        people.add_person(services, _MAKER, person.id, name=person.name, unit_id=person.unit)
        roster_admin.grant_access(services, _MAKER, person.id, person.access.value, person.unit)
        for duty in person.duties:
            roster_admin.add_duty(services, _MAKER, person.id, duty.value, person.unit)


def _plan_shifts(services: Services, city: SampleCity, now: datetime) -> list[ShiftInput]:
    """One shift after another from the beginning of the history to some days ahead."""
    starts = services.store.now().replace(minute=0, second=0, microsecond=0)
    unit = {person.id: person.unit for person in city.people}
    planned = []
    for turn in city.turns:
        at, number = starts, 0
        while at < now + timedelta(days=_DAYS_OF_SHIFTS):
            person = turn.people[number % len(turn.people)]
            shift = ShiftInput(unit[person], turn.role.value, person, at, at + city.shift_length)
            roster_admin.add_shift(services, _MAKER, shift)
            planned.append(shift)
            at, number = at + city.shift_length, number + 1
    return planned


# -- the history -------------------------------------------------------------------------------------------------------


class _History:
    """Registers every incident and lets people act, all in the order of time, the engine at work in between."""

    def __init__(
        self, services: Services, city: SampleCity, shifts: list[ShiftInput], clock: JumpingClock, now: datetime
    ) -> None:
        self._services = services
        self._city = city
        self._desk = [shift for shift in shifts if shift.role == Role.DUTY_OFFICER]
        self._now = now
        self._playback = Playback(services, clock, "demo")
        self._actors = {person.id: _actor_of(person) for person in city.people}
        self._numbers: dict[str, str] = {}
        self._requests: dict[str, int] = {}

    def play(self) -> None:
        """From the earliest incident to the present moment."""
        events: list[tuple[timedelta, Callable[[], None]]] = []
        for incident in self._city.incidents:
            events.append((incident.before, functools.partial(self._register, incident)))
            events += [(deed.before, functools.partial(self._do, incident.key, deed)) for deed in incident.deeds]
        for before, act in sorted(events, key=lambda event: event[0], reverse=True):
            self._playback.run_until(self._now - before)
            act()
            self._playback.work()
        self._playback.run_until(self._now)

    def _actor(self, who: str, before: timedelta) -> Actor:
        at = self._now - before
        if who == ON_DUTY:
            who = next(shift.person_id for shift in self._desk if shift.starts_at <= at < shift.ends_at)
        return self._actors[who]

    def _register(self, sample: SampleIncident) -> None:
        request = RegisterRequest(
            title=sample.title,
            notice_title=f"{MARK}{sample.title}",
            body=sample.body,
            kind=sample.kind,
            severity=sample.severity,
            criterion=sample.criterion,
            unit_id=sample.unit,
            source=sample.source,
            category=sample.category,
            times={time.kind: TimeInput(self._now - time.before, time.source) for time in sample.times},
            transfer=self._notice(sample.notice) if sample.notice else None,
            drill=True,
        )
        made = incidents.register(self._services, self._actor(sample.who, sample.before), request)
        self._numbers[sample.key] = str(made["no"])

    def _notice(self, sample: SampleNotice) -> TransferInput:
        received = self._now - sample.before
        return TransferInput(sample.notice_no, received, received + sample.due_after, sample.from_org)

    def _do(self, key: str, deed: SampleDeed) -> None:
        try:
            self._deeds[deed.do](self, self._actor(deed.who, deed.before), key, deed)
        except NeedsSecondPerson as wait:
            # Reserved for two persons: kept as a request that waits, or that another deed approves.
            number = wait.details["request_id"]
            assert isinstance(number, int)
            self._requests[key] = number

    def _acknowledge(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        incidents.acknowledge(
            self._services, actor, self._numbers[key], AckRequest(note=deed.words.get("note", ""), via="demo")
        )

    def _release(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        words = deed.words
        wanted = ReleaseRequest(
            PublicationKind(words["kind"]),
            self._now - deed.before,
            ContentKind(words.get("content", ContentKind.ORIGINAL)),
            title=words.get("title", ""),
            url=words.get("url", ""),
            text=words.get("text", ""),
            channel=words.get("channel", ""),
        )
        incidents.record_release(self._services, actor, self._numbers[key], wanted)

    def _grade(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        words = deed.words
        severity = Severity(words["severity"]) if "severity" in words else None
        wanted = GradeRequest(
            Kind(words.get("kind", Kind.EMERGENCY)), severity, GradeBasis(words["basis"]), words["criterion"]
        )
        incidents.grade(self._services, actor, self._numbers[key], wanted)

    def _stage(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        incidents.enter_stage(self._services, actor, self._numbers[key], deed.words["stage"], "")

    def _task(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        due = self._now - deed.before + deed.due_after
        incidents.add_task(self._services, actor, self._numbers[key], deed.words["unit"], deed.words["name"], due)

    def _merge(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        into = self._numbers[deed.words["into"]]
        incidents.merge(self._services, actor, self._numbers[key], into, deed.words["reason"])

    def _waive(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        incidents.waive(self._services, actor, self._numbers[key], deed.words["reason"])

    def _void(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        incidents.void(self._services, actor, self._numbers[key], deed.words["reason"])

    def _close(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        incidents.close(self._services, actor, self._numbers[key], deed.words["reason"])

    def _approve(self, actor: Actor, key: str, deed: SampleDeed) -> None:
        incidents.approve(self._services, actor, self._requests.pop(key), deed.words.get("note", ""))

    _deeds: ClassVar[dict[str, Callable[[_History, Actor, str, SampleDeed], None]]] = {
        "acknowledge": _acknowledge,
        "release": _release,
        "grade": _grade,
        "stage": _stage,
        "task": _task,
        "merge": _merge,
        "waive": _waive,
        "void": _void,
        "close": _close,
        "approve": _approve,
    }


def _actor_of(person: SamplePerson) -> Actor:
    """What this person's account may do, as signing in would give it."""
    permissions = frozenset(permission.value for permission in GRANTS[person.access])
    return Actor(f"person:{person.id}", person.id, permissions, frozenset({person.unit}))


# -- accounts ----------------------------------------------------------------------------------------------------------


def _open_account(services: Services, person: SamplePerson) -> Account:
    """A password that is this data directory's own and need not be changed."""
    password = _password_for(person)
    digest = hash_password(password)
    with services.store.transaction(_MAKER.id) as tx:
        row = {"person_id": person.id, "password_hash": digest, "changed_at": tx.now, "history": [digest]}
        tx.run(t.account.insert().values(**row))
        tx.audit("password.changed", f"person:{person.id}", {"by": "demo"})
    return Account(person.id, person.name, person.access.zh, password)


def _password_for(person: SamplePerson) -> str:
    """A password that the rules for passwords accept; chance now and then makes one that they do not."""
    while True:
        password = _new_password()
        if not fault(password, person.id, person.name):
            return password


def _new_password() -> str:
    """Capital letters, small letters and digits, none of which is mistaken for another: about 47 bits; guessing is locked after five."""
    groups = (ascii_uppercase, digits, ascii_lowercase)
    clear = [[sign for sign in group if sign not in "O0I1l"] for group in groups]
    parts = ("".join(secrets.choice(signs) for _ in range(4)) for signs in (clear[0], clear[1], clear[2]))
    return "-".join(parts)
