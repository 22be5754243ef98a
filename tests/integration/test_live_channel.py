"""The live channel of a real web process: what it tells, when it ends, and that it keeps nobody from stopping."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from huiying.domain.signing import Stage
from huiying.now import utc_now
from huiying.service import marks, session_rows, sessions
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from huiying.web.pages import live
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import house_template, make_services, open_house
from tests.integration.test_serve import free_port

__all__ = ["house_template"]

pytestmark = pytest.mark.slow

_PATIENCE = 30


class Listener:
    """One page's live channel: every event with its data, in order; ``over`` once the server has ended it."""

    def __init__(self, url: str, cookie: str, seen: str = "") -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.status = 0
        self.headers = httpx.Headers()
        self.over = threading.Event()
        self._more = threading.Condition()
        threading.Thread(target=self._listen, args=(f"{url}/live?seen={seen}", cookie), daemon=True).start()

    def _listen(self, url: str, cookie: str) -> None:
        name = ""
        try:
            headers = {"cookie": f"hy_session={cookie}", "accept-encoding": "gzip"}
            with httpx.stream("GET", url, headers=headers, timeout=_PATIENCE, trust_env=False) as answer:
                self.status, self.headers = answer.status_code, answer.headers
                for line in answer.iter_lines():
                    if line.startswith("event:"):
                        name = line.removeprefix("event:").strip()
                    elif line.startswith("data:") and name:
                        with self._more:
                            self.events.append((name, json.loads(line.removeprefix("data:"))))
                            self._more.notify_all()
        except httpx.TransportError:
            pass  # the process has been stopped: the test asks whether the end was announced
        finally:
            self.over.set()
            with self._more:
                self._more.notify_all()

    def names(self) -> list[str]:
        """What was told so far."""
        return [name for name, _ in self.events]

    def wait_for(self, name: str, after: int = 0) -> float:
        """Until an event of this name beyond the first ``after`` events; gives the seconds that took."""
        began = time.monotonic()
        with self._more:
            found = self._more.wait_for(lambda: name in self.names()[after:] or self.over.is_set(), _PATIENCE)
        assert found, self.names()
        assert name in self.names()[after:], self.names()
        return time.monotonic() - began


class Web:
    """A web process on a house's folder and a second view of the same store."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HUIYING_", "PREFECT_"))}
        mine = {"HUIYING_DATA_DIR": str(folder), "HUIYING_PORT": str(self.port), "HUIYING_PREFECT_ENABLED": "false"}
        self.services: Services = make_services(
            Store(open_engine(f"sqlite:///{folder / 'huiying.db'}"), utc_now), folder
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "huiying.cli", "process", "web"],
            env={**kept, **mine},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, "the web process did not start")

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the web process has ended"
        try:
            return httpx.get(f"{self.url}/livez", trust_env=False, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def seat(self, person: str = "zhang", stage: Stage = Stage.OPEN) -> Seat:
        """A session in this store."""
        return take_seat(self.services, None, person, stage)  # type: ignore[arg-type]

    def clock(self) -> int:
        """A running clock of a new incident."""
        now = utc_now()
        with self.services.store.transaction("test") as tx:
            row = {"no": f"T-{time.monotonic_ns()}"[-20:], "title": "示例", "kind": "opinion", "state": "handling",
                   "unit_id": "office", "registered_at": now, "registered_by": "person:li"}  # fmt: skip
            incident = tx.run(t.incident.insert().values(**row).returning(t.incident.c.id)).scalar_one()
            values = {"incident_id": incident, "cycle": 1, "key": "k", "origin": "rule", "rule_id": "r", "name": "权威回应",
                      "status": "stipulated", "anchor_field": "occurred_at", "started_at": now, "state": "running",
                      "due_at": now + timedelta(hours=2), "binding": True}  # fmt: skip
            return int(tx.run(t.clock.insert().values(**values).returning(t.clock.c.id)).scalar_one())

    def acknowledge(self, seat: Seat, clock_id: int) -> None:
        """签收, as the form sends it."""
        answer = httpx.post(
            f"{self.url}/acknowledge",
            data={"csrf": seat.csrf, "only": str(clock_id)},
            headers={"cookie": f"hy_session={seat.cookie}"},
            trust_env=False,
            timeout=_PATIENCE,
        )
        assert answer.status_code == 303

    def stop(self) -> float:
        """SIGTERM; gives the seconds until the process was gone."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_PATIENCE)
        return time.monotonic() - began


