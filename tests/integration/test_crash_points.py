"""Every named crash point is visited once: the process dies there as by ``kill -9``, another one comes, and all is well.

What was acknowledged is there completely, every message that was due arrives, none more than twice, and the audit chain
is whole. A point that is not reached fails, and so does a name that no visit is planned for. The visits are made all at
once beside each other, each on a stage of its own; the tests only read what came of them.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flows import prefect_server
from huiying import crash
from huiying.service import incidents
from huiying.service.claims import MOST_LOST
from huiying.service.services import Services
from huiying.store import tables as t
from tests.flow_stage import PrefectServer
from tests.trials.judge import Bounds, Verdict, drain, judge
from tests.trials.processes import Cast, Nursery, Nursling, Process, wait_until
from tests.trials.receiver import Faults, Receiver
from tests.trials.stage import OPERATOR, Stage, furnish, opinion, staged

pytestmark = [pytest.mark.slow, pytest.mark.trials, pytest.mark.timeout(240)]

REGISTRAR = (
    "register_before_commit",
    "register_after_commit",
    "audit_before_head",
    "change_before_commit",
    "change_after_commit",
)
ENGINE = (
    "expand_before_commit",
    "expand_after_commit",
    "send_before",
    "send_after",
    "record_before_commit",
    "record_after_commit",
    "claim_before_commit",
    "claim_after_commit",
)
RUNNER = ("flow_after_expand", "backfill_before", "backfill_after")
#: How long a process may take to reach its crash point, start of Python included.
_PATIENCE = 45.0
_DRAIN = 45.0
_DUE_SECONDS = 2.5
_RUNNER = (
    "from config.settings import load_settings\nfrom huiying import bootstrap\nbootstrap.run_runner(load_settings())\n"
)


@dataclass
class Visit:
    """What came of one visit."""

    died_at: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    notes: dict[str, Any] = field(default_factory=dict)


def test_every_crash_point_has_its_visit():
    planned = [*REGISTRAR, *ENGINE, *RUNNER]
    assert sorted(planned) == sorted(crash.NAMES)
    assert len(planned) >= 12


# -- the visits ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Visit]]]:
    """All visits, begun at once."""
    folder = tmp_path_factory.mktemp("crash")
    runner = folder / "runner"
    with Receiver() as receiver, staged(folder / "template") as template:
        # One furnished stage is copied; each copy's webhook leads to the receiver of its own visit.
        furnish(template, receiver, robot=False)
    with Nursery(folder) as nursery, ThreadPoolExecutor(4) as pool:
        made: dict[str, Future[Visit]] = {"runner": pool.submit(_visit_runner, nursery, _copy(template, runner))}
        for name in ENGINE:
            made[name] = pool.submit(_visit_engine, nursery, _copy(template, folder / name), name)
        for name in REGISTRAR:
            made[name] = pool.submit(_visit_registrar, nursery, _copy(template, folder / name), name)
        made["twice"] = pool.submit(_visit_twice, nursery, _copy(template, folder / "twice"))
        made["poison"] = pool.submit(_visit_poison, nursery, _copy(template, folder / "poison"))
        yield made
        for visit in made.values():
            visit.cancel()


def _copy(template: Stage, folder: Path) -> Stage:
    shutil.copytree(template.folder, folder)
    return Stage(folder)


def _lead_to(services: Services, receiver: Receiver) -> None:
    """Point the copied stage's webhook to this visit's receiver."""
    sealed = {"url": services.sealer.seal(receiver.url)}
    with services.store.transaction("local:trial") as tx:
        row = tx.one(sa.select(t.channel).where(t.channel.c.id == "hook"))
        assert row is not None
        tx.run(
            t.channel.update().where(t.channel.c.id == "hook").values(secrets_sealed={**row.secrets_sealed, **sealed})
        )


def _dies_at(process: Process | Nursling, name: str) -> None:
    """Start it armed; it must die there, by SIGKILL, in good time."""
    process.start(HUIYING_CRASH_AT=name)
    code = process.wait(_PATIENCE)
    assert code == -signal.SIGKILL, f"{name} was not reached: ended with {code}: {process.said()}"


def _register(services: Services, count: int) -> list[str]:
    numbers = []
    for number in range(count):
        now = datetime.now(UTC)
        view = incidents.register(services, OPERATOR, opinion(f"示例{number}", now, _DUE_SECONDS), f"key-{number}")
        numbers.append(view["no"])
    return numbers


def _end_well(stage: Stage, services: Services, receiver: Receiver, engine: Nursling) -> Verdict:
    """A clean life until nothing is left to do, then the verdict: at most one copy too many of anything."""
    began = services.store.now()
    engine.start()
    assert wait_until(lambda: _has_reported(services, began), 30.0), engine.said()
    drain(services, _DRAIN, soon=_DUE_SECONDS + 1.0)
    code = engine.end()
    verdict = judge(stage, services, receiver.log, Bounds(duplicates=64, copies=2))
    if code != 0:
        verdict.faults.append(f"the engine ended with {code}: {engine.said()}")
    return verdict


def _has_reported(services: Services, since: datetime) -> bool:
    """An engine that has begun its work: one that is asked to end before that has had no life at all."""
    with services.store.reading() as tx:
        rows = tx.all(sa.select(t.heartbeat.c.process).where(t.heartbeat.c.at >= since))
    return any(row.process.endswith("/engine") for row in rows)


def _visit_engine(nursery: Nursery, stage: Stage, name: str) -> Visit:
    with Receiver() as receiver:
        services = stage.services()
        _lead_to(services, receiver)
        _register(services, 2)
        visit, engine = Visit(), nursery.engine(stage)
        if name.startswith("claim"):
            _leave_some_unsent(receiver, engine)
        _dies_at(engine, name)
        visit.died_at.append(name)
        visit.verdict = _end_well(stage, services, receiver, engine)
        services.store.close()
    return visit


def _leave_some_unsent(receiver: Receiver, engine: Nursling) -> None:
    """An engine that is asked to end gives back what it has not begun to send; the next one has to claim that."""
    receiver.faults = Faults(delay=0.5)
    engine.start(HUIYING_SENDER_THREADS="1")
    assert wait_until(lambda: bool(receiver.log.posts), _PATIENCE), engine.said()
    assert engine.end() == 0, engine.said()
    receiver.faults = Faults()


def _visit_registrar(nursery: Nursery, stage: Stage, name: str) -> Visit:
    with Receiver() as receiver:
        services = stage.services()
        _lead_to(services, receiver)
        load = ("--count", "2", "--tasks", "1", "--shortest", "3", "--longest", "3")
        registrar = nursery.registrar(stage, "desk", *load)
        _dies_at(registrar, name)
        visit = Visit([name])
        with services.store.reading() as tx:
            visit.notes["incidents"] = tx.value(sa.select(sa.func.count()).select_from(t.incident))
            visit.notes["tasks"] = tx.value(
                sa.select(sa.func.count()).select_from(t.clock).where(t.clock.c.origin == "task")
            )
        registrar.start()
        code = registrar.wait(_PATIENCE)
        assert code == 0, registrar.said()
        visit.verdict = _end_well(stage, services, receiver, nursery.engine(stage))
        services.store.close()
    return visit


def _visit_poison(nursery: Nursery, stage: Stage) -> Visit:
    """Messages over which many lives were lost, overdue by now, so that no other way is left for them."""
    with Receiver() as receiver:
        services = stage.services()
        _lead_to(services, receiver)
        _register(services, 1)
        time.sleep(_DUE_SECONDS + 0.5)
        visit, engine = Visit(), nursery.engine(stage)
        _dies_at(engine, "send_before")
        with services.store.transaction("local:trial") as tx:
            lost = {"lost": MOST_LOST, "resend": True}
            tx.run(t.delivery.update().values(state="pending", owner="", visible_at=tx.now, detail=lost))
        engine.start()
        visit.notes["others go on"] = _other_is_told(services, receiver)
        time.sleep(1.0)
        visit.notes["failed looks"] = engine.output.read_text(encoding="utf-8").count("a look failed")
        engine.end()
        services.store.close()
    return visit


def _visit_twice(nursery: Nursery, stage: Stage) -> Visit:
    """Two lives in a row send the same messages and die before they can say so."""
    with Receiver() as receiver:
        services = stage.services()
        _lead_to(services, receiver)
        _register(services, 1)
        time.sleep(_DUE_SECONDS + 0.5)
        visit, engine = Visit(), nursery.engine(stage)
        for _ in range(2):
            _dies_at(engine, "send_after")
        with services.store.reading() as tx:
            lost = [row.notice_no for row in tx.all(sa.select(t.delivery)) if "lost" in row.detail]
        before = receiver.log.copies()
        engine.start()
        visit.notes["others go on"] = _other_is_told(services, receiver)
        time.sleep(1.0)
        after = receiver.log.copies()
        visit.notes["lost twice"] = bool(lost)
        visit.notes["sent again at once"] = [no for no in lost if after[no] > before[no]]
        engine.end()
        services.store.close()
    return visit


def _other_is_told(services: Services, receiver: Receiver) -> bool:
    now = datetime.now(UTC)
    other = incidents.register(services, OPERATOR, opinion("另一件", now, 3600.0), "other")["no"]
    return wait_until(
        lambda: any(other in str(post.data["data"]["incident_no"]) for post in receiver.log.taken()), 20.0
    )


def _visit_runner(nursery: Nursery, stage: Stage) -> Visit:
    """One Prefect server, three deaths of the runner: in the middle of an event, before and after filling history in."""
    server = PrefectServer(stage.folder)
    stage = stage.with_settings(prefect_enabled="true", prefect_port=server.port)
    visit = Visit()
    with Receiver() as receiver, Cast(stage) as cast:
        services = Stage(stage.folder).services()
        _lead_to(services, receiver)
        try:
            server.start()
            client = prefect_server.client_environment(server.folder, server.port, server.auth)
            runner = cast.add("runner", [sys.executable, "-c", _RUNNER], client)
            engine = nursery.engine(stage)
            _die_in_an_event(services, runner, visit)
            engine.start()
            drain(services, _DRAIN, soon=_DUE_SECONDS + 1.0)
            for name in ("backfill_before", "backfill_after"):
                _dies_at(runner, name)
                visit.died_at.append(name)
            runner.start()
            visit.notes["history complete"] = wait_until(lambda: not _owed(services), 30.0)
            visit.notes["runner"] = runner.end()
            engine.kill()
            visit.verdict = _end_well(stage, services, receiver, engine)
        finally:
            server.stop()
            services.store.close()
    return visit


def _die_in_an_event(services: Services, runner: Process, visit: Visit) -> None:
    """The runner is up before the incident is registered, so that the event is its own."""
    runner.start(HUIYING_CRASH_AT="flow_after_expand")
    assert wait_until(lambda: _is_healthy(services), _PATIENCE), f"the runner did not come up: {runner.said()}"
    _register(services, 1)
    code = runner.wait(_PATIENCE)
    assert code == -signal.SIGKILL, f"flow_after_expand was not reached: ended with {code}: {runner.said()}"
    visit.died_at.append("flow_after_expand")


def _is_healthy(services: Services) -> bool:
    with services.store.reading() as tx:
        row = tx.one(sa.select(t.heartbeat).where(t.heartbeat.c.process.endswith("/runner")))
        return row is not None and bool(row.detail.get("healthy"))


def _owed(services: Services) -> int:
    with services.store.reading() as tx:
        owed = sa.select(sa.func.count()).select_from(t.timed_action).where(t.timed_action.c.history == "owed")
        return int(tx.value(owed))


# -- what must have come of them -------------------------------------------------------------------------------------------

Visits = dict[str, Future[Visit]]


@pytest.fixture
def visited(visits: Visits) -> Callable[[str], Visit]:
    """The result of one visit; raises what went wrong in it."""
    began = time.monotonic()

    def get(name: str) -> Visit:
        visit = visits[name].result(timeout=200 - (time.monotonic() - began))
        assert not visit.verdict.faults, "\n".join(visit.verdict.faults)
        return visit

    return get


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_dies_and_every_message_still_arrives(name: str, visited: Callable[[str], Visit]):
    visit = visited(name)
    assert visit.died_at == [name]
    assert visit.verdict.figures["incidents"] == 2
    assert visit.verdict.figures["breaches"] == 2
    assert visit.verdict.figures["copies"] <= 2


@pytest.mark.parametrize("name", REGISTRAR)
def test_the_registrar_dies_and_the_incident_is_there_completely_or_not_at_all(
    name: str, visited: Callable[[str], Visit]
):
    visit = visited(name)
    assert visit.died_at == [name]
    assert visit.notes["incidents"] == (0 if name in {"register_before_commit", "audit_before_head"} else 1)
    assert visit.notes["tasks"] == (1 if name == "change_after_commit" else 0)
    # What was asked is repeated under its key: two incidents in all, each acknowledged once.
    assert visit.verdict.figures["incidents"] == 2
    assert visit.verdict.figures["acknowledged"] == 2


def test_messages_over_which_the_sender_dies_again_and_again_do_not_hold_up_the_others(
    visited: Callable[[str], Visit],
):
    visit = visited("poison")
    assert visit.notes == {"others go on": True, "failed looks": 0}


def test_what_two_lives_have_lost_is_not_sent_with_every_start(visited: Callable[[str], Visit]):
    visit = visited("twice")
    assert visit.notes == {"others go on": True, "lost twice": True, "sent again at once": []}


@pytest.mark.parametrize("name", RUNNER)
@pytest.mark.prefect
def test_the_runner_dies_and_the_engine_carries_on(name: str, visited: Callable[[str], Visit]):
    visit = visited("runner")
    assert name in visit.died_at
    assert visit.verdict.figures["incidents"] == 1


@pytest.mark.prefect
def test_the_history_is_complete_after_the_runner_has_died_twice_in_filling_it_in(visited: Callable[[str], Visit]):
    visit = visited("runner")
    assert visit.notes["history complete"]
