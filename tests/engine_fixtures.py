"""A small office for the engine's tests and benches: rows written straight into the tables, real notifiers, no rules.

``World`` knows one unit with people on standing duties. Everything it makes is invented.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from config.sealed import Sealer
from config.settings import Settings
from huiying.domain.kinds import Band, EventKind, Role
from huiying.domain.plan import AFTER_DUE, dedup_key
from huiying.service.engine import Engine, EngineOptions, ensure_inbox
from huiying.service.hand import Hand, new_hand
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from notifiers import registry
from notifiers.contract import ChannelConfig, Notifier
from notifiers.retrying import RetryPolicy

HOOK_SECRET = "whsec_" + base64.b64encode(b"an invented signing secret").decode()
STAFF = (Role.DUTY_OFFICER, Role.LIAISON)
PEOPLE = {
    "officer": Role.DUTY_OFFICER,
    "liaison": Role.LIAISON,
    "leader": Role.LEADER_IN_CHARGE,
    "principal": Role.PRINCIPAL,
    "supervisor": Role.SUPERVISION,
}


def real_notifier(config: ChannelConfig, threads: int = 16) -> Notifier:
    """A notifier that may post to the loopback address and leaves all retrying to the engine."""
    outfit = registry.Services(lambda *_: None, threads=threads, retry=RetryPolicy(attempts=1), allow_loopback=True)
    return registry.build(config, outfit)


def services_on(
    store: Store, folder: Path, make_notifier: Callable[[ChannelConfig], Notifier] = real_notifier, **settings: Any
) -> Services:
    """Services on a store, with settings in a folder of the test's own."""
    made = Settings(data_dir=folder, **{"node": "n1", "public_url": "https://desk.example", **settings})
    return Services(store, made, Sealer(folder / "seal.key"), b"k" * 32, make_notifier)


