"""The sample city: complete, marked everywhere, never leaving the house, never mixed with real data."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.settings import load_settings
from huiying.bootstrap import build
from huiying.domain.access import LOCAL_PERMISSIONS, AccessRole
from huiying.domain.errors import Refused
from huiying.domain.kinds import Kind, TimeKind
from huiying.domain.passwords import fault
from huiying.service import audit, channels, demo, incidents, queries
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.demo_script import SamplePerson
from huiying.service.requests import RegisterRequest, TimeInput
from huiying.service.senders import NoSender, Senders
from huiying.service.services import Services
from huiying.service.sessions import sign_in
from huiying.store import tables as t

LOCAL = Actor("local:tester", permissions=LOCAL_PERMISSIONS, units=EVERYWHERE)


def _outfit(folder: Path, **settings: object) -> Services:
    return build(load_settings(data_dir=folder, prefect_enabled=False, **settings))


def _silent(_line: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory):
    services = _outfit(tmp_path_factory.mktemp("demo"), demo=True, public_url="http://127.0.0.1:8765")
    demo.prepare(services, _silent)
    yield services
    services.store.close()


def _accounts(services: Services) -> dict[str, str]:
    lines = (services.settings.data_dir / demo.ACCOUNTS_FILE).read_text("utf-8").splitlines()
    return {parts[1]: parts[2] for parts in (line.split() for line in lines) if len(parts) == 4}


def _clocks(services: Services) -> list[dict]:
    return [c for i in queries.incident_list(services)["incidents"] for c in _binding(services, i["no"])]


def _binding(services: Services, no: str) -> list[dict]:
    return [clock for clock in queries.view_incident(services, no)["clocks"] if clock["binding"]]


def test_the_clocks_stand_at_every_point_that_a_desk_has_to_show(city):
    clocks = _clocks(city)
    states = {clock["state"] for clock in clocks}
    assert {"running", "breached", "satisfied", "satisfied_late", "waived"} <= states
    left = [clock["remaining_seconds"] for clock in clocks if clock["state"] == "running"]
    assert any(seconds <= 3600 for seconds in left)
    assert any(3600 < seconds <= 4 * 3600 for seconds in left)
    assert any(seconds > 24 * 3600 for seconds in left)


def test_kinds_severities_and_ways_of_ending_are_all_there(city):
    found = queries.incident_list(city)["incidents"]
    assert len(found) >= 12
    severities = {(i["kind"], i["severity"]) for i in found}
    graded = {("emergency", word) for word in ("extra_major", "major", "considerable", "general")}
    assert graded | {("opinion", None), ("emergency", None)} <= severities
    assert {"merged", "closed", "responded", "handling", "registered"} <= {i["state"] for i in found}
    assert len(queries.requests_pending(city)["requests"]) == 1
    assert any("转办" in clock["name"] for clock in _clocks(city))


def test_everything_is_invented_and_says_so(city):
    with city.store.reading() as tx:
        titles = [row.title for row in tx.all(sa.select(t.incident.c.title))]
        units = [row.name for row in tx.all(sa.select(t.unit.c.name))]
        drills = [row.drill for row in tx.all(sa.select(t.incident.c.drill))]
        messages = tx.all(sa.select(t.inbox_message))
    assert all(title.startswith("示例") for title in titles + units)
    assert all(drills)
    assert len(messages) > 100
    assert all(demo.MARK in message.text and "【演练】" in message.subject for message in messages)


def test_reminders_of_the_past_came_at_their_own_instants_and_only_into_inboxes(city):
    with city.store.reading() as tx:
        ways = {row.channel_id for row in tx.all(sa.select(t.delivery.c.channel_id))}
        came = [row.created_at for row in tx.all(sa.select(t.inbox_message.c.created_at))]
        now = tx.now
    assert ways == {"inbox"}
    assert max(came) <= now
    assert max(came) - min(came) > timedelta(hours=48)
    assert len({at.replace(minute=0, second=0, microsecond=0) for at in came}) > 20


def test_the_audit_chain_of_the_history_is_whole(city):
    verdict = audit.verify(city.store)
    assert verdict.ok, verdict


def test_accounts_lie_in_a_private_file_and_open_without_a_second_factor(city):
    path = city.settings.data_dir / demo.ACCOUNTS_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    accounts = _accounts(city)
    assert len(set(accounts.values())) == len(accounts) == 18
    for person in ("zhiban1", "fenguan", "shenji", "guanli"):
        _, session = sign_in(city, person, accounts[person], "127.0.0.1")
        assert session.is_open, person


def test_the_same_account_needs_a_second_factor_where_nothing_says_demo(city):
    plain = Services(
        city.store,
        city.settings.model_copy(update={"demo": False}),
        city.sealer,
        city.server_key,
        city.make_notifier,
    )
    _, session = sign_in(plain, "guanli", _accounts(city)["guanli"], "127.0.0.1")
    assert session.stage == "enrol"
    with pytest.raises(Refused, match="演示数据"):
        demo.refuse_mismatch(plain)


def test_a_second_start_keeps_what_is_there(city):
    before = _accounts(city)
    count = len(queries.incident_list(city)["incidents"])
    assert "示例值班员甲" in demo.prepare(city, _silent)
    assert _accounts(city) == before
    assert len(queries.incident_list(city)["incidents"]) == count


def test_what_is_registered_in_a_demo_never_leaves_the_house(city):
    request = RegisterRequest(
        title="示例事项",
        kind=Kind.OPINION,
        unit_id="main",
        times={TimeKind.DETECTED: TimeInput(city.store.now() - timedelta(minutes=5), "示例来源")},
    )
    made = incidents.register(city, LOCAL, request)
    assert made["drill"] is True


def test_a_demo_takes_no_channel_and_sends_on_none(city):
    with pytest.raises(Refused, match="只进站内收件箱"):
        channels.add_channel(city, LOCAL, "out", kind="webhook", settings={"url": "https://example.org/hook"})
    with city.store.transaction("test") as tx:
        row = {"id": "smuggled", "name": "示例", "kind": "webhook", "audience": "group", "rank": 1}
        tx.run(t.channel.insert().values(**row, settings={"url": "https://example.org/hook"}, secrets_sealed={}))
        found = tx.one(sa.select(t.channel).where(t.channel.c.id == "smuggled"))
        tx.run(t.channel.delete().where(t.channel.c.id == "smuggled"))
    with pytest.raises(NoSender, match="只进站内收件箱"):
        Senders(city).notifier(found)


def test_real_data_is_never_mixed_with_sample_data(tmp_path):
    services = _outfit(tmp_path)
    request = RegisterRequest(
        title="真实事项",
        kind=Kind.OPINION,
        unit_id="main",
        times={TimeKind.DETECTED: TimeInput(services.store.now() - timedelta(minutes=5), "来源")},
    )
    incidents.register(services, LOCAL, request)
    services.store.close()
    with_demo = _outfit(tmp_path, demo=True)
    with pytest.raises(Refused, match="已有 1 个事项"):
        demo.prepare(with_demo, _silent)
    assert len(queries.incident_list(with_demo)["incidents"]) == 1
    assert not (tmp_path / demo.ACCOUNTS_FILE).exists()
    with_demo.store.close()


def test_chance_never_makes_a_password_that_the_rules_refuse(monkeypatch):
    person = SamplePerson("zhiban1", "示例值班员甲", "main", AccessRole.DUTY, ())
    drawn = iter(["AAAA-5479-ddun", "KAEU-5479-ddun"])
    monkeypatch.setattr(demo, "_new_password", lambda: next(drawn))
    assert fault("AAAA-5479-ddun", person.id, person.name)
    assert demo._password_for(person) == "KAEU-5479-ddun"


def test_without_the_setting_nothing_is_made(tmp_path):
    services = _outfit(tmp_path)
    with pytest.raises(Refused, match="HUIYING_DEMO"):
        demo.prepare(services, _silent)
    services.store.close()


def test_the_setting_alone_takes_no_second_factor_away_from_real_data(tmp_path):
    _outfit(tmp_path).store.close()
    services = _outfit(tmp_path, demo=True)
    with pytest.raises(Refused, match="不是演示数据"):
        demo.refuse_mismatch(services)
    services.store.close()


def test_what_was_interrupted_is_not_taken_for_complete(tmp_path, monkeypatch):
    services = _outfit(tmp_path, demo=True)
    monkeypatch.setattr(demo, "_furnish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        demo.prepare(services, _silent)
    monkeypatch.undo()
    with pytest.raises(Refused, match="中断"):
        demo.prepare(services, _silent)
    services.store.close()
