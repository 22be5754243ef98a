"""Incidents over HTTP: the same commands and words as on the command line."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from huiying.service import incidents, queries
from huiying.web import bodies
from huiying.web.callers import Caller, House, Key, Reader

router = APIRouter(prefix="/api/v1/incidents", tags=["事项"])

No = Annotated[str, Path(max_length=20, description="事项编号，如 2026-0001")]
Part = Annotated[str, Path(max_length=20)]
View = dict[str, Any]


@router.post("", status_code=201, summary="登记事项")
def register(services: House, actor: Caller, body: bodies.RegisterBody, response: Response, key: Key = "") -> View:
    view = incidents.register(services, actor, body.parsed(), key)
    response.headers["Location"] = f"/api/v1/incidents/{view['no']}"
    return view


@router.get("", summary="事项列表")
def listing(
    services: House,
    actor: Reader,
    state: str = "",
    kind: str = "",
    text: Annotated[str, Query(max_length=200)] = "",
    unit: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: str = "",
) -> View:
    return queries.incident_list(services, actor, state, kind, text, unit, limit, after)


@router.get("/{no}", summary="事项全貌")
def show(services: House, actor: Reader, no: No) -> View:
    return queries.view_incident(services, no, actor)


@router.get("/{no}/clocks", summary="事项的全部时钟")
def clocks(services: House, actor: Reader, no: No) -> View:
    view = queries.view_incident(services, no, actor)
    return {"no": view["no"], "clocks": view["clocks"], "untimed": view["untimed"]}


@router.get("/{no}/timeline", summary="时间线：已发生的和将要发生的")
def timeline(services: House, actor: Reader, no: No) -> View:
    return queries.timeline(services, no, actor)


@router.get("/{no}/runs", summary="运行记录：任务、重试、送达")
def runs(services: House, actor: Reader, no: No, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> View:
    queries.view_incident(services, no, actor)
    return queries.runs(services, no, limit=limit, actor=actor)


@router.post("/{no}/gradings", status_code=201, summary="定级、更正、升级、降级")
def grade(services: House, actor: Caller, no: No, body: bodies.GradeBody) -> View:
    return incidents.grade(services, actor, no, body.parsed())


@router.post("/{no}/releases", status_code=201, summary="登记发布、回应、发布会")
def release(services: House, actor: Caller, no: No, body: bodies.ReleaseBody, key: Key = "") -> View:
    return incidents.record_release(services, actor, no, body.parsed(), key)


@router.post("/{no}/releases/{publication}/reviews", status_code=201, summary="核验发布内容")
def review(services: House, actor: Caller, no: No, publication: int, body: bodies.ReviewBody) -> View:
    return incidents.review(services, actor, no, body.parsed(publication))


@router.post("/{no}/acknowledgements", status_code=201, summary="签收")
def acknowledge(services: House, actor: Caller, no: No, body: bodies.AckBody) -> View:
    return incidents.acknowledge(services, actor, no, body.parsed())


@router.post("/{no}/corrections", status_code=201, summary="更正时间")
def correct(services: House, actor: Caller, no: No, body: bodies.CorrectBody) -> View:
    return incidents.correct(services, actor, no, body.parsed())


@router.post("/{no}/merge", summary="并案")
def merge(services: House, actor: Caller, no: No, body: bodies.MergeBody) -> View:
    return incidents.merge(services, actor, no, body.into, body.reason)


@router.post("/{no}/unmerge", summary="拆出")
def unmerge(services: House, actor: Caller, no: No, body: bodies.ReasonBody) -> View:
    return incidents.unmerge(services, actor, no, body.reason)


@router.post("/{no}/void", summary="误报撤销")
def void(services: House, actor: Caller, no: No, body: bodies.ReasonBody) -> View:
    return incidents.void(services, actor, no, body.reason)


@router.post("/{no}/waive", summary="研判不予回应")
def waive(services: House, actor: Caller, no: No, body: bodies.ReasonBody) -> View:
    return incidents.waive(services, actor, no, body.reason)


@router.post("/{no}/hand-over", summary="移交")
def hand_over(services: House, actor: Caller, no: No, body: bodies.ReasonBody) -> View:
    return incidents.hand_over(services, actor, no, body.reason)


@router.post("/{no}/close", summary="办结归档")
def close(services: House, actor: Caller, no: No, body: bodies.ReasonBody) -> View:
    return incidents.close(services, actor, no, body.reason)


@router.post("/{no}/reopen", summary="复燃重开")
def reopen(services: House, actor: Caller, no: No, body: bodies.ReopenBody) -> View:
    times = {kind: stated.parsed() for kind, stated in body.times.items()}
    return incidents.reopen(services, actor, no, body.reason, times)


@router.patch("/{no}", summary="修改标题、情况说明、对外通知用标题、类别")
def details(services: House, actor: Caller, no: No, body: bodies.DetailsBody) -> View:
    return incidents.update_details(services, actor, no, body.changes(), body.reason)


@router.post("/{no}/assignments", status_code=201, summary="变更主办单位")
def reassign(services: House, actor: Caller, no: No, body: bodies.ReassignBody) -> View:
    return incidents.reassign(services, actor, no, body.unit_id, body.reason)


@router.post("/{no}/tasks", status_code=201, summary="部门任务")
def task(services: House, actor: Caller, no: No, body: bodies.TaskBody, key: Key = "") -> View:
    return incidents.add_task(services, actor, no, body.unit_id, body.name, body.due_at, key)


@router.post("/{no}/tasks/{task}/done", summary="部门任务完成")
def task_done(services: House, actor: Caller, no: No, task: Part, body: bodies.DoneBody) -> View:
    return incidents.task_done(services, actor, no, task, body.at)


@router.post("/{no}/transfers", status_code=201, summary="上级转办通知")
def transfer(services: House, actor: Caller, no: No, body: bodies.TransferBody, key: Key = "") -> View:
    return incidents.add_transfer(services, actor, no, body.parsed(), key)


@router.post("/{no}/transfers/{transfer}/feedback", summary="转办通知已反馈")
def transfer_feedback(services: House, actor: Caller, no: No, transfer: Part, body: bodies.DoneBody) -> View:
    return incidents.transfer_feedback(services, actor, no, transfer, body.at)


@router.post("/{no}/continuous", summary="持续发布间隔")
def continuous(services: House, actor: Caller, no: No, body: bodies.ContinuousBody) -> View:
    return incidents.set_continuous(services, actor, no, body.every_hours)


@router.post("/{no}/stages", status_code=201, summary="进入阶段")
def stage(services: House, actor: Caller, no: No, body: bodies.StageBody) -> View:
    return incidents.enter_stage(services, actor, no, body.stage, body.note)


@router.post("/{no}/attributions", status_code=201, summary="确认超时归因")
def attribution(services: House, actor: Caller, no: No, body: bodies.AttributionBody) -> View:
    return incidents.confirm_attribution(services, actor, no, body.clock_key, body.attribution, body.note)


@router.post("/{no}/replans", status_code=201, summary="更换督办方案")
def replan(services: House, actor: Caller, no: No, body: bodies.ReplanBody) -> View:
    return incidents.replan(services, actor, no, body.clock_key, body.policy_id, body.reason)
