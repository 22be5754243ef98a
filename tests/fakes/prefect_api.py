"""As much of Prefect's REST API as back-filling and reading need, in memory, with credentials and CSRF checked.

What it answers was read off a real server (tests/integration/test_flows.py uses one); here faults can be scripted.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections import deque
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

AUTH = "huiying:an invented password"
_FILTERS = {"flow_runs": "runs", "artifacts": "artifacts", "flows": "flows", "task_runs": "task_runs"}


class FakePrefect:
    """Use as a context manager. ``script`` holds statuses to answer with before anything else is looked at."""

    def __init__(self) -> None:
        self.flows: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.task_runs: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, Any]] = []
        self.script: deque[int] = deque()
        self.asked: list[str] = []
        self.tokens = 0
        self.refuse = False
        self.recorder_is_away = False
        self._ids = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.fake = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/api"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def run_with(self, key: str) -> dict[str, Any]:
        """The flow run of this idempotency key."""
        (found,) = [run for run in self.runs if run["idempotency_key"] == key]
        return found

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, Any]:
        """Status and content for one request."""
        self.asked.append(f"{method} {path.partition('?')[0]}")
        if self.script:
            return self.script.popleft(), {}
        if method != "GET" and headers.get("Prefect-Csrf-Token") != f"token-{self.tokens}":
            return 403, {"detail": "Invalid CSRF token or client identifier."}
        if headers.get("Authorization") != "Basic " + base64.b64encode(AUTH.encode()).decode():
            return 401, {}
        parts = path.partition("?")[0].strip("/").split("/")[1:]
        if parts == ["csrf-token"]:
            self.tokens += 1
            return 200, {"token": f"token-{self.tokens}"}
        if method == "DELETE":
            return self._delete(*parts)
        if parts[-1] == "filter":
            return 200, self._filter(parts[0], body)
        return self._change(parts, body)

    def _change(self, parts: list[str], body: Any) -> tuple[int, Any]:
        match parts:
            case ["flows"]:
                return self._once(self.flows, body, "name")
            case ["flow_runs"] if self.refuse:
                return 422, {}
            case ["flow_runs"]:
                return self._once(self.runs, {"tasks": [], **body}, "idempotency_key")
            case ["flow_runs", run_id]:
                self._run(run_id).update(body)
                return 204, None
            case ["flow_runs", run_id, "set_state"]:
                self._run(run_id)["state"] = body["state"]
                return 201, {"status": "ACCEPT"}
            case ["task_runs", task_id, "set_state"]:
                row = next(row for row in self.task_runs if row["id"] == task_id)
                row.update(state_type=body["state"]["type"], state_name=body["state"]["name"], state=body["state"])
                return 201, {"status": "ACCEPT"}
            case ["events"]:
                for event in body:
                    self._record(event)
                return 204, None
            case ["artifacts"]:
                self.artifacts.append({"id": f"id-{next(self._ids)}", **body})
                return 201, {"id": self.artifacts[-1]["id"]}
        return 404, {}

    def _once(self, rows: list[dict[str, Any]], body: dict[str, Any], key: str) -> tuple[int, Any]:
        for row in rows:
            if row[key] == body[key]:
                return 200, row
        rows.append({**body, "id": f"id-{next(self._ids)}"})
        return 201, rows[-1]

    def _delete(self, what: str, row_id: str) -> tuple[int, Any]:
        rows: list[dict[str, Any]] = getattr(self, _FILTERS[what])
        found = [row for row in rows if row.get("id") == row_id]
        for row in found:
            rows.remove(row)
        return (204, None) if found else (404, {})

    def _record(self, event: dict[str, Any]) -> None:
        """What the recorder makes of the end of a task run; the same one again changes nothing."""
        if self.recorder_is_away:
            return
        task_id = event["resource"]["prefect.resource.id"].removeprefix("prefect.task-run.")
        run_id = event["related"][0]["prefect.resource.id"].removeprefix("prefect.flow-run.")
        state = event["payload"]["validated_state"]
        row = {"state_type": state["type"], "state_name": state["name"], "state": state, **event["payload"]["task_run"]}
        if all(known["id"] != task_id for known in self.task_runs):
            self.task_runs.append({"id": task_id, "flow_run_id": run_id, **row})

    def _run(self, run_id: str) -> dict[str, Any]:
        return next(run for run in self.runs if run["id"] == run_id)

    def _filter(self, what: str, body: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = getattr(self, _FILTERS[what])
        wanted = body.get(what, {})
        if "flow_run_id" in wanted:
            rows = [row for row in rows if row["flow_run_id"] in wanted["flow_run_id"]["any_"]]
        if "state" in wanted:
            rows = [row for row in rows if row["state"]["type"] in wanted["state"]["type"]["any_"]]
        if "end_time" in wanted:
            before = datetime.fromisoformat(wanted["end_time"]["before_"])
            rows = [row for row in rows if row.get("end_time") and datetime.fromisoformat(row["end_time"]) <= before]
        if "tags" in wanted:
            rows = [row for row in rows if set(wanted["tags"]["all_"]) <= set(row["tags"])]
        return rows[body.get("offset", 0) :][: body.get("limit", 200)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        status, content = self.server.fake.answer(self.command, self.path, self.headers, body)  # type: ignore[attr-defined]
        data = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        """Silence."""