def new_sqlite(path: Path, host_now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Store:
    """A fresh SQLite store on the real clock."""
    store = Store(open_engine(f"sqlite:///{path}"), host_now)
    t.metadata.create_all(store.engine)
    return store


@dataclass
class World:
    """An office with its channels, incidents and actions."""

    services: Services
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.hand: Hand = new_hand(self.services.settings.node, "engine")
        self.senders = Senders(self.services)

    @property
    def store(self) -> Store:
        """The store."""
        return self.services.store

    # -- furniture ---------------------------------------------------------------------------------------------------

    def furnish(self, people: dict[str, Role] | None = None) -> World:
        """One unit, its people on standing duties, an administrator, the inbox."""
        with self.store.transaction("test") as tx:
            tx.run(t.unit.insert().values(id="office", name="示例市政府办公室"))
            for person, role in (PEOPLE if people is None else people).items():
                self._person(tx, person)
                tx.run(t.duty.insert().values(person_id=person, role=str(role), unit_id="office"))
            self._person(tx, "admin")
            tx.run(t.access.insert().values(person_id="admin", role="administrator", unit_id="office"))
            ensure_inbox(tx)
        return self

    def _person(self, tx: Any, person: str) -> None:
        row = {"id": person, "name": person, "unit_id": "office", "created_at": tx.now}
        row["mobile_sealed"] = self.services.sealer.seal("13800001234")
        tx.run(t.person.insert().values(**row))

    def webhook(self, channel_id: str, url: str, audience: str = "group", **more: Any) -> None:
        """A signed webhook."""
        secret = {"secret": self.services.sealer.seal(HOOK_SECRET)}
        self.channel(channel_id, "webhook", audience, {"url": url, **more.pop("settings", {})}, secret, **more)

    def channel(
        self,
        channel_id: str,
        kind: str,
        audience: str,
        settings: dict[str, Any] | None = None,
        secrets: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        """A channel row."""
        with self.store.transaction("test") as tx:
            values = {"id": channel_id, "name": channel_id, "kind": kind, "audience": audience, **more}
            tx.run(t.channel.insert().values(settings=settings or {}, secrets_sealed=secrets or {}, **values))

    def incident(self, **more: Any) -> int:
        """An incident row; its number runs on."""
        number = next(self.numbers)
        with self.store.transaction("test") as tx:
            values = {
                "no": f"2026-{number:04d}",
                "title": "绝不外发的标题",
                "notice_title": "示例事项",
                "kind": "emergency",
                "severity": "major",
                "state": "graded",
                "unit_id": "office",
                "registered_at": tx.now,
                "registered_by": "person:officer",
                **more,
            }
            found = tx.run(t.incident.insert().values(**values).returning(t.incident.c.id)).scalar_one()
        return int(found)

    def clock(self, incident_id: int, due_at: datetime, limit: timedelta = timedelta(hours=5), **more: Any) -> int:
        """A running clock."""
        with self.store.transaction("test") as tx:
            values = {
                "incident_id": incident_id,
                "cycle": 1,
                "key": f"pack:{next(self.numbers)}",
                "origin": "rule",
                "rule_id": "authoritative_release",
                "name": "权威信息发布",
                "status": "stipulated",
                "anchor_field": "occurred_at",
                "started_at": due_at - limit,
                "due_at": due_at,
                "state": "running",
                "binding": True,
                **more,
            }
            found = tx.run(t.clock.insert().values(**values).returning(t.clock.c.id)).scalar_one()
        return int(found)

    def action(
        self,
        due_at: datetime,
        incident_id: int | None = None,
        clock_id: int | None = None,
        kind: EventKind = EventKind.REMINDER,
        to: Sequence[Role] = STAFF,
        audience: Sequence[str] = ("personal", "group"),
        band: Band = Band.NOTICE,
        **detail: Any,
    ) -> int:
        """A pending action."""
        step = detail.pop("step_id", f"s{next(self.numbers)}")
        with self.store.transaction("test") as tx:
            body = {
                "to": [str(role) for role in to],
                "audience": list(audience),
                "when": "always",
                "of": step,
                "band": str(band),
                **detail,
            }
            values = {
                "dedup_key": dedup_key(f"clock:{clock_id}", step, 1, next(self.numbers)),
                "kind": str(kind),
                "incident_id": incident_id,
                "clock_id": clock_id,
                "step_id": step,
                "urgency": band.urgency,
                "due_at": due_at,
                "state": "pending",
                "detail": body,
                "created_at": tx.now,
            }
            found = tx.run(t.timed_action.insert().values(**values).returning(t.timed_action.c.id)).scalar_one()
        return int(found)

    def breach(self, incident_id: int, clock_id: int, due_at: datetime, **more: Any) -> int:
        """The action that records a breach."""
        to = more.pop("to", (Role.SUPERVISION, Role.PRINCIPAL))
        audience = more.pop("audience", ("personal",))
        kind, band = EventKind.BREACHED, Band.OVERDUE
        return self.action(due_at + AFTER_DUE, incident_id, clock_id, kind, to, audience, band, **more)

    # -- looking -----------------------------------------------------------------------------------------------------

    def rows(self, table: sa.Table, *where: Any) -> list[Any]:
        """Rows of a table in order of their key."""
        with self.store.reading() as tx:
            return tx.all(sa.select(table).where(*where).order_by(*table.primary_key.columns))

    def one(self, table: sa.Table, *where: Any) -> Any:
        """The only such row."""
        rows = self.rows(table, *where)
        assert len(rows) == 1, rows
        return rows[0]

    def action_row(self, action_id: int) -> Any:
        """An action."""
        return self.one(t.timed_action, t.timed_action.c.id == action_id)

    def audited(self, action: str) -> list[Any]:
        """Audit entries of a kind."""
        return self.rows(t.audit, t.audit.c.action == action)

    # -- working -----------------------------------------------------------------------------------------------------

    def engine(self, **options: Any) -> Engine:
        """An engine that has not been started."""
        return Engine(self.services, EngineOptions(**options))


def until(condition: Callable[[], Any], seconds: float = 10.0, pause: float = 0.01) -> Any:
    """Wait for something to become true; fails loudly when it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(pause)
    raise AssertionError(f"not within {seconds} s: {condition}")


def settle(engine: Engine, seconds: float = 15.0) -> None:
    """Tick until nothing is due and nothing is held."""

    def calm() -> bool:
        pause = engine.tick()
        return pause > 0.06 and engine.is_idle()

    until(calm, seconds, 0.02)
