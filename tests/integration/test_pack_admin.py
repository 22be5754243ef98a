"""Rule packs and calendars as operators keep them: looked at, taken in whole or not at all, given back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.calendar_loader import CALENDARS_DIRECTORY
from config.loader import RULES_DIRECTORY
from huiying.domain.access import AccessRole
from huiying.domain.errors import BadRulePack, Forbidden, NotFound, Refused
from huiying.service import calendars, pack_admin, rulebook
from huiying.store import tables as t
from tests.fakes.house import OPERATOR, House, acting, house, house_template

__all__ = ["house", "house_template"]

PACK = "cn-520200-liupanshui-2017"
FILE = (RULES_DIRECTORY / f"{PACK}.yaml").read_text("utf-8")
BOSS = acting("boss", AccessRole.ADMINISTRATOR)


def edited(old: str, new: str) -> bytes:
    assert old in FILE
    return FILE.replace(old, new).encode()


SHORTER = edited("limit: PT5H", "limit: PT4H")


def audit_actions(house: House, subject: str) -> list[str]:
    with house.services.store.reading() as tx:
        return [row.action for row in tx.all(sa.select(t.audit).where(t.audit.c.subject == subject))]


def test_all_shipped_packs_are_listed_with_what_is_unverified(house: House):
    listed = {pack["id"]: pack for pack in pack_admin.list_packs(house.services)}
    assert set(listed) == {path.stem for path in RULES_DIRECTORY.glob("*.yaml")}
    national = listed["cn-gbf-2016-61"]
    assert national["in_force"]
    assert len(national["unverified"]) == 2


def test_a_clock_is_shown_with_clause_quote_body_limit_and_consequence(house: House):
    shown = pack_admin.show_pack(house.services, "cn-gbf-2016-61")
    rule = next(rule for rule in shown["rules"] if rule["rule"] == "press_conference")
    assert rule["quote"] == "最迟应在24小时内举行新闻发布会"
    assert (rule["clause"], rule["limit"], rule["status_zh"]) == ("三", "24 小时", "文件明定")
    assert (rule["anchor"], rule["anchor_stated"]) == ("事发时间", False)
    assert rule["satisfied_by"] == ["新闻发布会"]
    assert rule["measures"] == ["约谈", "会同监察机关追责"]
    assert rule["applies"] == {"include": ["突发事件", "特别重大、重大"], "exclude": []}
    assert "办公厅" in rule["responsible"]


def test_a_changed_pack_is_checked_taken_in_compared_and_given_back(house: House):
    before = pack_admin.show_pack(house.services, PACK)["version"]
    looked = pack_admin.check_pack(house.services, SHORTER, "上传.yaml")
    changed = [(f["field"], f["before"], f["after"]) for d in looked["differences"] for f in d["fields"]]
    assert ("limit", "5 小时", "4 小时") in changed
    assert pack_admin.show_pack(house.services, PACK)["version"] == before

    made = pack_admin.import_pack(house.services, BOSS, SHORTER, "上传.yaml")
    shown = pack_admin.show_pack(house.services, PACK)
    assert shown["version"] == made["version"] != before
    assert shown["own"]
    compared = pack_admin.compare(house.services, PACK, before, made["version"])
    assert compared["differences"] == looked["differences"]
    assert "pack.imported" in audit_actions(house, f"pack:{PACK}")

    rulebook.sync(house.services)
    assert pack_admin.show_pack(house.services, PACK)["version"] == made["version"]
    assert pack_admin.reset_pack(house.services, BOSS, PACK) == {"pack": PACK, "shipped": True}
    assert pack_admin.show_pack(house.services, PACK)["version"] == before
    with pytest.raises(Refused):
        pack_admin.reset_pack(house.services, BOSS, PACK)


def test_nothing_of_a_bad_pack_is_taken_and_every_fault_has_file_line_and_key(house: House):
    bad = edited("limit: PT5H", "limit: 五小时")
    looked = pack_admin.check_pack(house.services, bad, "坏.yaml")
    line = 1 + bad.decode().split("limit: 五小时")[0].count("\n")
    assert not looked["ok"]
    finding = next(finding for finding in looked["findings"] if finding["key"].endswith(".limit"))
    assert (finding["file"], finding["line"]) == ("坏.yaml", line)
    assert "时长" in finding["message_zh"]
    with house.services.store.reading() as tx:
        before = tx.value(sa.select(sa.func.count()).select_from(t.pack))
    with pytest.raises(BadRulePack):
        pack_admin.import_pack(house.services, BOSS, bad, "坏.yaml")
    with house.services.store.reading() as tx:
        assert tx.value(sa.select(sa.func.count()).select_from(t.pack)) == before
        assert rulebook.own_packs(tx) == {}


def test_an_own_pack_that_came_with_nothing_goes_out_of_use_when_given_back(house: House):
    own = edited(f"id: {PACK}", "id: cn-990100-own-2017")
    assert pack_admin.check_pack(house.services, own, "自备.yaml")["new"]
    pack_admin.import_pack(house.services, BOSS, own, "自备.yaml")
    assert "cn-990100-own-2017" in {pack["id"] for pack in pack_admin.list_packs(house.services)}
    assert pack_admin.reset_pack(house.services, BOSS, "cn-990100-own-2017")["shipped"] is False
    assert "cn-990100-own-2017" not in {pack["id"] for pack in pack_admin.list_packs(house.services)}
    # What ran by it can still be read.
    assert pack_admin.show_pack(house.services, "cn-990100-own-2017")["version"]


def test_a_yearly_pack_is_confirmed_once_for_the_year(house: House):
    listed = {pack["id"]: pack for pack in pack_admin.list_packs(house.services)}
    waiting = next(pack_id for pack_id, pack in listed.items() if pack["awaits_confirmation"])
    year = pack_admin.confirm_pack(house.services, BOSS, waiting)["year"]
    after = {pack["id"]: pack for pack in pack_admin.list_packs(house.services)}[waiting]
    assert (after["awaits_confirmation"], after["confirmed"]) == (False, True)
    with pytest.raises(Refused):
        pack_admin.confirm_pack(house.services, BOSS, waiting)
    with pytest.raises(Refused):
        pack_admin.confirm_pack(house.services, BOSS, "cn-gbf-2016-61")
    assert audit_actions(house, f"pack:{waiting}").count("pack.confirmed") == 1
    house.clock.advance(timedelta(days=370))
    again = {pack["id"]: pack for pack in pack_admin.list_packs(house.services)}[waiting]
    assert again["awaits_confirmation"], year


@pytest.mark.parametrize("role", [role for role in AccessRole if role is not AccessRole.ADMINISTRATOR])
def test_only_the_administrator_changes_rules(house: House, role: AccessRole):
    actor = acting("zhang", role)
    for change in (
        lambda: pack_admin.import_pack(house.services, actor, SHORTER, "上传.yaml"),
        lambda: pack_admin.confirm_pack(house.services, actor, PACK),
        lambda: pack_admin.reset_pack(house.services, actor, PACK),
    ):
        with pytest.raises(Forbidden):
            change()


def test_an_unknown_pack_or_version_is_not_found(house: House):
    with pytest.raises(NotFound):
        pack_admin.show_pack(house.services, "no-such-pack")
    with pytest.raises(NotFound):
        pack_admin.compare(house.services, PACK, "ffffffffffff", "")


# -- calendars ---------------------------------------------------------------------------------------------------------


def calendar_file(name: str = "cn-2026.yaml") -> str:
    return (CALENDARS_DIRECTORY / name).read_text("utf-8")


def test_an_import_is_looked_at_first_and_moves_exactly_the_due_dates_that_were_announced(house: House):
    text = (
        calendar_file()
        .replace("2026.1", "2026.2")
        .replace("'2026-10-07']", "'2026-10-07', '2026-10-08', '2026-10-09']")
    )
    looked = calendars.check_calendar(house.services, text.encode(), "放假.yaml")
    (year,) = looked["years"]
    assert [(c["date"].isoformat(), c["before"], c["after"]) for c in year["changes"]] == [
        ("2026-10-08", "work", "holiday"),
        ("2026-10-09", "work", "holiday"),
    ]
    assert looked["moves"] > 0
    assert calendars.replaced_due_dates(house.services) == []
    done = rulebook.import_calendar(house.services, OPERATOR, text.encode(), "放假.yaml")
    assert done["recomputed"] == looked["moves"]
    kept = calendars.replaced_due_dates(house.services)
    assert sorted((row["obligation"], row["before"], row["after"]) for row in kept) == sorted(
        (row["obligation"], row["before"], row["after"]) for row in looked["moved"]
    )
    assert calendars.show_year(house.services, 2026)["version"] == "2026.2"
    assert calendars.show_year(house.services, 2026, "2026.1")["version"] == "2026.1"


def test_the_first_calendar_of_a_year_settles_provisional_due_dates(house: House):
    lines = [
        "date,kind",
        *(f"2027-{day},holiday" for day in ("01-01", "02-05", "02-08", "02-09", "02-10", "02-11", "02-12")),
    ]
    data = "\n".join(lines).encode()
    house.clock.advance(timedelta(days=400))
    looked = calendars.check_calendar(house.services, data, "放假.csv", "某通知")
    assert looked["ok"], looked
    assert looked["years"][0]["source_notice"] == "某通知"
    assert looked["years"][0]["before"] == ""
    rulebook.import_calendar(house.services, OPERATOR, data, "放假.csv", "某通知")
    assert calendars.show_year(house.services, 2027)["source_notice"] == "某通知"


def test_a_bad_calendar_is_refused_with_its_lines(house: House):
    looked = calendars.check_calendar(house.services, b"date,kind\n2027-02-30,holiday\n2027-01-01,feast\n", "坏.csv")
    assert not looked["ok"]
    assert {finding["line"] for finding in looked["findings"]} == {2, 3}


def test_an_unknown_year_is_not_found(house: House, tmp_path: Path):
    with pytest.raises(NotFound):
        calendars.show_year(house.services, 2090)
