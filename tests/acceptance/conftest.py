"""A small invented city for acceptance tests: 示例市, with a desk, leaders, two departments and their people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from config.sealed import Sealer
from config.settings import Settings
from huiying.domain.access import LOCAL_PERMISSIONS, Permission
from huiying.domain.errors import NeedsSecondPerson
from huiying.domain.kinds import Kind, PublicationKind, Role, Severity, TimeKind
from huiying.service import incidents, rulebook
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.requests import RegisterRequest, ReleaseRequest, TimeInput
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from tests.fakes.clock import FakeClock

SHANGHAI = ZoneInfo("Asia/Shanghai")
LOCAL = Actor("local:tester", permissions=LOCAL_PERMISSIONS, units=EVERYWHERE)
EVERYTHING = frozenset(str(permission) for permission in Permission)
OFFICER = Actor("person:officer", "officer", EVERYTHING, frozenset({"office"}))
LEADER = Actor("person:leader", "leader", EVERYTHING, frozenset({"office"}))


def at(text: str) -> datetime:
    """``"2026-03-10 08:00"`` (or with seconds) in Shanghai as an aware instant."""
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def due(text: str) -> str:
    """How a view shows that Shanghai time."""
    return at(text).isoformat(timespec="seconds")


@dataclass
class Desk:
    """A duty desk to act on, with a clock in hand."""

    services: Services
    clock: FakeClock
    numbers: list[str] = field(default_factory=list)

    def now(self, text: str) -> None:
        """Move the clock."""
        self.clock.set(at(text))

    def register(
        self,
        severity: Severity | None = None,
        *,
        kind: Kind | None = None,
        region: str = "",
        actor: Actor = OFFICER,
        **times: str,
    ) -> str:
        """Register an incident; times by short name: ``occurred="2026-03-10 08:00"``, ``detected=…``, ``notified=…``."""
        kinds = {
            "occurred": TimeKind.OCCURRED,
            "exposed": TimeKind.EXPOSED,
            "detected": TimeKind.DETECTED,
            "notified": TimeKind.NOTIFIED,
        }
        stated: Mapping[TimeKind, TimeInput] = {kinds[k]: TimeInput(at(v), "示例来源") for k, v in times.items()}
        request = RegisterRequest(
            title="示例事项（虚构）",
            kind=kind or (Kind.EMERGENCY if severity else Kind.OPINION),
            unit_id="office",
            severity=severity,
            criterion="示例定级依据" if severity else "",
            times=stated,
            region_code=region,
        )
        no = str(incidents.register(self.services, actor, request)["no"])
        self.numbers.append(no)
        return no

    def publish(
        self, no: str, kind: PublicationKind, when: str, *, actor: Actor = OFFICER, **more: Any
    ) -> dict[str, Any]:
        """Record a publication."""
        request = ReleaseRequest(kind=kind, published_at=at(when), url="https://www.example.org/1", **more)
        return incidents.record_release(self.services, actor, no, request)

    def view(self, no: str) -> dict[str, Any]:
        """The incident as it stands."""
        from huiying.service.queries import view_incident

        return view_incident(self.services, no)

    def binding(self, no: str) -> dict[str, dict[str, Any]]:
        """The binding document clocks by rule id, internal ones by key."""
        clocks = self.view(no)["clocks"]
        return {(c["rule"] if c["origin"] == "rule" else c["key"]): c for c in clocks if c["binding"]}

    def states(self, no: str) -> dict[str, str]:
        """State of each binding clock."""
        return {key: clock["state"] for key, clock in self.binding(no).items()}

    def actions(self, no: str, state: str = "pending") -> list[Any]:
        """Timed actions of an incident in that state, by due time."""
        with self.services.store.reading() as tx:
            incident = tx.one(t.incident.select().where(t.incident.c.no == no))
            assert incident is not None
            query = t.timed_action.select().where(
                t.timed_action.c.incident_id == incident.id, t.timed_action.c.state == state
            )
            return tx.all(query.order_by(t.timed_action.c.due_at, t.timed_action.c.id))


def furnish(store: Store) -> None:
    """Units, people and standing duties of 示例市."""
    people = {
        "officer": ("office", Role.DUTY_OFFICER),
        "liaison": ("office", Role.LIAISON),
        "shift": ("office", Role.SHIFT_LEADER),
        "leader": ("office", Role.LEADER_IN_CHARGE),
        "principal": ("office", Role.PRINCIPAL),
        "supervisor": ("office", Role.SUPERVISION),
        "handler": ("water", Role.HANDLER),
    }
    with store.transaction("test") as tx:
        tx.run(t.unit.insert().values(id="office", name="示例市政府办公室", region_code="990100"))
        tx.run(t.unit.insert().values(id="water", name="示例市水务局", parent_id="office", region_code="990100"))
        for person, (unit, role) in people.items():
            tx.run(t.person.insert().values(id=person, name=person, unit_id=unit, created_at=tx.now))
            tx.run(t.duty.insert().values(person_id=person, role=str(role), unit_id=unit))
        tx.run(t.channel.insert().values(id="inbox", name="站内收件箱", kind="inbox", audience="personal"))


@pytest.fixture(scope="session")
def rule_rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The rows of packs, policies and calendars, loaded from the files once per session."""
    store = Store(open_engine(f"sqlite:///{tmp_path_factory.mktemp('rules')}/rules.db"), FakeClock(), fixed_clock=True)
    t.metadata.create_all(store.engine)
    folder = tmp_path_factory.mktemp("settings")
    assert rulebook.sync(Services(store, Settings(data_dir=folder), Sealer(folder / "secret.key"), b"0" * 32)) == []
    with store.reading() as tx:
        rows = {
            table.name: [dict(r._mapping) for r in tx.all(table.select())] for table in (t.pack, t.policy, t.calendar)
        }
    store.close()
    return rows


@pytest.fixture
def desk(store: Store, clock: FakeClock, tmp_path: Any, rule_rows: dict[str, list[dict[str, Any]]]) -> Desk:
    """A desk on SQLite and on PostgreSQL; the clock stands at 2026-03-10 09:00."""
    clock.set(at("2026-03-10 09:00"))
    settings = Settings(data_dir=tmp_path)
    services = Services(store, settings, Sealer(tmp_path / "secret.key"), b"0" * 32)
    with store.transaction("test") as tx:
        for name, rows in rule_rows.items():
            tx.run(t.metadata.tables[name].insert(), rows)
    furnish(store)
    return Desk(services, clock)


def request_of(refusal: NeedsSecondPerson) -> int:
    """The number of the pending request that a refusal names."""
    number = refusal.details["request_id"]
    assert isinstance(number, int)
    return number


def hours(value: float) -> timedelta:
    """A duration."""
    return timedelta(hours=value)
