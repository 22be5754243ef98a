"""Prefect's old runs go in small batches; our own record, younger runs and open ones stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from flows import retention
from flows.rest import PrefectApi
from flows.retention import BATCH, Retention
from huiying.store.db import Store
from tests.fakes.clock import FakeClock
from tests.fakes.prefect_api import AUTH, FakePrefect


@pytest.fixture
def prefect() -> Iterator[FakePrefect]:
    with FakePrefect() as fake:
        yield fake


@pytest.fixture
def trim(sqlite_store: Store, prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(retention, "_MORE", 0.0)
    monkeypatch.setattr(retention, "_REST", 0.0)
    return lambda days=180: Retention(sqlite_store, PrefectApi(prefect.url, AUTH, (0.5, 2.0)), days)


def ran(prefect: FakePrefect, clock: FakeClock, days_ago: float, number: int = 1, state: str = "COMPLETED") -> None:
    end = (clock() - timedelta(days=days_ago)).isoformat()
    for _ in range(number):
        run = {"id": f"r{len(prefect.runs)}", "end_time": end, "state": {"type": state}, "tags": []}
        prefect.runs.append(run)
        prefect.artifacts.append({"id": f"a{run['id']}", "flow_run_id": run["id"], "data": "x"})


def test_old_runs_go_with_their_pages_and_the_others_stay(prefect: FakePrefect, clock: FakeClock, trim: Any):
    ran(prefect, clock, 181)
    ran(prefect, clock, 179)
    ran(prefect, clock, 300, state="RUNNING")
    assert trim().step() == 1
    assert [run["id"] for run in prefect.runs] == ["r1", "r2"]
    assert [page["flow_run_id"] for page in prefect.artifacts] == ["r1", "r2"]


def test_they_go_a_batch_at_a_time(prefect: FakePrefect, clock: FakeClock, trim: Any):
    ran(prefect, clock, 200, 2 * BATCH + 1)
    cutter = trim()
    assert [cutter.step() for _ in range(4)] == [BATCH, BATCH, 1, 0]
    assert prefect.runs == []


def test_nought_days_keep_everything(prefect: FakePrefect, clock: FakeClock, trim: Any):
    ran(prefect, clock, 4000)
    assert trim(0).step() == 0
    assert prefect.asked == []


def test_between_looks_nothing_is_asked(sqlite_store: Store, prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "_MORE", 0.0)
    cutter = Retention(sqlite_store, PrefectApi(prefect.url, AUTH, (0.5, 2.0)), 180)
    assert [cutter.step(), cutter.step()] == [0, 0]
    assert prefect.asked.count("POST /api/flow_runs/filter") == 1


def test_a_server_that_fails_is_left_for_later(prefect: FakePrefect, clock: FakeClock, trim: Any):
    ran(prefect, clock, 200)
    cutter = trim()
    prefect.script.extend([500])
    assert cutter.step() == 0
    assert cutter.step() == 1
