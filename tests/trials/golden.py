"""What a host's time zone must not change: ``python -m tests.trials.golden FOLDER`` prints deadlines and messages.

A fixed clock walks through the awkward days (summer time in America, the year's end, a leap day, an official holiday);
incidents of every kind are registered, viewed, reminded and missed, and everything anybody would read is printed as one
JSON line each, in order.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from config.sealed import Sealer
from config.settings import Settings
from huiying.domain.kinds import Kind, Severity, TimeKind
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome
from huiying.service import incidents, rulebook
from huiying.service.breaches import sweep_breaches
from huiying.service.engine import Engine
from huiying.service.requests import RegisterRequest, TimeInput, TransferInput
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from huiying.store.schema import upgrade
from notifiers.contract import Address, ChannelConfig
from notifiers.templates import Form, render, title_of
from tests.fakes.clock import FakeClock
from tests.trials import stage

#: Around these instants host clocks and calendars do odd things; each is lived through for some hours.
SCENES = (
    ("summer time begins in New York", datetime(2026, 3, 8, 6, 30, tzinfo=UTC), 6),
    ("National Day holiday", datetime(2026, 9, 30, 8, 0, tzinfo=UTC), 3),
    ("summer time ends in New York", datetime(2026, 11, 1, 5, 30, tzinfo=UTC), 3),
    ("the year ends in Beijing", datetime(2026, 12, 31, 14, 30, tzinfo=UTC), 12),
    ("a leap day, no calendar yet", datetime(2028, 2, 28, 22, 0, tzinfo=UTC), 26),
)
_KINDS = (
    (Kind.OPINION, None),
    (Kind.EMERGENCY, None),
    (Kind.EMERGENCY, Severity.EXTRA_MAJOR),
    (Kind.EMERGENCY, Severity.CONSIDERABLE),
)
_REGIONS = ("520200", "230600", "990100")


class Reader:
    """A notifier that keeps what every format would show."""

    def __init__(self, channel: str, read: list[dict[str, Any]]) -> None:
        self._channel = channel
        self._read = read

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome:
        """Render every format; the moment of composing is the only thing that a second run cannot repeat exactly."""
        texts = {form.name: render(notice, form).body for form in Form}
        due = notice.due_at.astimezone(UTC).isoformat() if notice.due_at else None
        self._read.append(
            {"no": notice.notice_no, "to": to.person_id, "via": self._channel, "title": title_of(notice), "due": due}
            | {"texts": texts}
        )
        return Accepted(notice.notice_no)

    def close(self) -> None:
        """Nothing is held."""


def services_at(folder: Path, clock: FakeClock, read: list[dict[str, Any]]) -> Services:
    """An outfit on a clock that only we move."""
    store = Store(open_engine(f"sqlite:///{folder / 'huiying.db'}"), clock, fixed_clock=True)
    upgrade(store.engine)
    settings = Settings(data_dir=folder, node="golden", public_url="https://desk.example")

    def make(config: ChannelConfig) -> Reader:
        return Reader(config.channel_id, read)

    return Services(store, settings, Sealer(folder / "seal.key"), b"k" * 32, make)


def tell(what: str, **more: Any) -> None:
    """One line. When a breach was noticed depends on the engine's sweeps in real time, so that it is left out."""
    for clock in more.get("view", {}).get("clocks", ()):
        del clock["noticed_at"]
    sys.stdout.write(json.dumps({"what": what, **more}, ensure_ascii=False, sort_keys=True, default=str) + "\n")


def requests_at(now: datetime) -> Iterator[RegisterRequest]:
    """One incident of every kind, with times on both sides of the present."""
    for number, (kind, severity) in enumerate(_KINDS):
        stated = TimeInput(now - timedelta(minutes=20 * number + 5), "值班记录", "minute")
        yield RegisterRequest(
            title=f"示例事项{number}",
            notice_title="示例路段积水",
            kind=kind,
            severity=severity,
            criterion="示例依据" if severity else "",
            unit_id=stage.UNIT,
            region_code=_REGIONS[number % len(_REGIONS)],
            times={TimeKind.EXPOSED: stated, TimeKind.DETECTED: stated},
            transfer=TransferInput("示〔1〕", now - timedelta(minutes=1), now + timedelta(hours=7))
            if not number
            else None,
        )


def main(folder: Path) -> None:
    """Live through every scene and print what can be read."""
    clock, read = FakeClock(SCENES[0][1] - timedelta(days=1)), []  # type: ignore[var-annotated]
    services = services_at(folder, clock, read)
    for finding in rulebook.sync(services):
        tell("finding", text=str(finding))
    stage.furnish_with(services)
    stage.add_hook(services, "hook", "https://receiver.example/hook")
    engine = Engine(services)
    engine.start()
    for name, at, hours in SCENES:
        clock.set(at)
        tell("scene", name=name)
        numbers = []
        for request in requests_at(at):
            view = incidents.register(services, stage.OPERATOR, request)
            numbers.append(view["no"])
            tell("registered", view=view)
        _live_through(services, engine, clock, at + timedelta(hours=hours), read)
        sweep_breaches(services, engine.hand, timedelta(seconds=1.5))  # the engine's own sweeps come in real time
        for number in numbers:
            tell("seen again", view=_renamed(services, number))
    _tell_tables(services)
    engine.stop()


def _renamed(services: Services, number: str) -> dict[str, Any]:
    changes = {"notice_title": "示例路段积水消退"}
    return incidents.update_details(services, stage.OPERATOR, number, changes, "示例")


def _live_through(
    services: Services, engine: Engine, clock: FakeClock, until: datetime, read: list[dict[str, Any]]
) -> None:
    """From one due instant to the next."""
    while True:
        with services.store.reading() as tx:
            due = tx.value(sa.select(sa.func.min(t.timed_action.c.due_at)).where(t.timed_action.c.state == "pending"))
        if due is None or due > until:
            return
        clock.set(max(clock(), due) + timedelta(seconds=0.5))
        engine.tick()
        while not engine.is_idle():
            time.sleep(0.001)
        for line in sorted(read, key=lambda line: (line["no"], line["via"])):
            tell("message", **line)
        read.clear()


def _tell_tables(services: Services) -> None:
    with services.store.reading() as tx:
        for row in tx.all(sa.select(t.clock).order_by(t.clock.c.id)):
            tell("clock", key=row.key, started=row.started_at, due=row.due_at, state=row.state)
        for row in tx.all(sa.select(t.timed_action).order_by(t.timed_action.c.id)):
            tell("action", kind=row.kind, step=row.step_id, due=row.due_at, state=row.state)
        for row in tx.all(sa.select(t.obligation_due).order_by(t.obligation_due.c.id)):
            tell("duty", id=row.obligation_id, period=row.period, due=row.due_at, provisional=row.provisional)
        for row in tx.all(sa.select(t.inbox_message).order_by(t.inbox_message.c.notice_no)):
            tell("inbox", no=row.notice_no, subject=row.subject, text=row.text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
