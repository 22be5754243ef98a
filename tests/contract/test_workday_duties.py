"""Reminders of working-day duties, and what a warning about calendars names; on both stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from huiying.domain.kinds import ActionState
from huiying.service import people, roster_admin, rulebook
from huiying.service.duties import ensure_calendar_warning
from huiying.service.services import Services
from huiying.service.workday_duties import ensure_workday_reminders, packs_by_unit
from huiying.store import tables as t
from huiying.store.db import Store
from tests.builders import at
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, furnish, make_services, run_engine_once

SUQIAN = "321300"  # 每月初3个工作日内: in October 2026 that is the 8th, 9th and, a make-up Saturday, the 10th


@pytest.fixture
def office(store: Store, tmp_path: Path, clock: FakeClock) -> Services:
    clock.set(at("2026-10-09 00:05"))
    made = make_services(store, tmp_path)
    rulebook.sync(made)
    furnish(made)
    people.edit_unit(made, OPERATOR, "office", region_code=SUQIAN)
    people.edit_unit(made, OPERATOR, "water", region_code=SUQIAN)
    return made


def written(services: Services) -> list[Any]:
    with services.store.reading() as tx:
        return tx.all(sa.select(t.timed_action).where(t.timed_action.c.step_id == "workdays").order_by("due_at"))


def test_the_working_day_before_and_on_the_day_one_message_goes_to_the_unit_whose_duty_it_is(
    office: Services, clock: FakeClock
):
    assert ensure_workday_reminders(office) == 1
    assert ensure_workday_reminders(office) == 0
    (before,) = written(office)
    assert before.due_at == at("2026-10-09 09:00")
    assert (before.detail["unit"], before.detail["band"]) == ("office", "warning")
    assert before.detail["to"][0] == "duty_officer"
    (line,) = before.detail["lines"]
    assert line.startswith("10月10日24:00到期：《")
    clock.set(at("2026-10-10 00:05"))
    assert ensure_workday_reminders(office) == 2
    assert [row.due_at for row in written(office)[1:]] == [at("2026-10-10 09:00"), at("2026-10-10 15:00")]


def test_it_leaves_through_the_ordinary_path_and_is_read_as_a_reminder(office: Services, clock: FakeClock):
    ensure_workday_reminders(office)
    clock.set(at("2026-10-09 09:00"))
    run_engine_once(office)
    (action,) = written(office)
    assert action.state == ActionState.DONE
    with office.store.reading() as tx:
        messages = {row.person_id: row for row in tx.all(sa.select(t.inbox_message))}
    assert {"zhang", "li"} <= set(messages)
    assert messages["zhang"].subject == "【临期预警】工作日任务将到期，共1项"
    assert "10月10日24:00到期" in messages["zhang"].text


def test_what_is_past_is_not_told_and_other_days_are_quiet(office: Services, clock: FakeClock):
    clock.set(at("2026-10-09 09:01"))
    assert ensure_workday_reminders(office) == 0
    clock.set(at("2026-10-11 00:05"))  # a Sunday
    assert ensure_workday_reminders(office) == 0


def test_a_duty_is_the_topmost_units_and_no_other_citys(office: Services, clock: FakeClock):
    with office.store.reading() as tx:
        bound = packs_by_unit(tx, clock().date())
    assert "cn-321300-suqian-2017" in {pack.id for pack in bound["office"]}
    assert "water" not in bound
    assert not {pack.id for packs in bound.values() for pack in packs} & {"cn-520200-liupanshui-2017"}


def test_a_calendar_warning_names_only_the_duties_of_the_cities_in_use(office: Services, clock: FakeClock):
    roster_admin.grant_access(office, OPERATOR, "qian", "administrator", "office")
    clock.set(at("2026-11-22 09:00"))
    with office.store.transaction("test") as tx:
        for pack, duty in (("cn-321300-suqian-2017", "SQ-17"), ("cn-530600-zhaotong-2017", "ZT-31")):
            due = {"due_at": at("2027-01-06 00:00"), "provisional": True, "calendar": [], "computed_at": tx.now}
            tx.run(t.obligation_due.insert().values(pack_id=pack, obligation_id=duty, period="示例", **due))
    assert ensure_calendar_warning(office)
    with office.store.reading() as tx:
        detail = tx.value(sa.select(t.timed_action.c.detail).where(t.timed_action.c.step_id == "calendar"))
    (named,) = [line for line in detail["lines"] if line.startswith("暂定期限")]
    assert "SQ-17" in named
    assert "ZT-31" not in named