def until(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(otherwise)


@pytest.fixture
def web(house_template: Path, tmp_path: Path) -> Iterator[Web]:
    open_house(house_template, tmp_path / "house").services.store.close()
    made = Web(tmp_path / "house")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait(_PATIENCE)
    made.services.store.close()


def test_an_acknowledgement_is_told_to_other_pages_with_the_servers_time(web: Web):
    zhang, wang = web.seat(), web.seat("wang")
    clock_id = web.clock()
    listener = Listener(web.url, wang.cookie)
    listener.wait_for("beat")
    assert listener.status == 200
    assert listener.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in listener.headers, "a compressed stream would be held back"
    web.acknowledge(zhang, clock_id)
    listener.wait_for("queue")
    listener.wait_for("feed")
    for _, data in listener.events:
        assert abs(data["now"] / 1000 - utc_now().timestamp()) < _PATIENCE
    told = len(listener.events)
    web.acknowledge(zhang, web.clock())
    listener.wait_for("queue", after=told)


def test_what_happens_between_a_page_and_its_stream_is_told_to_it(web: Web):
    """Nobody listens yet when the colleague acknowledges: the first thing to be heard is that the queue has changed."""
    zhang, wang = web.seat(), web.seat("wang")
    clock_id = web.clock()
    page = httpx.get(web.url, headers={"cookie": f"hy_session={wang.cookie}"}, trust_env=False, timeout=_PATIENCE).text
    found = re.search(r'sse-connect="/live\?seen=([0-9.]+)"', page)
    assert found
    web.acknowledge(zhang, clock_id)
    late = Listener(web.url, wang.cookie, found[1])
    late.wait_for("feed")
    assert late.names() == ["beat", "queue", "feed"]
    fresh = Listener(web.url, wang.cookie, str(marks.mark(web.services)))
    fresh.wait_for("beat", after=1)
    assert set(fresh.names()) == {"beat"}


def test_a_stream_ends_with_its_session_and_listening_keeps_nobody_awake(web: Web):
    zhang, li = web.seat(), web.seat("li")
    mine, other = Listener(web.url, zhang.cookie), Listener(web.url, li.cookie)
    mine.wait_for("beat")
    other.wait_for("beat")
    with web.services.store.reading() as tx:
        before = session_rows.find(tx, li.cookie)
        assert before is not None
    sessions.sign_out(web.services, zhang.cookie)
    mine.wait_for("ended")
    assert mine.over.wait(_PATIENCE)
    sessions.lock(web.services, li.cookie)
    other.wait_for("locked")
    with web.services.store.reading() as tx:
        after = session_rows.find(tx, li.cookie)
        assert after is not None
    assert after.seen_at == before.seen_at


def test_a_locked_desk_goes_on_listening_and_a_stranger_is_sent_away(web: Web):
    locked = Listener(web.url, web.seat(stage=Stage.LOCKED).cookie)
    locked.wait_for("beat")
    web.acknowledge(web.seat("wang"), web.clock())
    locked.wait_for("queue")
    stranger = Listener(web.url, "nobody")
    assert stranger.over.wait(_PATIENCE)
    assert stranger.status != 200
    assert stranger.events == []


def test_one_sign_in_does_not_take_every_place(web: Web):
    greedy = web.seat()
    pages = [Listener(web.url, greedy.cookie) for _ in range(live._MOST_PAGES_OF_ONE)]
    for page in pages:
        page.wait_for("beat")
    one_more = Listener(web.url, greedy.cookie)
    assert one_more.over.wait(_PATIENCE)
    assert one_more.names() == ["full"]
    other = Listener(web.url, web.seat("wang").cookie)
    other.wait_for("beat")
    assert not other.over.is_set()


def test_a_page_that_goes_while_it_is_let_in_leaves_its_place(monkeypatch: pytest.MonkeyPatch):
    """Otherwise every reload at a bad moment would cost a place until the process ends."""
    watcher = live.Watcher(SimpleNamespace())  # type: ignore[arg-type]

    async def come_and_go() -> None:
        looking = asyncio.Event()

        async def look() -> None:
            looking.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(watcher, "_look", look)
        request: Any = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(live=watcher)), cookies={})
        session: Any = SimpleNamespace(id="s", stage=Stage.OPEN)
        coming = asyncio.ensure_future(anext(live.live(request, SimpleNamespace(), session)))  # type: ignore[arg-type]
        await looking.wait()
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming

    asyncio.run(come_and_go())
    assert watcher._listening.total() == 0


def test_of_pages_that_come_together_none_hides_news_from_the_others(monkeypatch: pytest.MonkeyPatch):
    """After a restart all pages come at once; a change falls between the look of the first and that of the second."""
    watcher = live.Watcher(SimpleNamespace())  # type: ignore[arg-type]
    looks = iter([marks.Mark(1), marks.Mark(2), marks.Mark(2)])

    async def look() -> marks.Mark:
        found = next(looks, marks.Mark(2))
        await asyncio.sleep(0)
        return found

    async def come() -> None:
        known = watcher.news
        await asyncio.gather(watcher.join("a"), watcher.join("b"))
        await watcher.wait(known, 5.0)
        assert watcher.news.queue == 1, "whoever came first is told"
        watcher.leave("a")
        watcher.leave("b")

    monkeypatch.setattr(watcher, "_look", look)
    asyncio.run(come())


def test_sigterm_ends_the_process_in_five_seconds_with_live_pages(web: Web):
    pages = [Listener(web.url, web.seat(person).cookie) for person in ("zhang", "li", "wang", "zhao")]
    for page in pages:
        page.wait_for("beat")
    assert web.stop() <= 5
    assert web.process.returncode in {0, -signal.SIGTERM}
    for page in pages:
        assert page.over.wait(_PATIENCE)
        assert page.names()[-1] == "closing", "the page was told, so it says at once that the channel is lost"
