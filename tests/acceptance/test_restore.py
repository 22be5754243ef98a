"""A restore from an older backup: nothing leaves before somebody has said what had been sent; then no message is
repeated and none is forgotten."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from huiying.domain.errors import Conflict, Forbidden, InvalidInput, Refused
from huiying.domain.kinds import Severity
from huiying.domain.sent_before import SENT_BEFORE
from huiying.service.actor import Actor
from huiying.service.audit import verify
from huiying.service.backup import backup, restore
from huiying.service.engine import Engine
from huiying.service.held import confirm_dispatch
from huiying.service.services import Services
from huiying.store import outbox
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from tests.acceptance.conftest import LOCAL, Desk, at
from tests.fakes.clock import FakeClock


@dataclass
class House:
    """A restored system and what people find in their inboxes."""

    services: Services
    clock: FakeClock

    @property
    def store(self) -> Store:
        """Its database."""
        return self.services.store

    def run(self) -> None:
        """Let the engine do everything there is to do now."""
        engine = Engine(self.services)
        engine.start()
        try:
            deadline = time.monotonic() + 20
            quiet = 0
            while quiet < 3 and time.monotonic() < deadline:
                quiet = quiet + 1 if engine.tick() > 0.5 and engine.is_idle() else 0
                time.sleep(0.02)
        finally:
            engine.stop()
        self.clock.advance(timedelta(seconds=30))  # its heartbeat is old news

    def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table."""
        with self.store.reading() as tx:
            return tx.all(table.select().order_by(*table.primary_key))

    def inboxes(self) -> Counter[str]:
        """How many messages each person has."""
        return Counter(row.person_id for row in self.rows(t.inbox_message))


@pytest.fixture
def restored(desk: Desk, clock: FakeClock, tmp_path: Path) -> Iterator[House]:
    """An incident registered at 09:00, a backup at 09:05, and at 16:00 a new machine with that backup."""
    former = House(desk.services, clock)
    desk.register(Severity.MAJOR, occurred="2026-03-10 08:50", detected="2026-03-10 08:55")
    former.run()
    assert former.inboxes(), "the start message was sent"
    desk.now("2026-03-10 09:05")
    made = backup(desk.services.store, tmp_path / "b.zip")
    desk.now("2026-03-10 16:00")
    store = Store(open_engine(f"sqlite:///{tmp_path / 'new.db'}"), clock, fixed_clock=True)
    restore(made.path, store)
    services = Services(store, desk.services.settings, desk.services.sealer, desk.services.server_key)
    yield House(services, clock)
    store.close()


def _held(house: House) -> bool:
    return any(row.key == "dispatch_held" for row in house.rows(t.setting))


def _pending(house: House, until: datetime) -> list[Any]:
    return [row for row in house.rows(t.timed_action) if row.state == "pending" and row.due_at <= until]


def test_nothing_leaves_before_the_confirmation(restored: House):
    before, waiting = restored.inboxes(), len(_pending(restored, restored.clock()))
    assert waiting > 3
    restored.run()
    assert restored.inboxes() == before
    assert len(_pending(restored, restored.clock())) == waiting
    assert _held(restored)


def test_what_had_been_sent_is_not_repeated_and_the_breach_is_kept(restored: House):
    before = restored.inboxes()
    done = confirm_dispatch(restored.store, LOCAL, sent_until=restored.clock(), note="已电话核对")
    assert (done.left, _held(restored)) == (0, False)
    assert done.actions > 3
    assert done.breaches >= 1
    restored.run()
    assert restored.inboxes() == before
    (release,) = [row for row in restored.rows(t.clock) if row.rule_id == "authoritative_release" and row.binding]
    assert release.state == "breached"
    assert release.due_at < at("2026-03-10 16:00") == release.noticed_at
    closed = [row for row in restored.rows(t.timed_action) if row.state == "superseded"]
    assert len(closed) >= done.actions
    assert verify(restored.store).ok


def test_reminders_go_on_after_the_confirmation(restored: House):
    confirm_dispatch(restored.store, LOCAL, sent_until=restored.clock())
    before = restored.inboxes()
    restored.clock.advance(timedelta(days=1, hours=2))
    restored.run()
    assert sum(restored.inboxes().values()) > sum(before.values())


def test_what_had_not_been_sent_goes_out_as_one_digest(restored: House):
    before = restored.inboxes()
    done = confirm_dispatch(restored.store, LOCAL, sent_until=None)
    assert (done.actions, done.deliveries) == (0, 0)
    assert done.left > 3
    restored.run()
    news = restored.inboxes() - before
    assert news
    assert set(news.values()) == {1}, "one digest for each recipient"


def test_the_moment_of_the_breakdown_parts_the_two(restored: House):
    done = confirm_dispatch(restored.store, LOCAL, sent_until=at("2026-03-10 12:00"))
    assert done.actions >= 1
    assert done.left >= 1
    due = {row.id: row.due_at for row in restored.rows(t.timed_action) if row.state == "superseded"}
    assert all(moment <= at("2026-03-10 12:00") for moment in due.values())
    before = restored.inboxes()
    restored.run()
    assert set((restored.inboxes() - before).values()) == {1}


def test_deliveries_that_were_on_their_way_are_closed_with_their_reason(restored: House):
    with restored.store.transaction("test") as tx:
        row = tx.one(sa.select(t.delivery.c.notice_no))
        assert row is not None
        tx.run(t.delivery.update().where(t.delivery.c.notice_no == row.notice_no).values(state="sending"))
    assert confirm_dispatch(restored.store, LOCAL, sent_until=restored.clock()).deliveries == 1
    (closed,) = [found for found in restored.rows(t.delivery) if found.notice_no == row.notice_no]
    assert (closed.state, closed.reason) == ("superseded", SENT_BEFORE)


def test_a_confirmation_is_audited_with_what_was_said(restored: House):
    confirm_dispatch(restored.store, LOCAL, sent_until=at("2026-03-10 12:00"), note="已电话核对")
    last = restored.rows(t.audit)[-1]
    assert (last.action, last.actor) == ("dispatch.confirmed", LOCAL.id)
    assert '"note":"已电话核对"' in last.payload
    assert '"sent_until":"2026-03-10T04:00:00.000000Z"' in last.payload
    assert '"reason":"restored"' in last.payload


def test_who_may_not_operate_or_names_a_wrong_moment_is_refused(restored: House):
    with pytest.raises(Forbidden):
        confirm_dispatch(restored.store, Actor("person:officer", "officer"), sent_until=None)
    with pytest.raises(InvalidInput, match="晚于现在"):
        confirm_dispatch(restored.store, LOCAL, sent_until=restored.clock() + timedelta(seconds=1))
    with pytest.raises(InvalidInput, match="时区"):
        confirm_dispatch(restored.store, LOCAL, sent_until=datetime(2026, 3, 10, 12))  # noqa: DTZ001
    assert _held(restored)
    confirm_dispatch(restored.store, LOCAL, sent_until=None)
    with pytest.raises(Refused, match="并未暂停"):
        confirm_dispatch(restored.store, LOCAL, sent_until=None)


def test_actions_in_other_hands_are_not_passed_over(restored: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outbox, "due_actions", lambda *_arguments: [])
    with pytest.raises(Conflict, match="未作任何改动"):
        confirm_dispatch(restored.store, LOCAL, sent_until=restored.clock())
    assert _held(restored)
