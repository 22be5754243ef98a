"""What the runner takes on: calm, timely events, each with its instant; everything else is the engine's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.runner import CALM, LATEST_START, LEAD_SECONDS, Runner
from huiying.now import monotonic
from huiying.store import tables as t
from huiying.store.db import Store
from tests.engine_fixtures import World, services_on
from tests.fakes.clock import FakeClock


@pytest.fixture
def world(sqlite_store: Store, tmp_path) -> World:
    return World(services_on(sqlite_store, tmp_path)).furnish()


@pytest.fixture
def runner(world: World) -> Runner:
    return Runner(world.services)


def due(world: World, clock: FakeClock, seconds: float) -> int:
    incident = world.incident()
    return world.action(
        clock() + timedelta(seconds=seconds), incident, world.clock(incident, clock() + timedelta(hours=1))
    )


def seen(runner: Runner) -> list[int]:
    return [event.account.action_id for event in runner._read().events]


def test_an_event_is_prepared_shortly_before_it_is_due(world, clock, runner):
    action = due(world, clock, LEAD_SECONDS)
    (event,) = runner._read().events
    assert event.account.action_id == action
    assert event.start_at - monotonic() == pytest.approx(LEAD_SECONDS, abs=0.3)


def test_an_event_that_lies_ahead_is_looked_at_later(world, clock, runner):
    due(world, clock, 5.0)
    assert seen(runner) == []


def test_an_event_that_has_waited_too_long_is_left_to_the_engine(world, clock, runner):
    due(world, clock, -LATEST_START.total_seconds() - 0.01)
    assert seen(runner) == []


def test_a_storm_is_left_to_the_engine(world, clock, runner):
    calm = [due(world, clock, 0.0) for _ in range(CALM)]
    assert seen(runner) == calm
    due(world, clock, 0.0)
    assert seen(runner) == []


def test_nothing_is_prepared_while_dispatch_is_held(world, clock, runner):
    due(world, clock, 0.0)
    with world.store.transaction("test") as tx:
        tx.run(t.setting.insert().values(key="dispatch_held", value={"reason": "恢复备份"}, updated_at=tx.now))
    assert seen(runner) == []


def test_an_event_that_was_taken_on_is_not_taken_on_again(world, clock, runner):
    action = due(world, clock, 0.0)
    runner._seen[action] = monotonic() + 60
    assert seen(runner) == []


def test_history_is_filled_in_only_while_nothing_is_near(world, clock, runner):
    assert runner._read().quiet
    due(world, clock, 1.5)
    assert not runner._read().quiet
