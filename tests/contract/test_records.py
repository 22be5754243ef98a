"""Hand-over, wall, inbox, runs and the audit search: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from huiying.domain.access import AccessRole
from huiying.domain.errors import Conflict
from huiying.domain.kinds import Kind, TimeKind
from huiying.domain.remaining import Urgency
from huiying.service import (
    audit_download,
    audit_view,
    handover,
    inbox,
    incidents,
    queries,
    roster_admin,
    rulebook,
    wall,
)
from huiying.service.audit_check import ChainCheck
from huiying.service.audit_view import Wanted
from huiying.service.requests import RegisterRequest, TimeInput
from huiying.service.services import Services
from huiying.store.db import Store
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, acting, furnish, make_services, run_engine_once

ZHANG, ZHAO = acting("zhang", AccessRole.DUTY, units=("office",)), acting("zhao", AccessRole.HEAD)
AUDITOR = acting("li", AccessRole.AUDITOR)


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    rulebook.sync(made)
    furnish(made)
    for person, role in (("zhang", "duty"), ("zhao", "head"), ("li", "auditor")):
        roster_admin.grant_access(made, OPERATOR, person, role, "office")
    return made


@pytest.fixture
def no(services: Services, clock: FakeClock) -> str:
    occurred = {TimeKind.OCCURRED: TimeInput(clock() - timedelta(minutes=30), "现场")}
    request = RegisterRequest(title="示例", kind=Kind.OPINION, unit_id="water", times=occurred)
    made = incidents.register(services, acting("zhang", AccessRole.DUTY), request)["no"]
    run_engine_once(services)
    return str(made)


def test_a_shift_is_handed_over(services: Services, no: str):
    assert handover.desk(services, ZHANG)["people"] == [{"id": "zhao", "name": "赵四", "next": False}]
    made = handover.prepare(services, ZHANG, "office", "zhao", "说明")
    assert [matter["no"] for matter in made["snapshot"]["matters"]] == [no]
    assert made["snapshot"]["unanswered"]
    assert made["intact"]
    handover.sign_out(services, ZHANG, made["id"], made["hash"])
    assert [item["kind"] for item in handover.pending(services, ZHAO)] == ["sign_in"]
    handover.take(services, ZHAO, made["id"], made["hash"])
    with pytest.raises(Conflict):
        handover.take(services, ZHAO, made["id"], made["hash"])
    assert handover.pending(services, ZHAO) == []
    assert [one["state"] for one in handover.listing(services, ZHANG)["handovers"]] == ["taken"]
    # A draft is replaced by the next one and can be withdrawn once it was offered.
    draft = handover.prepare(services, ZHANG, "office", "zhao")
    again = handover.prepare(services, ZHANG, "office", "zhao")
    assert draft["id"] != again["id"]
    handover.sign_out(services, ZHANG, again["id"], again["hash"])
    assert handover.withdraw(services, ZHANG, again["id"])["state"] == "withdrawn"


def test_the_wall_counts_what_runs_and_stops_at_the_unit(services: Services, no: str, clock: FakeClock):
    shown = wall.show(services, ZHANG, "office")
    assert sum(shown.counts.values()) == sum(map(len, shown.pages)) > 0
    assert shown.unit == "示例市政务公开办"
    assert {card.no for page in shown.pages for card in page} == {no}
    assert wall.show(services, acting("x", AccessRole.DUTY, units=("health",)), "health").pages == ()
    clock.advance(timedelta(days=30))
    assert wall.show(services, ZHANG, "office").counts[Urgency.OVERDUE] > 0


def test_the_inbox_and_the_runs_and_the_chain_are_found(services: Services, no: str):
    found = inbox.messages(services, ZHANG)
    assert found["unread"] == len(found["messages"]) > 0
    assert inbox.unread_count(services, ZHANG) == found["unread"]
    notice = found["messages"][0]["notice_no"]
    assert inbox.acknowledge(services, ZHANG, notice) > 0
    assert inbox.acknowledge(services, ZHANG, notice) == 0
    assert inbox.mark_read(services, ZHANG) == found["unread"] - 1
    assert queries.runs(services, no, only="failed")["runs"] == []
    assert queries.runs(services, only="retried")["runs"] == []
    assert len(queries.runs(services, no, kind="registered", only="done", limit=1)["runs"]) == 1
    entries = audit_view.search(services, AUDITOR, Wanted(who="张", what="incident.", subject=no))["entries"]
    assert [entry["action_zh"] for entry in entries] == ["事项·签收", "事项·登记"]
    check = ChainCheck(services.store).look(30.0)
    assert check.verdict is not None
    assert check.verdict.ok
    _, pieces = audit_download.prepare(services, AUDITOR)
    assert b"".join(pieces).startswith(b"PK")
