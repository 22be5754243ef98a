"""The questions of the main screen on both databases."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from huiying.domain.remaining import Urgency
from huiying.service import acknowledging, desk, marks
from huiying.service.desk import Filters
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.house import OPERATOR, acting, furnish, make_services


@pytest.fixture
def services(store: Store, tmp_path: Path):
    made = make_services(store, tmp_path)
    furnish(made)
    return made


def clock(services, number: int, left: timedelta, unit: str = "office", **more: object) -> int:
    with services.store.transaction("test") as tx:
        incident = {"no": f"2026-{number:04d}", "title": f"示例{number}", "kind": "opinion", "state": "handling",
                    "unit_id": unit, "registered_at": tx.now, "registered_by": "person:li", **more}  # fmt: skip
        incident_id = tx.run(t.incident.insert().values(**incident).returning(t.incident.c.id)).scalar_one()
        values = {"incident_id": incident_id, "cycle": 1, "key": "k", "origin": "rule", "rule_id": "r", "name": "权威回应",
                  "status": "stipulated", "anchor_field": "occurred_at", "started_at": tx.now, "state": "running",
                  "due_at": tx.now + left, "binding": True}  # fmt: skip
        return int(tx.run(t.clock.insert().values(**values).returning(t.clock.c.id)).scalar_one())


def test_queue_tiles_filters_and_marks(services):
    before = marks.mark(services)
    late = clock(services, 1, timedelta(hours=-2))
    clock(services, 2, timedelta(minutes=30), co_units=["water"])
    clock(services, 3, timedelta(hours=3))
    clock(services, 4, timedelta(days=2), unit="health")
    with services.store.transaction("test") as tx:
        action = {"dedup_key": "d", "kind": "reminder", "clock_id": late, "step_id": "share_80", "state": "pending",
                  "due_at": tx.now, "created_at": tx.now, "detail": {"to": ["shift_leader"]}}  # fmt: skip
        tx.run(t.timed_action.insert().values(**action))
    found = desk.queue(services, OPERATOR, "office", Filters())
    assert [line.no for line in found.lines] == [f"2026-{n:04d}" for n in (1, 2, 3, 4)]
    assert dict(found.tiles) == dict.fromkeys(Urgency, 1)
    assert (found.lines[0].next_what, found.lines[0].next_to) == ("80%", ("带班领导",))
    for filters, wanted in (
        (Filters(state="hour"), 1), (Filters(state="unacked"), 4), (Filters(who="mine"), 0), (Filters(who="unit"), 3),
        (Filters(rule="r", text="示例4"), 1), (Filters(severity="none"), 4), (Filters(severity="major"), 0),
    ):  # fmt: skip
        assert desk.queue(services, OPERATOR, "office", filters).matching == wanted, filters
    helper = desk.queue(services, acting("sun", units=("water",)), "water", Filters())
    assert [line.no for line in helper.lines] == ["2026-0002"]
    assert acknowledging.acknowledge_clocks(services, OPERATOR, [late, 10**6], "desk") == (
        [("2026-0001", "权威回应")],
        1,
    )
    after = marks.mark(services)
    assert after.changes_queue(before)
    assert not before.is_news_after(after)
    assert marks.Mark.parse(str(after)) == after
    assert desk.feed(services, OPERATOR)[0].text.startswith("签收")
    assert desk.panel(services, OPERATOR, "2026-0001").lanes[0].urgency is Urgency.OVERDUE


def test_a_row_that_comes_into_sight_after_a_later_one_is_news(pg_store: Store, tmp_path: Path):
    """Two transactions of PostgreSQL overlap: the second number is seen first, and the first must not go unnoticed."""
    services = make_services(pg_store, tmp_path)
    furnish(services)
    clock_id = clock(services, 1, timedelta(hours=1))
    with pg_store.reading() as tx:
        incident_id = tx.value(sa.select(t.clock.c.incident_id).where(t.clock.c.id == clock_id))
    event = {"clock_id": clock_id, "incident_id": incident_id, "at": pg_store.now(), "what": "test",
             "state_to": "running", "due_to": pg_store.now(), "detail": {}}  # fmt: skip
    with pg_store.engine.connect() as early, pg_store.engine.connect() as late:
        first = early.execute(t.clock_event.insert().values(**event).returning(t.clock_event.c.id)).scalar_one()
        second = late.execute(t.clock_event.insert().values(**event).returning(t.clock_event.c.id)).scalar_one()
        assert first < second
        late.commit()
        seen = marks.mark(services)
        early.commit()
    assert marks.mark(services).changes_queue(seen)
    assert not seen.is_news_after(marks.mark(services))


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "1.2.3.-4", "1.2.3.x", "1.2.3.٤"])
def test_a_mark_that_is_none_is_no_news(text: str):
    assert marks.Mark.parse(text) is None
