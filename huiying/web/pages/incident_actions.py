"""Everything that can be done to an incident from its screen: one plain POST each, then back to the screen.

An action says whom it is for, in which states of the incident it is offered, whether it is reserved for the lead's own
line, whether a stale page may not send it, and what a second person has to do with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from huiying.domain.access import Permission
from huiying.domain.kinds import (
    Attribution,
    ContentKind,
    GradeBasis,
    PublicationKind,
    Review,
    TimeKind,
)
from huiying.service import incidents
from huiying.service.actor import Actor
from huiying.service.requests import (
    AckRequest,
    CorrectRequest,
    GradeRequest,
    ReleaseRequest,
    ReviewRequest,
    TransferInput,
)
from huiying.service.services import Services
from huiying.web.pages.incident_forms import STATED, Fields, grade_of, stated_time, times_of

_P = Permission
#: What an action answers: the incident as it stands now, and what to say.
Done = tuple[dict[str, Any], str]
Perform = Callable[[Services, Actor, str, Fields], Done]


def _(text: str) -> str:
    """Mark a text for the catalogue."""
    return text


@dataclass(frozen=True, slots=True)
class Action:
    """One form. ``when``: open (neither ended nor merged), merged, ended, or lasting (open and ended)."""

    name: str
    title: str
    permission: Permission
    perform: Perform
    when: str = "open"
    lead_only: bool = False
    decisive: bool = False
    second: str = ""


def _acknowledge(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    request = AckRequest(fields.text("clock_key"), fields.text("step_id"), fields.text("note"), via="desk")
    return incidents.acknowledge(services, actor, no, request), "已签收。时限照常计算,发布后才停止。"


def _grade(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    kind, severity = grade_of(fields)
    basis = fields.chosen("basis", GradeBasis, "定级理由", GradeBasis.INITIAL)
    effective = fields.at("effective_at", "新情况出现时间")
    if not fields.text("criterion"):
        fields.errors["criterion"] = "请写明定级依据。"
    if basis is GradeBasis.WORSENED and effective is None:
        fields.errors.setdefault("effective_at", "事态升级须写明新情况出现的时间。")
    if basis is GradeBasis.WORSENED and not fields.text("evidence"):
        fields.errors["evidence"] = "事态升级须写明事实依据。"
    fields.check()
    request = GradeRequest(kind, severity, basis, fields.text("criterion"), effective, fields.text("evidence"))
    view = incidents.grade(services, actor, no, request)
    return view, f"已定级:{view['severity_zh'] or view['kind_zh']}。{_running(view)}"


def _running(view: dict[str, Any]) -> str:
    """The clocks that run now, with their due times."""
    found = [clock for clock in view["clocks"] if clock["binding"] and clock["state"] in {"running", "breached"}]
    if not found:
        return "没有正在计时的时钟。"
    words = "、".join(f"{c['name']} {datetime.fromisoformat(c['due_at']):%m-%d %H:%M} 止" for c in found[:6])
    return f"正在计时:{words}。"


def _release(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    kind = fields.chosen("kind", PublicationKind, "发布形式", PublicationKind.RELEASE)
    content = fields.chosen("content_kind", ContentKind, "内容类型", ContentKind.ORIGINAL)
    published = fields.at("published_at", "发布(开始)时间", required=True)
    _evidence(fields)
    fields.check()
    assert published is not None
    checked_by = fields.text("checked_by")
    request = ReleaseRequest(
        kind,
        published,
        content,
        title=fields.text("title"),
        url=fields.text("url"),
        text=fields.text("text"),
        channel=fields.text("channel"),
        leader_voice=fields.flag("leader_voice"),
        confidentiality={"checked_by": checked_by} if checked_by else {},
    )
    view = incidents.record_release(services, actor, no, request, fields.text("key"))
    return view, f"已登记{kind.zh}。{view.get('effect', '')}。"


def _evidence(fields: Fields) -> None:
    url = fields.text("url")
    if not url and not fields.text("text"):
        fields.errors["url"] = "请填写发布网址或发布内容作为凭据,否则不能认定为已发布。"
    elif url and not url.lower().startswith(("http://", "https://")):
        fields.errors["url"] = "网址须以 http:// 或 https:// 开头。"


_TRISTATE = {"": None, "yes": True, "no": False}


def _tristate(fields: Fields, name: str) -> bool | None:
    if fields.text(name) not in _TRISTATE:
        fields.errors[name] = "请选择是或否,不改则留空。"
    return _TRISTATE.get(fields.text(name))


def _review(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    number = fields.whole("publication", "发布记录编号")
    verdict = fields.word("review", Review, "核验结论")
    content = fields.word("content_kind", ContentKind, "内容类型")
    choices = {name: _tristate(fields, name) for name in ("substantive", "credited", "withdrawn")}
    if verdict is None and content is None and all(choice is None for choice in choices.values()):
        fields.errors.setdefault("review", "请至少作一项判断;没有要改的就不必提交。")
    fields.check()
    request = ReviewRequest(number, verdict, content, note=fields.text("note"), **choices)
    view = incidents.review(services, actor, no, request)
    return view, f"已核验发布记录 {number},时钟已重新判定。{_running(view)}"


def _correct(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    kind = fields.chosen("kind", TimeKind, "要更正的时间", TimeKind.OCCURRED)
    time = stated_time(fields, "value", "更正后的时间", required=True)
    _reason(fields, "更正理由")
    view = incidents.correct(services, actor, no, CorrectRequest(fields.text("reason"), kind, time))
    return view, f"已更正{kind.zh},时钟已重新计算。{_running(view)}"


def _late_exposure(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    _reason(fields, "理由")
    wanted = fields.text("confirmed") == "yes"
    view = incidents.correct(services, actor, no, CorrectRequest(fields.text("reason"), late_exposure=wanted))
    return view, f"已改为{'按首发(曝光)时间' if wanted else '按事发时间'}起算。{_running(view)}"


def _reason(fields: Fields, label: str) -> None:
    if not fields.text("reason"):
        fields.errors["reason"] = f"请填写{label}。"
    fields.check()


def _details(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    names = {name for name, _value in fields.pairs}
    changes: dict[str, str] = {
        name: fields.text(name) for name in ("title", "body", "notice_title", "category") if name in names
    }
    if not changes.get("title", "x"):
        fields.errors["title"] = "标题不能为空。"
    _reason(fields, "修改理由")
    return incidents.update_details(
        services, actor, no, changes, fields.text("reason")
    ), "已修改内容,原文的摘要已留存。"


def _merge(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    into = fields.text("into")
    if not into:
        fields.errors["into"] = "请填写主件编号。"
    _reason(fields, "并案理由")
    return incidents.merge(
        services, actor, no, into, fields.text("reason")
    ), f"已并入 {into},时钟按最早的时间重新计算。"


def _unmerge(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    _reason(fields, "拆分理由")
    view = incidents.unmerge(services, actor, no, fields.text("reason"))
    return view, f"已拆出。{_running(view)}"


def _ending(use: Callable[[Services, Actor, str, str], dict[str, Any]], said: str) -> Perform:
    def perform(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
        _reason(fields, "理由")
        return use(services, actor, no, fields.text("reason")), said

    return perform


def _reopen(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    times = times_of(fields)
    _reason(fields, "重开理由")
    view = incidents.reopen(services, actor, no, fields.text("reason"), times)
    return view, f"已重开,进入第 {view['cycle']} 轮。{_running(view)}"


def _reassign(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    if not fields.text("unit_id"):
        fields.errors["unit_id"] = "请选择新的主办单位。"
    _reason(fields, "转交理由")
    view = incidents.reassign(services, actor, no, fields.text("unit_id"), fields.text("reason"))
    return view, f"主办单位已变更为{view['unit']['name']},时限不重新起算。"


def _task(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    due = fields.at("due_at", "任务截止时间", required=True)
    for name, label in (("unit_id", "承办单位"), ("name", "任务名称")):
        if not fields.text(name):
            fields.errors[name] = f"请填写{label}。"
    fields.check()
    assert due is not None
    unit, name = fields.text("unit_id"), fields.text("name")
    return incidents.add_task(services, actor, no, unit, name, due, fields.text("key")), f"已交办:{name}。"


def _task_done(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    done = fields.at("at", "完成时间", required=True)
    fields.check()
    assert done is not None
    return incidents.task_done(services, actor, no, fields.text("task"), done), "已登记任务完成。"


def _transfer(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    received = fields.at("received_at", "接收时间", required=True)
    due = fields.at("due_at", "反馈时限")
    if not fields.text("notice_no"):
        fields.errors["notice_no"] = "请填写来文号。"
    fields.check()
    assert received is not None
    request = TransferInput(fields.text("notice_no"), received, due, fields.text("from_org"))
    view = incidents.add_transfer(services, actor, no, request, fields.text("key"))
    return view, "已登记转办通知。" + ("" if due else "来文没有写明反馈时限,不设时钟。")


def _feedback(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    sent = fields.at("at", "反馈时间", required=True)
    fields.check()
    assert sent is not None
    return incidents.transfer_feedback(services, actor, no, fields.text("transfer"), sent), "已登记向上级反馈。"


def _continuous(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    hours = fields.whole("every_hours", "间隔小时数")
    fields.check()
    view = incidents.set_continuous(services, actor, no, hours)
    return view, f"持续发布间隔已设为 {hours} 小时(内部要求)。" if hours else "已停止持续发布计时。"


def _stage(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    stage = fields.text("stage")
    return incidents.enter_stage(services, actor, no, stage, fields.text("note")), f"已进入「{stage}」阶段。"


def _attribution(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    found = fields.chosen("attribution", Attribution, "归因", Attribution.LATE_RESPONSE)
    if not fields.text("note"):
        fields.errors["note"] = "请填写归因说明。"
    fields.check()
    key, note = fields.text("clock_key"), fields.text("note")
    return incidents.confirm_attribution(services, actor, no, key, found, note), f"已确认归因:{found.zh}。"


def _replan(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    _reason(fields, "更换理由")
    key, policy, reason = fields.text("clock_key"), fields.text("policy_id"), fields.text("reason")
    return incidents.replan(services, actor, no, key, policy, reason), "已更换督办方案,后续提醒按新方案排定。"


_ALWAYS = _("须第二人确认:提交后生成待确认申请,确认之前各项时限照常计算。")
_LATER = _("凡使最早的未完成时限后移,或使已超时变为按时的,须第二人确认;其余立即生效。")

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("acknowledge", _("签收"), _P.ACKNOWLEDGE, _acknowledge),
        Action(
            "release", _("登记发布、回应、发布会"), _P.RELEASE, _release,
            second=_("发布在时限之内、登记在时限之后的,计时立即停止;是否算按时须第二人确认。"),
        ),
        Action("review", _("核验发布"), _P.REVIEW, _review, when="lasting", second=_("核验人就是登记人的,须第二人确认。")),
        Action("stage", _("进入阶段"), _P.ASSIGN, _stage),
        Action("grade", _("定级与变更定级"), _P.GRADE, _grade, lead_only=True, decisive=True, second=_LATER),
        Action("correct", _("更正时间"), _P.CORRECT, _correct, lead_only=True, decisive=True, second=_LATER),
        Action(
            "late-exposure", _("按首发时间起算"), _P.CORRECT, _late_exposure, lead_only=True, decisive=True,
            second=_("改为按首发(曝光)时间起算,须带班领导作为第二人确认;严格口径仍然保留显示。"),
        ),
        Action("details", _("修改内容"), _P.CORRECT, _details, decisive=True),
        Action("task", _("交办部门任务"), _P.ASSIGN, _task),
        Action("task-done", _("任务完成"), _P.ACKNOWLEDGE, _task_done),
        Action("transfer", _("登记上级转办"), _P.REGISTER, _transfer),
        Action(
            "feedback", _("已向上级反馈"), _P.RELEASE, _feedback,
            second=_("按时反馈但逾期登记的,须第二人确认。"),
        ),
        Action("continuous", _("持续发布间隔"), _P.ASSIGN, _continuous),
        Action("reassign", _("变更主办单位"), _P.ASSIGN, _reassign, lead_only=True, decisive=True, second=_LATER),
        Action("attribution", _("确认超时归因"), _P.ATTRIBUTE, _attribution, when="lasting"),
        Action("replan", _("更换督办方案"), _P.REPLAN, _replan),
        Action("merge", _("并案"), _P.MERGE, _merge, lead_only=True, decisive=True, second=_LATER),
        Action("unmerge", _("拆出"), _P.MERGE, _unmerge, when="merged", lead_only=True, decisive=True, second=_LATER),
        Action(
            "close", _("办结归档"), _P.END, _ending(incidents.close, "已办结归档。"), lead_only=True, decisive=True,
        ),
        Action("void", _("误报撤销"), _P.END, _ending(incidents.void, "已撤销。"), lead_only=True, decisive=True, second=_ALWAYS),
        Action("waive", _("研判不予回应"), _P.END, _ending(incidents.waive, "已记为不予回应。"), lead_only=True, decisive=True, second=_ALWAYS),
        Action("hand-over", _("移交其他机关"), _P.END, _ending(incidents.hand_over, "已移交。"), lead_only=True, decisive=True, second=_ALWAYS),
        Action("reopen", _("复燃重开"), _P.END, _reopen, when="ended", lead_only=True, decisive=True),
    )
}  # fmt: skip


def offered(action: Action, view: dict[str, Any], actor: Actor, *, leads: bool) -> bool:
    """Whether this actor is shown this form now; the use case decides again when it is sent."""
    if action.permission not in actor.permissions or (action.lead_only and not leads):
        return False
    life = "merged" if view["merged_into"] else "ended" if view["ended_at"] else "open"
    if action.when == "lasting":
        if life == "merged":
            return False
    elif action.when != life:
        return False
    return _has_object(action.name, view)


def _has_object(name: str, view: dict[str, Any]) -> bool:
    """Whether there is anything the action could be about."""
    if name == "review":
        return bool(view["publications"])
    if name == "attribution":
        return any(clock["noticed_at"] for clock in view["clocks"])
    if name == "task-done":
        return any(task["done_at"] is None for task in view["tasks"])
    if name == "feedback":
        return any(transfer["feedback_at"] is None for transfer in view["transfers"])
    if name == "late-exposure":
        return view["late_exposure"] or any(time["kind"] == TimeKind.EXPOSED for time in view["times"])
    return True


def correctable() -> list[tuple[str, str]]:
    """The times that can be corrected, with their names."""
    return [(str(kind), kind.zh) for kind in STATED]


def stale(fields: Fields, view: dict[str, Any]) -> bool:
    """Whether the incident has changed since the page was made from which a decisive form comes."""
    seen = fields.text("version")
    return seen.isdigit() and int(seen) != view["version"]
