"""One press counts once, also where two web processes (two app instances, two pools) get it at the same instant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.access import AccessRole
from huiying.domain.errors import Refused
from huiying.domain.kinds import Kind, TimeKind
from huiying.service import ack_links, incidents, rulebook
from huiying.service.acknowledging import acknowledge_notice
from huiying.service.letters import ack_token
from huiying.service.requests import RegisterRequest, TimeInput
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from huiying.web.app import create_app
from tests.fakes.clock import FakeClock
from tests.fakes.house import acting, furnish, make_services, run_engine_once

BROWSER = {"Sec-Fetch-Site": "same-origin"}
PROCESSES = 2


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def outfits(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[list[Services]]:
    """Two outfits on one database, each with connections of its own, as two processes have them."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{request.getfixturevalue('sqlite_path')}" if sqlite else request.getfixturevalue("pg_url")
    stores = [Store(open_engine(url), clock, fixed_clock=True) for _ in range(PROCESSES)]
    made = [make_services(store, tmp_path) for store in stores]
    rulebook.sync(made[0])
    furnish(made[0])
    yield made
    for store in stores:
        store.close()


@pytest.fixture
def link(outfits: list[Services], clock: FakeClock) -> str:
    """The address in the first message to the duty officer."""
    services = outfits[0]
    occurred = {TimeKind.OCCURRED: TimeInput(clock() - timedelta(minutes=30), "现场")}
    request = RegisterRequest(title="示例", kind=Kind.OPINION, unit_id="office", times=occurred)
    incidents.register(services, acting("zhang", AccessRole.DUTY), request)
    run_engine_once(services)
    with services.store.reading() as tx:
        number = tx.value(sa.select(t.delivery.c.notice_no).where(t.delivery.c.person_id == "zhang"))
    return f"/a/{ack_token(services.server_key, number)}"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes before everybody has looked and found no acknowledgement."""
    meeting, go_on = threading.Barrier(PROCESSES, timeout=30), acknowledge_notice

    def meet(*arguments: Any) -> int:
        meeting.wait()
        return go_on(*arguments)

    monkeypatch.setattr(ack_links, "acknowledge_notice", meet)


def everything_about(services: Services) -> tuple[int, int, int, int]:
    """Acknowledgements, those of them that are one step's twin, facts and entries of the chain."""
    ack = t.acknowledgement.c
    counted: Callable[[Any], Any] = lambda where: sa.select(sa.func.count()).where(where)  # noqa: E731
    with services.store.reading() as tx:
        rows = tx.all(sa.select(ack.clock_id, ack.step_id))
        return (
            len(rows),
            len(rows) - len({(row.clock_id, row.step_id) for row in rows}),
            tx.value(counted(t.history.c.what == "acknowledged")),
            tx.value(counted(t.audit.c.action == "incident.acknowledged")),
        )


def test_the_same_press_in_two_processes_is_one_acknowledgement(outfits: list[Services], link: str, at_once: None):
    apps = [create_app(services) for services in outfits]
    clients = [TestClient(app, follow_redirects=False) for app in apps]
    with ThreadPoolExecutor(PROCESSES) as pool:
        answers = list(pool.map(lambda client: client.post(link, headers=BROWSER), clients))
    assert [answer.status_code for answer in answers] == [303, 303]
    rows, twins, facts, entries = everything_about(outfits[0])
    assert rows > 0
    assert (twins, facts, entries) == (0, 1, 1)
    assert clients[1].get(link).text.count("已由 张一") == 1


def test_the_key_of_the_table_is_what_guarantees_it(outfits: list[Services], link: str):
    """Whoever writes past the use case cannot make a second one either."""
    client = TestClient(create_app(outfits[0]), follow_redirects=False)
    assert client.post(link, headers=BROWSER).status_code == 303
    with outfits[1].store.reading() as tx:
        taken = tx.one(sa.select(t.acknowledged_notice))
    assert taken is not None
    with pytest.raises(sa.exc.IntegrityError), outfits[1].store.transaction("test") as tx:
        tx.run(t.acknowledged_notice.insert().values(notice_no=taken.notice_no, person_id="zhang", at=tx.now))


def test_what_cannot_be_acknowledged_does_not_take_the_place(outfits: list[Services], link: str):
    """A refusal leaves nothing behind: the next press is the first."""
    services = outfits[0]
    with services.store.reading() as tx:
        number = tx.value(sa.select(t.delivery.c.notice_no).where(t.delivery.c.person_id == "zhang"))
    with pytest.raises(Refused):
        acknowledge_notice(services, acting("zhang", AccessRole.DUTY), f"{number}-unknown", "link")
    with services.store.reading() as tx:
        assert tx.all(sa.select(t.acknowledged_notice)) == []
