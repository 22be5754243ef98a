"""What the operators set up: units, people, roster, access, channels, tokens; on both stores."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
import sqlalchemy as sa

from huiying.domain.access import AccessRole
from huiying.domain.errors import (
    Conflict,
    Forbidden,
    HuiyingError,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    Refused,
)
from huiying.domain.outcome import Accepted, Permanent
from huiying.service import channels, people, roster_admin, sessions, tokens
from huiying.service.actor import Actor
from huiying.service.hashing import hash_password
from huiying.service.joining import join
from huiying.service.roster_admin import ShiftInput
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, acting, cheap_passwords, furnish, make_services

__all__ = ["cheap_passwords"]

_SECRET = "whsec_" + "QUJD" * 8
pytestmark = pytest.mark.usefixtures("cheap_passwords")


class Postbox:
    """A notifier that keeps what it was given."""

    def __init__(self, outcome: object = None) -> None:
        self.sent: list[tuple[Any, Any]] = []
        self.outcome = outcome or Accepted("p-1")
        self.configs: list[Any] = []

    def __call__(self, config):
        self.configs.append(config)
        return self

    def send(self, notice, to, now, deadline_seconds):
        self.sent.append((notice, to))
        return self.outcome

    def close(self):
        pass


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def services(store: Store, tmp_path: Path, postbox: Postbox) -> Services:
    made = make_services(store, tmp_path, postbox)
    furnish(made)
    return made


@pytest.fixture
def on_sqlite(sqlite_store: Store, tmp_path: Path, postbox: Postbox) -> Services:
    """For what is decided before the database is asked."""
    made = make_services(sqlite_store, tmp_path, postbox)
    furnish(made)
    return made


def everything_stored(store: Store) -> str:
    """All rows of all tables as one text, to look for what must not be there."""
    with store.reading() as tx:
        return "\n".join(str(tuple(row)) for table in t.metadata.sorted_tables for row in tx.all(sa.select(table)))


# -- units and people ----------------------------------------------------------------------------------------------


def test_a_telephone_number_is_sealed_masked_and_shown_only_to_who_may_call(services: Services):
    number, address = "13912345678", "canary@example.gov.cn"
    people.add_person(services, OPERATOR, "sun", name="孙六", unit_id="water", mobile=number, email=address)
    assert number not in everything_stored(services.store)
    assert address not in everything_stored(services.store)
    shown = people.show_person(services, OPERATOR, "sun")
    assert (shown["mobile"], shown["email"]) == ("139****5678", "c***@example.gov.cn")
    duty = acting("zhang", AccessRole.DUTY, units=("office",))
    assert people.show_person(services, duty, "sun", reveal=True)["mobile"] == number
    with pytest.raises(Forbidden):
        people.show_person(services, acting("boss", AccessRole.ADMINISTRATOR), "sun", reveal=True)


def test_looking_at_a_number_in_clear_is_audited_without_the_number(services: Services):
    people.list_people(services, OPERATOR, reveal=True)
    with services.store.reading() as tx:
        entry = tx.one(sa.select(t.audit).order_by(t.audit.c.seq.desc()))
    assert entry is not None
    assert entry.action == "person.revealed"
    assert "13800001234" not in entry.payload
    assert "zhang" in entry.payload


def test_a_person_id_is_taken_once(services: Services):
    with pytest.raises(Conflict):
        people.add_person(services, OPERATOR, "zhang", name="另一人", unit_id="office")


@pytest.mark.parametrize("person_id", ["unassigned", "local", "张一", "a b", "", "-x", "x" * 65])
def test_reserved_and_unreadable_ids_are_refused(on_sqlite: Services, person_id: str):
    with pytest.raises(InvalidInput) as refused:
        people.add_person(on_sqlite, OPERATOR, person_id, name="某人", unit_id="office")
    assert refused.value.field == "id"


@pytest.mark.parametrize("mobile", ["一三八", "138\x0000001234", "138\n00001234", "12"])
def test_what_is_no_telephone_number_is_refused_with_its_field(on_sqlite: Services, mobile: str):
    with pytest.raises(InvalidInput) as refused:
        people.edit_person(on_sqlite, OPERATOR, "zhang", mobile=mobile)
    assert refused.value.field == "mobile"
    assert people.show_person(on_sqlite, OPERATOR, "zhang")["mobile"] == "138****1234"


def test_a_unit_is_never_above_itself_and_not_closed_over_its_people(on_sqlite: Services):
    with pytest.raises(InvalidInput):
        people.edit_unit(on_sqlite, OPERATOR, "office", parent_id="water")
    with pytest.raises(Refused, match="5 名在用人员"):
        people.edit_unit(on_sqlite, OPERATOR, "office", active=False)


def test_who_leaves_loses_tokens_and_shifts_ahead(services: Services, clock: FakeClock):
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    token = tokens.exchange_password(services, "zhang", password)["token"]
    begin = clock() + timedelta(hours=1)
    roster_admin.add_shift(
        services, OPERATOR, ShiftInput("office", "duty_officer", "zhang", begin, begin + timedelta(hours=8))
    )
    people.edit_person(services, OPERATOR, "zhang", active=False)
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(services, token)
    assert roster_admin.list_shifts(services, OPERATOR) == []


def test_an_administrator_of_one_unit_does_not_reach_another(on_sqlite: Services):
    local = acting("sun", AccessRole.ADMINISTRATOR, units=("water",))
    assert [unit["id"] for unit in people.list_units(on_sqlite, local)] == ["water"]
    people.add_unit(on_sqlite, local, "water-1", name="供水处", parent_id="water")
    with pytest.raises(Forbidden):
        people.add_unit(on_sqlite, local, "health-1", name="医政处", parent_id="health")
    with pytest.raises((Forbidden, NotFound)):
        people.add_unit(on_sqlite, local, "free", name="无上级")
    with pytest.raises(Forbidden):
        people.edit_person(on_sqlite, local, "zhang", name="改名")


# -- duties, access, shifts ----------------------------------------------------------------------------------------


def test_three_administrators_are_three_people(services: Services):
    roster_admin.grant_access(services, OPERATOR, "zhang", "administrator", "office")
    for role in ("approver", "auditor", "duty"):
        with pytest.raises(Refused, match="三员分立"):
            roster_admin.grant_access(services, OPERATOR, "zhang", role, "office")
    assert [row["role"] for row in roster_admin.list_access(services, OPERATOR)] == ["administrator"]


def test_nobody_widens_the_own_account_and_the_last_administrator_stays(services: Services):
    roster_admin.grant_access(services, OPERATOR, "zhang", "administrator", "office")
    admin = acting("zhang", AccessRole.ADMINISTRATOR)
    with pytest.raises(Forbidden):
        roster_admin.grant_access(services, admin, "zhang", "administrator", "water")
    with pytest.raises(Refused, match="最后一名管理员"):
        roster_admin.revoke_access(services, OPERATOR, "zhang", "administrator", "office")
    roster_admin.grant_access(services, admin, "li", "administrator", "office")
    roster_admin.revoke_access(services, OPERATOR, "zhang", "administrator", "office")


def test_roles_that_would_reach_unclearly_far_are_refused(on_sqlite: Services):
    roster_admin.grant_access(on_sqlite, OPERATOR, "zhang", "handler", "water")
    with pytest.raises(Refused, match="范围不清"):
        roster_admin.grant_access(on_sqlite, OPERATOR, "zhang", "head", "office")
    roster_admin.grant_access(on_sqlite, OPERATOR, "zhang", "head", "water")


def test_the_chinese_name_of_a_duty_is_as_good_as_its_word(on_sqlite: Services):
    roster_admin.add_duty(on_sqlite, OPERATOR, "zhang", "联络员", "water")
    with pytest.raises(Conflict):
        roster_admin.add_duty(on_sqlite, OPERATOR, "zhang", "liaison", "water")
    with pytest.raises(InvalidInput, match="没有「厨师」这种职责"):
        roster_admin.add_duty(on_sqlite, OPERATOR, "zhang", "厨师", "water")
    roster_admin.remove_duty(on_sqlite, OPERATOR, "zhang", "liaison", "water")
    with pytest.raises(NotFound):
        roster_admin.remove_duty(on_sqlite, OPERATOR, "zhang", "liaison", "water")


def rows_of(error: InvalidInput) -> list[dict[str, Any]]:
    rows = error.details["rows"]
    assert isinstance(rows, list)
    return rows


def shift(clock: FakeClock, start: int, end: int, person_id: str = "zhang") -> ShiftInput:
    return ShiftInput(
        "office", "duty_officer", person_id, clock() + timedelta(hours=start), clock() + timedelta(hours=end)
    )


def test_shifts_touch_and_never_overlap_for_one_person(services: Services, clock: FakeClock):
    roster_admin.add_shift(services, OPERATOR, shift(clock, 0, 8))
    roster_admin.add_shift(services, OPERATOR, shift(clock, 8, 16))
    with pytest.raises(Conflict, match="时间重叠"):
        roster_admin.add_shift(services, OPERATOR, shift(clock, 7, 9))
    roster_admin.add_shift(services, OPERATOR, shift(clock, 7, 9, "li"))


@pytest.mark.parametrize(("start", "end"), [(8, 8), (9, 8), (0, 24 * 8)])
def test_impossible_shifts_are_refused(on_sqlite: Services, clock: FakeClock, start: int, end: int):
    with pytest.raises(InvalidInput):
        roster_admin.add_shift(on_sqlite, OPERATOR, shift(clock, start, end))


def test_a_shift_is_cancelled_once(services: Services, clock: FakeClock):
    made = roster_admin.add_shift(services, OPERATOR, shift(clock, 0, 8))
    roster_admin.cancel_shift(services, OPERATOR, made["id"])
    with pytest.raises(Refused):
        roster_admin.cancel_shift(services, OPERATOR, made["id"])
    assert roster_admin.list_shifts(services, OPERATOR) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_roster_table_is_taken_in_as_offices_write_it(on_sqlite: Services, encoding: str):
    table = "单位,职责,人员,开始,结束\noffice,值班员,zhang,2025/6/3 08:30,2025-06-03 20:30\n\n"
    assert roster_admin.import_shifts(on_sqlite, OPERATOR, table.encode(encoding))["imported"] == 1
    (found,) = roster_admin.list_shifts(on_sqlite, OPERATOR)
    assert found["starts_at"] == "2025-06-03T08:30:00+08:00"


@pytest.mark.parametrize("person", ["zhang", "张一", "张一（zhang）", "张一 (zhang)"])
@pytest.mark.parametrize("unit", ["office", "示例市政务公开办"])
def test_a_roster_table_names_people_and_units_by_id_or_by_name(on_sqlite: Services, unit: str, person: str):
    table = f"单位,职责,人员,开始,结束\n{unit},值班员,{person},2025/6/3 08:30,2025-06-03 20:30\n"
    assert roster_admin.import_shifts(on_sqlite, OPERATOR, table.encode())["imported"] == 1
    (found,) = roster_admin.list_shifts(on_sqlite, OPERATOR)
    assert (found["unit_id"], found["person_id"]) == ("office", "zhang")


def test_a_name_that_several_bear_is_refused_with_those_it_could_mean(services: Services):
    people.add_person(services, OPERATOR, "zhang2", name="张一", unit_id="water")
    people.add_unit(services, OPERATOR, "water2", name="示例市水务局", parent_id="office")
    rows = [
        "单位,职责,人员,开始,结束",
        "office,值班员,张一,2025-06-03 08:00,2025-06-03 20:00",
        "示例市水务局,值班员,李二,2025-06-03 08:00,2025-06-03 20:00",
        "office,值班员,张一(li),2025-06-03 08:00,2025-06-03 20:00",
    ]
    with pytest.raises(InvalidInput) as refused:
        roster_admin.import_shifts(services, OPERATOR, "\n".join(rows).encode())
    first, second, third = rows_of(refused.value)
    assert (first["field"], second["field"], third["field"]) == ("person_id", "unit_id", "person_id")
    assert "zhang（示例市政务公开办）、zhang2（示例市水务局）" in str(first["message"])
    assert "water、water2" in str(second["message"])
    assert roster_admin.list_shifts(services, OPERATOR) == []
    people.edit_person(services, OPERATOR, "zhang2", active=False)
    people.edit_unit(services, OPERATOR, "water2", active=False)
    assert roster_admin.import_shifts(services, OPERATOR, "\n".join(rows[:3]).encode())["imported"] == 2


def test_names_of_units_that_the_actor_does_not_see_are_not_looked_up(services: Services):
    below = acting("unten", AccessRole.ADMINISTRATOR, units=("water",))
    row = "单位,职责,人员,开始,结束\nwater,值班员,%s,2025-06-03 08:00,2025-06-03 20:00"
    with pytest.raises(InvalidInput) as refused:
        roster_admin.import_shifts(services, below, (row % "张一").encode())
    assert "没有编号或姓名为「张一」" in str(rows_of(refused.value)[0]["message"])
    assert roster_admin.import_shifts(services, below, (row % "zhang").encode())["imported"] == 1


def test_one_bad_row_stops_the_whole_table_and_is_named(services: Services):
    rows = [
        "unit_id,role,person_id,starts_at,ends_at",
        "office,duty_officer,zhang,2025-06-03 08:00,2025-06-03 20:00",
        "office,duty_officer,nobody,2025-06-03 20:00,2025-06-04 08:00",
        "nowhere,duty_officer,li,2025-06-03 20:00,2025-06-04 08:00",
        "office,duty_officer,zhang,2025-06-03 19:00,2025-06-04 08:00",
    ]
    with pytest.raises(InvalidInput) as refused:
        roster_admin.import_shifts(services, OPERATOR, "\n".join(rows).encode())
    assert [error["row"] for error in rows_of(refused.value)] == [3, 4, 5]
    assert roster_admin.list_shifts(services, OPERATOR) == []


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'"', b"x" * (1024 * 1024 + 1)])
def test_what_is_no_table_is_refused(on_sqlite: Services, data: bytes):
    with pytest.raises(InvalidInput) as refused:
        roster_admin.import_shifts(on_sqlite, OPERATOR, data)
    assert refused.value.field == "file"


# -- tokens --------------------------------------------------------------------------------------------------------


def test_the_first_password_becomes_a_token_once(services: Services):
    roster_admin.grant_access(services, OPERATOR, "zhang", "duty", "office")
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    made = tokens.exchange_password(services, "zhang", password)
    actor = tokens.authenticate(services, made["token"])
    assert (actor.id, actor.person_id, actor.units) == ("person:zhang", "zhang", frozenset({"office"}))
    assert "register" in actor.permissions
    assert "approve" not in actor.permissions
    with pytest.raises(NotAuthenticated):
        tokens.exchange_password(services, "zhang", password)
    stored = everything_stored(services.store)
    assert made["token"] not in stored
    assert password not in stored


def test_a_new_password_ends_the_earlier_one(services: Services):
    first = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    second = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    with pytest.raises(NotAuthenticated):
        tokens.exchange_password(services, "zhang", first)
    tokens.exchange_password(services, "zhang", second)


def test_five_wrong_passwords_close_the_door_for_a_quarter_of_an_hour(services: Services, clock: FakeClock):
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    sentences = set()
    for _ in range(tokens.FAILURES_ALLOWED):
        with pytest.raises(NotAuthenticated) as refused:
            tokens.exchange_password(services, "zhang", "wrong")
        sentences.add(refused.value.message)
        clock.advance(timedelta(minutes=1))
    with pytest.raises(NotAuthenticated) as refused:
        tokens.exchange_password(services, "zhang", password)
    with pytest.raises(NotAuthenticated) as unknown:
        tokens.exchange_password(services, "nobody", "wrong")
    sentences |= {refused.value.message, unknown.value.message}
    assert len(sentences) == 1
    with services.store.reading() as tx:
        actions = [row.action for row in tx.all(sa.select(t.audit.c.action).where(t.audit.c.action.like("password.%")))]
    assert actions.count("password.locked") == 1
    clock.advance(tokens.LOCK_WINDOW)
    tokens.exchange_password(services, "zhang", password)


OWN = "Lake-7-lantern"


def give_own_password(services: Services, person_id: str, **more: Any) -> None:
    row = {"person_id": person_id, "password_hash": hash_password(OWN), **more}
    with services.store.transaction("test") as tx:
        tx.run(t.account.insert().values(**row, changed_at=tx.now))


def test_ones_own_password_becomes_a_token_and_stays_ones_password(services: Services):
    give_own_password(services, "zhang")
    for _ in range(2):
        made = tokens.exchange_password(services, "zhang", OWN)
        assert tokens.authenticate(services, made["token"]).person_id == "zhang"
        assert not made["used_up"]
    one_time = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    assert tokens.exchange_password(services, "zhang", OWN)["token"]
    assert tokens.exchange_password(services, "zhang", one_time)["used_up"]


def test_ones_own_password_becomes_no_token_without_the_second_factor(services: Services, clock: FakeClock):
    secret = pyotp.random_base32()
    give_own_password(services, "zhang", totp_sealed=services.sealer.seal(secret), totp_since=clock())
    with pytest.raises(NotAuthenticated, match="须同时提供动态口令"):
        tokens.exchange_password(services, "zhang", OWN)
    with pytest.raises(NotAuthenticated, match="不正确"):
        tokens.exchange_password(services, "zhang", OWN, code="000000")
    code = pyotp.TOTP(secret).at(clock())
    assert tokens.exchange_password(services, "zhang", OWN, code=code)["token"]


def test_what_the_desk_would_ask_for_first_is_done_at_the_desk_first(store: Store, tmp_path: Path, clock: FakeClock):
    services = make_services(store, tmp_path, password_max_days=90)
    furnish(services)
    roster_admin.grant_access(services, OPERATOR, "wang", "approver", "office")
    for person_id, more in (("wang", {}), ("zhao", {"must_change": True}), ("zhang", {})):
        give_own_password(services, person_id, **more)
    assert tokens.exchange_password(services, "zhang", OWN)["token"]
    clock.advance(timedelta(days=90))
    for person_id in ("wang", "zhao", "zhang"):
        with pytest.raises(Refused, match="先登录值班台"):
            tokens.exchange_password(services, person_id, OWN)


def test_who_guesses_a_password_finds_one_door_wherever_they_knock(services: Services, clock: FakeClock):
    give_own_password(services, "zhang")
    for _ in range(4):
        with pytest.raises(NotAuthenticated):
            sessions.sign_in(services, "zhang", "wrong", "10.0.0.1")
    for person_id in ("zhang", "nobody"):
        with pytest.raises(NotAuthenticated):
            tokens.exchange_password(services, person_id, "wrong")
    with pytest.raises(NotAuthenticated, match="已锁定"):
        sessions.sign_in(services, "zhang", OWN, "10.0.0.1")
    with pytest.raises(NotAuthenticated):
        tokens.exchange_password(services, "zhang", OWN)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            tokens.exchange_password(services, "typed-by-mistake", "wrong")
    assert "typed-by-mistake" not in everything_stored(services.store), "it may have been a password"
    clock.advance(timedelta(minutes=15))
    assert tokens.exchange_password(services, "zhang", OWN)["token"]


def test_failures_a_quarter_of_an_hour_apart_close_nothing(services: Services, clock: FakeClock):
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    for _ in range(tokens.FAILURES_ALLOWED + 1):
        with pytest.raises(NotAuthenticated):
            tokens.exchange_password(services, "zhang", "wrong")
        clock.advance(tokens.LOCK_WINDOW / 2)
    tokens.exchange_password(services, "zhang", password)


def test_a_token_ends_with_its_time_its_revocation_and_its_scope(services: Services, clock: FakeClock):
    roster_admin.grant_access(services, OPERATOR, "zhang", "duty", "office")
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    scopes = ["read", "acknowledge", tokens.ISSUE]
    made = tokens.exchange_password(services, "zhang", password, days=1, scopes=scopes)
    actor = tokens.authenticate(services, made["token"])
    narrow = tokens.create_token(services, actor, name="看板", scopes=["read"], days=365)
    assert tokens.authenticate(services, narrow["token"]).permissions == {"read"}
    with pytest.raises(Forbidden, match="不能超出"):
        tokens.create_token(services, actor, name="更宽", scopes=["register"])
    like = tokens.create_token(services, actor, name="不写范围")
    assert like["scopes"] == ["acknowledge", "read"]
    clock.advance(timedelta(days=1))
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(services, made["token"])
    tokens.revoke_token(services, actor, narrow["id"])
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(services, narrow["token"])


@pytest.mark.parametrize("days", [0, 366, -1])
def test_a_token_lives_at_most_a_year(on_sqlite: Services, days: int):
    with pytest.raises(InvalidInput):
        tokens.exchange_password(on_sqlite, "zhang", "x", days=days)


def test_a_token_has_no_offspring_unless_it_was_made_for_that(services: Services):
    roster_admin.grant_access(services, OPERATOR, "zhang", "duty", "office")

    def exchanged(*scopes: str) -> Actor:
        password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
        made = tokens.exchange_password(services, "zhang", password, scopes=scopes)
        return tokens.authenticate(services, made["token"])

    for actor in (exchanged(), exchanged("read")):  # not even with everything the person may do
        with pytest.raises(Forbidden, match="用令牌不能再办令牌"):
            tokens.create_token(services, actor, name="后代", scopes=["read"])
    parent = exchanged("read", tokens.ISSUE)
    child = tokens.create_token(services, parent, name="后代")
    grandchild = tokens.authenticate(services, child["token"])
    assert (grandchild.permissions, grandchild.issues_tokens) == (frozenset({"read"}), False)
    with pytest.raises(Forbidden, match="用令牌不能再办令牌"):
        tokens.create_token(services, grandchild, name="再后代")
    # One that may do nothing but make tokens must not make one without a scope, which would stand for everything.
    with pytest.raises(Forbidden, match="没有任何权限"):
        tokens.create_token(services, exchanged(tokens.ISSUE), name="全部")


def test_nobody_makes_a_token_for_somebody_else(services: Services):
    with pytest.raises(Forbidden):
        tokens.create_token(services, OPERATOR, name="代办")
    password = tokens.issue_password(services, OPERATOR, "li")["password"]
    other = tokens.exchange_password(services, "li", password)
    with pytest.raises(NotFound):
        tokens.revoke_token(services, acting("zhang", AccessRole.DUTY), other["id"])
    with pytest.raises(Forbidden):
        tokens.list_tokens(services, acting("zhang", AccessRole.DUTY), "li")


@pytest.mark.parametrize("secret", ["", "hy_", "hy_" + "x" * 43, "\ud800", "x" * 100_000, "' OR 1=1"])
def test_what_is_no_token_is_refused_with_one_sentence(on_sqlite: Services, secret: str):
    with pytest.raises(NotAuthenticated) as refused:
        tokens.authenticate(on_sqlite, secret)
    assert refused.value.message == tokens.REFUSED_BEARER


def test_use_is_noted_once_a_minute(services: Services, clock: FakeClock):
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    token = tokens.exchange_password(services, "zhang", password)["token"]
    first = clock()
    tokens.authenticate(services, token)
    clock.advance(timedelta(seconds=59))
    tokens.authenticate(services, token)
    (view,) = tokens.list_tokens(services, OPERATOR)
    assert datetime.fromisoformat(view["last_used_at"]).astimezone(UTC) == first
    clock.advance(timedelta(seconds=1))
    tokens.authenticate(services, token)
    (view,) = tokens.list_tokens(services, OPERATOR)
    assert datetime.fromisoformat(view["last_used_at"]).astimezone(UTC) == clock()


# -- channels ------------------------------------------------------------------------------------------------------

CANARY = "SEC0canary0canary0canary0canary"


def add_robot(services: Services, **settings: object) -> dict[str, Any]:
    url = f"https://hook.example.gov.cn/robot/send?access_token={CANARY}"
    return channels.add_channel(
        services, OPERATOR, "hook", kind="webhook", settings={"url": url, "secret": _SECRET, **settings}
    )


@pytest.mark.parametrize("wrong", [{"duties": ["duty_officer", "astronaut"]}, {"access": ["duty", "auditor"]}])
def test_a_new_colleague_is_taken_in_whole_or_not_at_all(services: Services, wrong: dict[str, Any]):
    with pytest.raises(HuiyingError):
        join(services, OPERATOR, "sun", name="孙七", unit_id="office", password=True, **wrong)
    with pytest.raises(NotFound):
        people.show_person(services, OPERATOR, "sun")
    made = join(
        services, OPERATOR, "sun", name="孙七", unit_id="office", duties=["值班员"], access=["duty"], password=True
    )
    assert [held["role"] for held in made["duties"]] == ["duty_officer"]
    assert tokens.exchange_password(services, "sun", made["password"])["token"]


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/x", "https://0x7f.1/x", "https://localhost/x", "https://169.254.169.254/", "https://10.1.2.3/"],
)
def test_an_address_into_the_house_is_refused_when_it_is_saved(on_sqlite: Services, url: str):
    with pytest.raises(InvalidInput) as refused:
        channels.add_channel(on_sqlite, OPERATOR, "hook", kind="webhook", settings={"url": url, "secret": _SECRET})
    assert refused.value.field == "settings.url"
    good = {"url": "https://hook.example.cn/x", "secret": _SECRET}
    channels.add_channel(on_sqlite, OPERATOR, "hook", kind="webhook", settings=good)
    with pytest.raises(InvalidInput):
        channels.edit_channel(on_sqlite, OPERATOR, "hook", settings={"url": url})
    inner = {"url": "https://10.1.2.3/x", "allow_cidrs": ["10.1.0.0/16"]}
    assert channels.edit_channel(on_sqlite, OPERATOR, "hook", settings=inner)["secrets"]["url"] == "https://10.1.2.3/…"


@pytest.mark.parametrize("kind", ["dingtalk", "feishu"])
def test_a_robots_own_base_address_into_the_house_is_refused_when_it_is_saved(on_sqlite: Services, kind: str):
    token = "access_token" if kind == "dingtalk" else "token"
    into = {token: CANARY, "base_url": "http://127.1:8080"}
    with pytest.raises(InvalidInput) as refused:
        channels.add_channel(on_sqlite, OPERATOR, "robot", kind=kind, settings=into)
    assert refused.value.field == "settings.base_url"
    assert CANARY not in str(refused.value)
    channels.add_channel(
        on_sqlite, OPERATOR, "robot", kind=kind, settings={**into, "base_url": "https://robots.example.gov.cn"}
    )


def test_a_channels_secrets_are_sealed_and_never_shown(services: Services):
    add_robot(services)
    shown = json.dumps(channels.list_channels(services, OPERATOR), ensure_ascii=False)
    assert "https://hook.example.gov.cn/…" in shown
    for text in (shown, everything_stored(services.store)):
        assert CANARY not in text
        assert "QUJDQUJD" not in text


def test_the_real_notifier_is_given_the_clear_secret_at_a_test(on_sqlite: Services, postbox: Postbox):
    add_robot(on_sqlite)
    result = channels.try_channel(on_sqlite, OPERATOR, "hook")
    assert result["ok"] is True
    assert CANARY in str(postbox.configs[0].settings["url"].reveal())
    (notice, to) = postbox.sent[0]
    assert to.person_id == ""
    assert "测试" in notice.headline


def test_a_failed_test_says_why_without_the_secret(on_sqlite: Services, postbox: Postbox):
    add_robot(on_sqlite)
    postbox.outcome = Permanent(f"https://x/send?access_token={CANARY} 返回 310000", code="310000")
    result = channels.try_channel(on_sqlite, OPERATOR, "hook")
    assert (result["ok"], result["code"]) == (False, "310000")
    assert CANARY not in json.dumps(result, ensure_ascii=False)


def test_the_inbox_is_tried_with_a_named_person_and_is_never_switched_off(on_sqlite: Services, postbox: Postbox):
    with pytest.raises(InvalidInput):
        channels.try_channel(on_sqlite, OPERATOR, "inbox")
    channels.try_channel(on_sqlite, OPERATOR, "inbox", "zhang")
    assert postbox.sent[0][1].person_id == "zhang"
    with pytest.raises(Refused):
        channels.edit_channel(on_sqlite, OPERATOR, "inbox", enabled=False)


def test_wrong_settings_are_refused_whole_with_the_key(on_sqlite: Services):
    with pytest.raises(InvalidInput) as refused:
        channels.add_channel(on_sqlite, OPERATOR, "hook", kind="webhook", settings={"url": "https://a.example"})
    assert refused.value.field == "settings.secret"
    with pytest.raises(InvalidInput):
        channels.add_channel(on_sqlite, OPERATOR, "hook", kind="pigeon")
    assert [channel["id"] for channel in channels.list_channels(on_sqlite, OPERATOR)] == ["inbox"]


def test_a_setting_is_changed_alone_and_lifts_the_parking(services: Services):
    add_robot(services)
    with services.store.transaction("t") as tx:
        tx.run(t.channel.update().values(parked_reason="熔断", failures=5, parked_until=tx.now + timedelta(hours=1)))
    view = channels.edit_channel(services, OPERATOR, "hook", settings={"per_minute": 10})
    assert view["settings"] == {"per_minute": 10}
    assert set(view["secrets"]) == {"url", "secret"}
    assert (view["parked_until"], view["failures"]) == (None, 0)
    view = channels.edit_channel(services, OPERATOR, "hook", settings={"per_minute": None})
    assert view["settings"] == {}


def test_references_to_the_servers_files_are_given_on_its_command_line_only(
    on_sqlite: Services, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + "QUJD" * 8)
    view = add_robot(on_sqlite, secret="env:HOOK_SECRET")
    assert view["secrets"]["secret"] == "env:HOOK_SECRET"
    admin = acting("boss", AccessRole.ADMINISTRATOR)
    with pytest.raises(Forbidden):
        channels.edit_channel(on_sqlite, admin, "hook", settings={"secret": "file:/etc/hostname"})
    with pytest.raises(InvalidInput, match="NOT_THERE"):
        channels.edit_channel(on_sqlite, OPERATOR, "hook", settings={"secret": "env:NOT_THERE"})


# -- the audit -----------------------------------------------------------------------------------------------------


def test_every_change_is_an_entry_and_no_entry_tells_a_secret_or_a_number(services: Services):
    people.add_person(services, OPERATOR, "sun", name="孙六", unit_id="water", mobile="13912345678", email="s@a.cn")
    add_robot(services)
    made = tokens.exchange_password(
        services, "sun", tokens.issue_password(services, OPERATOR, "sun")["password"], name="手机"
    )
    with services.store.reading() as tx:
        entries = tx.all(sa.select(t.audit).order_by(t.audit.c.seq))
    text = "\n".join(row.payload for row in entries)
    for canary in ("13912345678", "s@a.cn", CANARY, made["token"], "孙六"):
        assert canary not in text
    actions = {row.action for row in entries}
    assert {"unit.added", "person.added", "duty.added", "channel.added", "password.issued", "token.created"} <= actions
    assert {row.actor for row in entries} == {"local:tester", "person:sun"}
