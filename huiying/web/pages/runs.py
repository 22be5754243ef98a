"""运行记录: what became of every event that came due, from our own tables, with what Prefect shows of it beside it.

Our tables decide: a run that Prefect calls completed is shown as failed where a message did not arrive.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from flows.history import FlowRun, FlowRuns, History, Unavailable, open_history
from flows.prefect_server import origin
from huiying.domain.access import Permission
from huiying.domain.errors import NotFound
from huiying.domain.kinds import ActionState, DeliveryState, EventKind
from huiying.domain.plan import SHANGHAI
from huiying.service import queries
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.artifact_text import blocks
from huiying.web.pages.shell import Session, allow, render, words_of
from huiying.web.pages.words import Say

router = APIRouter(include_in_schema=False)

_ON_A_PAGE = 50
_READ = allow(Permission.READ)
_OPERATE = allow(Permission.OPERATE)


def _(text: str) -> str:
    """Mark a text for the catalogue; the template translates it."""
    return text


#: What one may choose as the state of runs.
STATES = {
    "failed": _("有通知未送达"),
    "retried": _("有重试"),
    ActionState.DONE.value: _("已处理"),
    ActionState.SUPERSEDED.value: _("已失效"),
    ActionState.BUNDLED.value: _("已并入汇总"),
}
_PREFECT_STATES = {
    "COMPLETED": _("已完成"),
    "FAILED": _("失败"),
    "CRASHED": _("异常中断"),
    "CANCELLED": _("已取消"),
    "CANCELLING": _("正在取消"),
    "RUNNING": _("运行中"),
    "PENDING": _("待运行"),
    "SCHEDULED": _("待运行"),
    "PAUSED": _("已暂停"),
}
_BAD = frozenset({"FAILED", "CRASHED"})
_NOT_ARRIVED = frozenset({DeliveryState.FAILED.value, DeliveryState.DEAD.value, DeliveryState.PARTIAL.value})
_OUTCOMES = {
    "accepted": _("对方已收"),
    "partial": _("部分送达"),
    "transient": _("暂时故障"),
    "ambiguous": _("结果不明"),
    "rate_limited": _("对方限流"),
    "permanent": _("对方拒收"),
}
#: Words of the views and of the reader that the template translates.
SAID = (
    _("Prefect 流程"), _("直接执行"), _("流程内"), _("待补记"), _("已补记"), _("判定"),
    _("流程引擎暂时无法访问，运行记录以本系统为准。"), _("未启用流程引擎，运行记录以本系统为准。"),
)  # fmt: skip
Word = Annotated[str, Query(max_length=40)]
After = Annotated[int, Query(ge=0, le=1_000_000)]


@router.get("/runs")
def of_the_day(
    request: Request,
    services: House,
    session: Annotated[Session, _READ],
    day: Annotated[str, Query(max_length=10)] = "",
    kind: Word = "",
    state: Word = "",
    incident: Word = "",
    after: After = 0,
) -> Response:
    """The runs of a Shanghai day; of all days where an incident is asked for without one."""
    today = services.store.now().astimezone(SHANGHAI).date()
    chosen = _day(day) if day else (None if incident else today)
    chosen = today if day and chosen is None else chosen
    asked: dict[str, Any] = {
        "day": chosen,
        "kind": _known(kind, EventKind),
        "only": state if state in STATES else "",
        "after": after,
    }
    unknown = ""
    try:
        found = _found(services, session, _printable(incident), asked)
    except NotFound as error:
        found, unknown = {"runs": [], "next": None, "sums": {}}, error.message
    asked_for = {"day": day, "kind": kind, "incident": incident}
    links = _links("/runs", found["next"], state=state, after=after, **asked_for)
    more: dict[str, Any] = {"incident": incident, "today": today, "links": links, "base": "/runs", "unknown": unknown}
    return _page(request, services, found, **asked, **more)


@router.get("/incidents/{no}/runs")
def of_an_incident(
    request: Request,
    services: House,
    session: Annotated[Session, _READ],
    no: str,
    kind: Word = "",
    state: Word = "",
    after: After = 0,
) -> Response:
    """All runs of one incident."""
    queries.view_incident(services, no, session.actor)  # not found where it is not theirs to see
    asked: dict[str, Any] = {
        "day": None,
        "kind": _known(kind, EventKind),
        "only": state if state in STATES else "",
        "after": after,
    }
    found = _found(services, session, no, asked)
    base = f"/incidents/{no}/runs"
    asked_for = {"kind": kind}
    links = _links(base, found["next"], state=state, after=after, **asked_for)
    return _page(request, services, found, **asked, incident=no, today=None, links=links, base=base)


@router.get("/admin/runs")
def for_the_operator(
    request: Request,
    services: House,
    session: Annotated[Session, _OPERATE],
    day: Annotated[str, Query(max_length=10)] = "",
    state: Word = "",
    after: After = 0,
) -> Response:
    """The day's runs for who keeps the system going: no recipients, no incidents' pages, but the way into Prefect."""
    today = services.store.now().astimezone(SHANGHAI).date()
    asked: dict[str, Any] = {
        "day": _day(day) or today,
        "kind": "",
        "only": state if state in STATES else "",
        "after": after,
    }
    found = _found(services, session, "", asked)
    asked_for = {"day": day}
    links = _links("/admin/runs", found["next"], state=state, after=after, **asked_for)
    return _page(
        request, services, found, **asked, incident="", today=today, links=links, base="/admin/runs", operator=True
    )


def _found(services: Services, session: Session, no: str, asked: dict[str, Any]) -> dict[str, Any]:
    """One page of what was asked for, trouble first, and the sums of all of it.

    What had become needless before its time never ran: it is counted, and listed only for whoever asks for it.
    """
    runs = queries.runs(
        services,
        no,
        limit=_ON_A_PAGE,
        actor=session.actor,
        troubled_first=True,
        **{**asked, "only": asked["only"] or "ran"},
    )
    return {**runs, "sums": queries.run_sums(services, no, asked["day"], session.actor, kind=asked["kind"])}


def _page(
    request: Request, services: Services, found: dict[str, Any], *, operator: bool = False, **context: Any
) -> Response:
    runs, sums = found["runs"], found["sums"]
    prefect = _prefect_of(request, services, [run["flow_run_id"] for run in runs if run["flow_run_id"]])
    known = {run.id: run for run in prefect.runs} if isinstance(prefect, FlowRuns) else {}
    rows = [_row(run, known.get(run["flow_run_id"] or ""), words_of(request)) for run in runs]
    return render(
        request,
        "runs/list.html",
        rows=rows,
        # What Prefect alone calls failed or tried again is known for the rows of this page only.
        troubled=sums.get("failed", 0) + sum(1 for row in rows if row["failed"] and not row["failed_deliveries"]),
        retried=sums.get("retried", 0) + sum(1 for row in rows if row["retried"] and not row["retries"]),
        ran=sums.get("ran", 0),
        needless=sums.get("needless", 0),
        unknown=context.pop("unknown", ""),
        unavailable=prefect.reason if isinstance(prefect, Unavailable) else "",
        kinds=[(kind.value, kind.zh) for kind in EventKind],
        states=STATES,
        operator=operator,
        prefect_ui=origin(services.settings.prefect_port) if services.settings.prefect_enabled else "",
        **context,
    )


def _prefect_of(request: Request, services: Services, ids: list[str]) -> FlowRuns | Unavailable:
    """What Prefect shows of these runs. A test, or another outfit, puts its own reader in ``app.state``."""
    state = request.app.state
    if not hasattr(state, "prefect_history"):
        state.prefect_history = open_history(services.settings)
    history: History | Unavailable = state.prefect_history
    real = [run_id for run_id in ids if not run_id.startswith("bundle:")]
    return history.runs_with(real) if isinstance(history, History) else history


def _row(run: dict[str, Any], flow_run: FlowRun | None, say: Say) -> dict[str, Any]:
    failed = run["failed_deliveries"] > 0
    tasks = list(flow_run.tasks) if flow_run is not None else []
    retried = run["retries"] > 0
    return {
        **run,
        "deliveries": [_delivery(one) for one in run["deliveries"]],
        "failed": failed or any(task.state in _BAD for task in tasks),
        "retried": retried or any(task.attempts > 1 for task in tasks),
        "late_seconds": _late(run),
        "step_text": queries.step_of(run["event"], run["step"], say),
        "prefect": _prefect_view(flow_run) if flow_run is not None else None,
    }


def _delivery(one: dict[str, Any]) -> dict[str, Any]:
    attempts = [{**a, "outcome_zh": _OUTCOMES.get(a["outcome"], a["outcome"])} for a in one["attempts"]]
    return {**one, "failed": one["state"] in _NOT_ARRIVED, "attempts": attempts}


def _late(run: dict[str, Any]) -> float:
    """Seconds between due and claimed."""
    if not run["started_at"] or not run["due_at"]:
        return 0.0
    span: timedelta = datetime.fromisoformat(run["started_at"]) - datetime.fromisoformat(run["due_at"])
    return max(0.0, span.total_seconds())


def _prefect_view(run: FlowRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "state": _PREFECT_STATES.get(run.state, run.state),
        "state_name": run.state_name,
        "bad": run.state in _BAD,
        "message": run.message,
        "backfilled": run.is_backfilled,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "page": blocks(run.page),
        "tasks": [
            {
                "name": task.name,
                "state": _PREFECT_STATES.get(task.state, task.state),
                "state_name": task.state_name,
                "bad": task.state in _BAD,
                "message": task.message,
                "attempts": task.attempts,
                "started_at": task.started_at,
                "ended_at": task.ended_at,
            }
            for task in run.tasks
        ],
    }


def _printable(text: str) -> str:
    """A number as it may be looked for; a database takes no NUL."""
    return "".join(character for character in text if character.isprintable()).strip()


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _known(value: str, words: type[EventKind]) -> str:
    return value if value in {member.value for member in words} else ""


def _links(base: str, following: int | None, *, after: int, state: str, **asked: str) -> dict[str, str]:
    """Addresses of the page before and the page behind, of the troubled runs and of those that never ran."""
    chosen = {name: value for name, value in asked.items() if value}
    kept = chosen | ({"state": state} if state else {})
    back = max(0, after - _ON_A_PAGE)
    return {
        **{word: f"{base}?{urlencode({**chosen, 'state': word})}" for word in ("failed", "retried", "superseded")},
        "before": f"{base}?{urlencode({**kept, 'after': back})}" if after else "",
        "after": f"{base}?{urlencode({**kept, 'after': following})}" if following is not None else "",
    }
