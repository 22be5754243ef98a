"""What Prefect shows of an incident's events, for our faces. Our own tables stay the main source.

Importing this does not import Prefect, and an absent server costs a second, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from config.settings import Settings
from flows import prefect_server
from flows.rest import PrefectApi, PrefectRefused, PrefectUnavailable

MARK = "补记"
MOST_RUNS = 200
_TIMEOUT = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One step of a flow run. ``attempts`` counts Prefect's own; the outbox has its own count."""

    id: str
    name: str
    state: str
    state_name: str
    message: str
    attempts: int
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class FlowRun:
    """One flow run. Times are Prefect's: for a back-filled run the true ones stand in ``message`` and ``page``."""

    id: str
    flow: str
    name: str
    state: str
    state_name: str
    message: str
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    started_at: datetime | None
    ended_at: datetime | None
    page: str
    tasks: tuple[TaskRun, ...]

    @property
    def is_backfilled(self) -> bool:
        """Written down after the event, which the engine had carried out alone."""
        return MARK in self.tags


@dataclass(frozen=True, slots=True)
class FlowRuns:
    """What Prefect knows, in the order in which it learned of it."""

    runs: tuple[FlowRun, ...]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Prefect cannot be asked now; ``reason`` is a Chinese sentence."""

    reason: str = "流程引擎暂时无法访问，运行记录以本系统为准。"


class History:
    """Reads Prefect's history over its REST API."""

    def __init__(self, api: PrefectApi) -> None:
        self._api = api

    def runs_of(self, incident_no: str, limit: int = MOST_RUNS) -> FlowRuns | Unavailable:
        """The flow runs of an incident with their tasks and pages."""
        wanted = {"flow_runs": {"tags": {"all_": [f"incident:{incident_no}"]}}}
        try:
            rows = self._api.post(
                "/flow_runs/filter", {**wanted, "sort": "START_TIME_DESC", "limit": min(limit, MOST_RUNS)}
            )
            return FlowRuns(self._runs(list(reversed(rows))))
        except (PrefectUnavailable, PrefectRefused, KeyError, TypeError, ValueError):
            return Unavailable()

    def runs_with(self, flow_run_ids: Sequence[str]) -> FlowRuns | Unavailable:
        """These flow runs with their tasks and pages, those that Prefect still has."""
        ids = sorted(set(flow_run_ids))[:MOST_RUNS]
        if not ids:
            return FlowRuns(())
        wanted = {"flow_runs": {"id": {"any_": ids}}, "sort": "START_TIME_DESC", "limit": MOST_RUNS}
        try:
            return FlowRuns(self._runs(list(reversed(self._api.post("/flow_runs/filter", wanted)))))
        except (PrefectUnavailable, PrefectRefused, KeyError, TypeError, ValueError):
            return Unavailable()

    def task_runs(self, flow_run_id: str) -> tuple[TaskRun, ...] | Unavailable:
        """The steps of one flow run."""
        try:
            return self._tasks([flow_run_id]).get(flow_run_id, ())
        except (PrefectUnavailable, PrefectRefused, KeyError, TypeError, ValueError):
            return Unavailable()

    def _runs(self, rows: Sequence[Any]) -> tuple[FlowRun, ...]:
        ids = [row["id"] for row in rows]
        if not ids:
            return ()
        flows = self._flows({row["flow_id"] for row in rows})
        tasks, pages = self._tasks(ids), self._pages(ids)
        return tuple(
            FlowRun(
                id=row["id"],
                flow=flows.get(row["flow_id"], ""),
                name=row["name"],
                state=row["state_type"] or "",
                state_name=row["state_name"] or "",
                message=_message(row),
                tags=tuple(row["tags"]),
                parameters=row["parameters"],
                started_at=_instant(row["start_time"]),
                ended_at=_instant(row["end_time"]),
                page=pages.get(row["id"], ""),
                tasks=tasks.get(row["id"], ()),
            )
            for row in rows
        )

    def _flows(self, ids: Iterable[str]) -> dict[str, str]:
        rows = self._api.post("/flows/filter", {"flows": {"id": {"any_": sorted(ids)}}})
        return {row["id"]: row["name"] for row in rows}

    def _tasks(self, run_ids: Sequence[str]) -> dict[str, tuple[TaskRun, ...]]:
        wanted = {"flow_runs": {"id": {"any_": list(run_ids)}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
        found: dict[str, tuple[TaskRun, ...]] = {}
        for row in self._all("/task_runs/filter", wanted):
            made = TaskRun(
                id=row["id"],
                name=row["name"],
                state=row["state_type"] or "",
                state_name=row["state_name"] or "",
                message=_message(row),
                attempts=row["run_count"],
                started_at=_instant(row["start_time"]),
                ended_at=_instant(row["end_time"]),
            )
            found[row["flow_run_id"]] = (*found.get(row["flow_run_id"], ()), made)
        return found

    def _pages(self, run_ids: Sequence[str]) -> dict[str, str]:
        wanted = {"artifacts": {"flow_run_id": {"any_": list(run_ids)}}, "sort": "CREATED_DESC", "limit": 200}
        return {row["flow_run_id"]: row["data"] or "" for row in reversed(self._all("/artifacts/filter", wanted))}

    def _all(self, path: str, wanted: dict[str, Any]) -> list[Any]:
        """Every page of an answer; the server gives two hundred rows at a time."""
        found: list[Any] = []
        while True:
            rows = self._api.post(path, {**wanted, "offset": len(found)})
            found += rows
            if len(rows) < wanted["limit"]:
                return found


def runs_of(settings: Settings, incident_no: str) -> FlowRuns | Unavailable:
    """The flow runs of an incident of this installation."""
    history = open_history(settings)
    return history.runs_of(incident_no) if isinstance(history, History) else history


def open_history(settings: Settings) -> History | Unavailable:
    """The history of this installation."""
    if not settings.prefect_enabled:
        return Unavailable("未启用流程引擎，运行记录以本系统为准。")
    auth = prefect_server.load_or_create_auth_string(settings.data_dir)
    return History(PrefectApi(prefect_server.api_url(settings.prefect_port), auth, _TIMEOUT))


def _message(row: Any) -> str:
    return str((row.get("state") or {}).get("message") or "")


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
