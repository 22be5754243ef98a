"""How much of the chain an auditor reads: what concerns the units of the role; whether it is whole, everybody; both stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from huiying.domain.access import AccessRole
from huiying.domain.errors import Forbidden
from huiying.domain.kinds import Kind
from huiying.service import audit_download, audit_view, channels, incidents, people, roster_admin
from huiying.service.actor import Actor
from huiying.service.audit_check import ChainCheck
from huiying.service.audit_view import Wanted
from huiying.service.requests import RegisterRequest
from huiying.service.roster_admin import ShiftInput
from huiying.service.services import Services
from huiying.store.db import Store
from tests.builders import hours
from tests.fakes.house import OPERATOR, acting, furnish, make_services

WATER = acting("audit-water", AccessRole.AUDITOR, units=("water",))
HOUSE = acting("audit-house", AccessRole.AUDITOR, units=("office",))
NOWHERE = acting("audit-nowhere", AccessRole.AUDITOR, units=())


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    furnish(made)
    for person_id, unit in (("sun", "water"), ("he", "health")):
        people.add_person(made, OPERATOR, person_id, name=person_id, unit_id=unit)
    return made


def register(services: Services, actor: Actor, unit: str, *co_units: str) -> str:
    wanted = RegisterRequest(title="示例", kind=Kind.OPINION, unit_id=unit, co_units=co_units)
    return str(incidents.register(services, actor, wanted)["no"])


def subjects(services: Services, actor: Actor) -> set[str]:
    """What an auditor sees; the list for programs and the page's search agree."""
    listed = audit_view.entries(services, actor, limit=1000)["entries"]
    searched = audit_view.search(services, actor, Wanted(), limit=1000)["entries"]
    assert [entry["seq"] for entry in searched] == [entry["seq"] for entry in reversed(listed)]
    return {entry["subject"] for entry in listed}


def test_a_units_auditor_reads_what_concerns_the_unit_and_its_people(services: Services):
    led = register(services, acting("zhang", AccessRole.DUTY), "water")
    helped = register(services, acting("zhang", AccessRole.DUTY), "office", "water")
    foreign = register(services, acting("zhang", AccessRole.DUTY), "health")
    seen = subjects(services, WATER)
    assert {f"incident:{led}", f"incident:{helped}", "person:sun", "unit:water"} <= seen
    assert not seen & {f"incident:{foreign}", "person:he", "person:zhang", "unit:health", "unit:office"}
    assert {f"incident:{foreign}", "person:he", "unit:health", "unit:office"} <= subjects(services, HOUSE)


def test_what_the_units_people_do_elsewhere_is_seen(services: Services):
    sun = acting("sun", AccessRole.DUTY, units=("health",))
    no = register(services, sun, "health")
    entries = audit_view.entries(services, WATER, subject=f"incident:{no}")["entries"]
    assert {entry["actor"] for entry in entries} == {"person:sun"}


def test_channels_and_shifts_follow_their_unit(services: Services):
    for unit in ("water", "health"):
        channels.add_channel(services, OPERATOR, f"robot-{unit}", kind="console", unit_id=unit)
    begin = services.store.now() + hours(1)
    made = [
        roster_admin.add_shift(services, OPERATOR, ShiftInput(unit, "duty_officer", who, begin, begin + hours(8)))
        for unit, who in (("water", "sun"), ("health", "he"))
    ]
    seen = subjects(services, WATER)
    assert {"channel:robot-water", f"shift:{made[0]['id']}"} <= seen
    assert not seen & {"channel:robot-health", f"shift:{made[1]['id']}"}


def test_an_auditor_without_a_unit_reads_nothing(services: Services):
    assert subjects(services, NOWHERE) == set()


def test_a_filter_finds_nothing_that_the_list_would_not_show(services: Services):
    foreign = register(services, acting("zhang", AccessRole.DUTY), "health")
    for wanted in (Wanted(subject=f"incident:{foreign}"), Wanted(who="zhang"), Wanted(who="张一")):
        assert audit_view.search(services, WATER, wanted)["entries"] == []
    assert audit_view.entries(services, WATER, subject="person:he")["entries"] == []


def test_the_verdict_on_the_whole_chain_is_everybodys(services: Services):
    whole = audit_view.entries(services, HOUSE)["head"]
    assert audit_view.entries(services, WATER)["head"] == whole
    verdict = ChainCheck(services.store).look(30.0).verdict
    assert verdict is not None
    assert (verdict.ok, verdict.count) == (True, whole["count"])


def test_the_export_is_for_who_audits_every_unit(services: Services):
    for actor in (WATER, NOWHERE):
        with pytest.raises(Forbidden, match="链条须整体导出"):
            audit_download.prepare(services, actor)
    people.add_unit(services, OPERATOR, "second-root", name="另一单位")
    with pytest.raises(Forbidden):
        audit_download.prepare(services, HOUSE)
    both = acting("audit-house", AccessRole.AUDITOR, units=("office", "second-root"))
    _, pieces = audit_download.prepare(services, both)
    assert b"".join(pieces)
