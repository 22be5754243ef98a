"""Everything that can be done to an incident from its screen: one plain POST each, then back to the screen.

An action says whom it is for, in which states of the incident it is offered, whether it is reserved for the lead's own
line, whether a stale page may not send it, and what a second person has to do with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from huiying.service import incidents, queries
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
from huiying.web.pages.shown_times import when

_P = Permission
#: What an action answers: the incident as it stands now, and what to say.
Done = tuple[dict[str, Any], str]
Perform = Callable[[Services, Actor, str, Fields], Done]


def _(text: str) -> str:
    """Mark a text for the catalogue."""
    return text


@dataclass(frozen=True, slots=True)
class Action:
    """One form. ``when``: open (neither ended nor merged), merged, ended, or lasting (open and ended).

    ``told``: from what came of it, how loud the word about it is (done, warn) and to which page it leads.
    """

    name: str
    title: str
    permission: Permission
    perform: Perform
    when: str = "open"
    lead_only: bool = False
    decisive: bool = False
    second: str = ""
    told: Callable[[dict[str, Any]], tuple[str, str]] = lambda view: ("done", f"/incidents/{view['no']}")


def _acknowledge(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    request = AckRequest(fields.text("clock_key"), fields.text("step_id"), fields.text("note"), via="desk")
    return incidents.acknowledge(services, actor, no, request), fields.say("已签收。时限照常计算，发布后才停止。")


def _grade(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    kind, severity = grade_of(fields)
    basis = fields.chosen("basis", GradeBasis, fields.say("定级理由"), GradeBasis.INITIAL)
    effective = fields.at("effective_at", fields.say("新情况出现时间"))
    if not fields.text("criterion"):
        fields.errors["criterion"] = fields.say("请写明定级依据。")
    if basis is GradeBasis.WORSENED and effective is None:
        fields.errors.setdefault("effective_at", fields.say("事态升级须写明新情况出现的时间。"))
    if basis is GradeBasis.WORSENED and not fields.text("evidence"):
        fields.errors["evidence"] = fields.say("事态升级须写明事实依据。")
    fields.check()
    request = GradeRequest(kind, severity, basis, fields.text("criterion"), effective, fields.text("evidence"))
    view = incidents.grade(services, actor, no, request)
    grade = view["severity_zh"] or view["kind_zh"]
    return view, _then(fields, view, _("已定级：{what}。"), what=fields.say(grade))


def _running(fields: Fields, view: dict[str, Any]) -> str:
    """The clocks that run now, with their due times."""
    found = [clock for clock in view["clocks"] if clock["binding"] and clock["state"] in {"running", "breached"}]
    if not found:
        return fields.say("没有正在计时的时钟。")
    one, words = fields.say("{name} {due} 止"), []
    for clock in found[:6]:
        name, due = str(clock["name"]), when(clock["due_at"], view["now"])
        words.append(one.format(name=fields.say(name), due=due))
    return fields.say("正在计时：{words}。").format(words=fields.say("、").join(words))


def _then(fields: Fields, view: dict[str, Any], said: str, **values: object) -> str:
    """What was done, and what runs now."""
    return fields.say(said).format(**values) + _running(fields, view)


def _release(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    kind = fields.chosen("kind", PublicationKind, fields.say("发布形式"), PublicationKind.RELEASE)
    content = fields.chosen("content_kind", ContentKind, fields.say("内容类型"), ContentKind.ORIGINAL)
    published = fields.at("published_at", fields.say("发布（开始）时间"), required=True)
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
    said = fields.say("已登记{kind}。{effect}。").format(
        kind=fields.say(kind.zh), effect=fields.say(view.get("effect", ""))
    )
    if view.get("waits"):
        sentence = fields.say(
            "发布在时限之内、登记在时限之后：暂按超时完成记，是否算按时待第二人确认（申请 {number}），请另一人用本人账号办理。"
        )
        said += sentence.format(number=view["waits"])
    return view, said


def _released(view: dict[str, Any]) -> tuple[str, str]:
    place = f"/incidents/{view['no']}"
    return ("warn", f"{place}#requests") if view.get("waits") else ("done", place)


def _evidence(fields: Fields) -> None:
    url = fields.text("url")
    if not url and not fields.text("text"):
        fields.errors["url"] = fields.say("请填写发布网址或发布内容作为凭据，否则不能认定为已发布。")
    elif url and not url.lower().startswith(("http://", "https://")):
        fields.errors["url"] = fields.say("网址须以 http:// 或 https:// 开头。")


_TRISTATE = {"": None, "yes": True, "no": False}


def _tristate(fields: Fields, name: str) -> bool | None:
    if fields.text(name) not in _TRISTATE:
        fields.errors[name] = fields.say("请选择是或否，不改则留空。")
    return _TRISTATE.get(fields.text(name))


def _review(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    number = fields.whole("publication", fields.say("发布记录编号"))
    verdict = fields.word("review", Review, fields.say("核验结论"))
    content = fields.word("content_kind", ContentKind, fields.say("内容类型"))
    choices = {name: _tristate(fields, name) for name in ("substantive", "credited", "withdrawn")}
    if verdict is None and content is None and all(choice is None for choice in choices.values()):
        fields.errors.setdefault("review", fields.say("请至少作一项判断；没有要改的就不必提交。"))
    fields.check()
    request = ReviewRequest(number, verdict, content, note=fields.text("note"), **choices)
    view = incidents.review(services, actor, no, request)
    return view, _then(fields, view, _("已核验发布记录 {number}，时钟已重新判定。"), number=number)


def _correct(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    kind = fields.chosen("kind", TimeKind, fields.say("要更正的时间"), TimeKind.OCCURRED)
    time = stated_time(fields, "value", fields.say("更正后的时间"), required=True)
    _reason(fields, fields.say("更正理由"))
    view = incidents.correct(services, actor, no, CorrectRequest(fields.text("reason"), kind, time))
    return view, _then(fields, view, _("已更正{kind}，时钟已重新计算。"), kind=fields.say(kind.zh))


def _late_exposure(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    _reason(fields, fields.say("理由"))
    wanted = fields.text("confirmed") == "yes"
    view = incidents.correct(services, actor, no, CorrectRequest(fields.text("reason"), late_exposure=wanted))
    said = _("已改为按首发（曝光）时间起算。") if wanted else _("已改为按事发时间起算。")
    return view, _then(fields, view, said)


def _reason(fields: Fields, label: str) -> None:
    if not fields.text("reason"):
        fields.errors["reason"] = fields.say("请填写{label}。").format(label=label)
    fields.check()


def _details(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    names = {name for name, _value in fields.pairs}
    changes: dict[str, str] = {
        name: fields.text(name) for name in ("title", "body", "notice_title", "category") if name in names
    }
    if not changes.get("title", "x"):
        fields.errors["title"] = fields.say("标题不能为空。")
    _reason(fields, fields.say("修改理由"))
    view = incidents.update_details(services, actor, no, changes, fields.text("reason"))
    return view, fields.say("已修改内容，原文的摘要已留存。")


def _merge(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    into = fields.text("into")
    if not into:
        fields.errors["into"] = fields.say("请填写主件编号。")
    _reason(fields, fields.say("并案理由"))
    view = incidents.merge(services, actor, no, into, fields.text("reason"))
    primary = queries.view_incident(services, into, actor)
    return view, _then(fields, primary, _("已并入 {into}，主件的时钟已按最早的时间重新计算。"), into=into)


def _unmerge(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    _reason(fields, fields.say("拆分理由"))
    view = incidents.unmerge(services, actor, no, fields.text("reason"))
    return view, _then(fields, view, _("已拆出。"))


def _ending(use: Callable[[Services, Actor, str, str], dict[str, Any]], said: str) -> Perform:
    def perform(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
        _reason(fields, fields.say("理由"))
        return use(services, actor, no, fields.text("reason")), fields.say(said)

    return perform


def _reopen(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    times = times_of(fields)
    _reason(fields, fields.say("重开理由"))
    view = incidents.reopen(services, actor, no, fields.text("reason"), times)
    return view, _then(fields, view, _("已重开，进入第 {cycle} 轮。"), cycle=view["cycle"])


def _reassign(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    if not fields.text("unit_id"):
        fields.errors["unit_id"] = fields.say("请选择新的主办单位。")
    _reason(fields, fields.say("转交理由"))
    view = incidents.reassign(services, actor, no, fields.text("unit_id"), fields.text("reason"))
    return view, fields.say("主办单位已变更为{unit}，时限不重新起算。").format(unit=view["unit"]["name"])


def _task(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    due = fields.at("due_at", fields.say("任务截止时间"), required=True)
    for name, label in (("unit_id", fields.say("承办单位")), ("name", fields.say("任务名称"))):
        if not fields.text(name):
            fields.errors[name] = fields.say("请填写{label}。").format(label=label)
    fields.check()
    assert due is not None
    unit, name = fields.text("unit_id"), fields.text("name")
    view = incidents.add_task(services, actor, no, unit, name, due, fields.text("key"))
    return view, fields.say("已交办：{name}。").format(name=name)


def _task_done(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    done = fields.at("at", fields.say("完成时间"), required=True)
    fields.check()
    assert done is not None
    return incidents.task_done(services, actor, no, fields.text("task"), done), fields.say("已登记任务完成。")


def _transfer(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    received = fields.at("received_at", fields.say("接收时间"), required=True)
    due = fields.at("due_at", fields.say("反馈时限"))
    if not fields.text("notice_no"):
        fields.errors["notice_no"] = fields.say("请填写来文号。")
    fields.check()
    assert received is not None
    request = TransferInput(fields.text("notice_no"), received, due, fields.text("from_org"))
    view = incidents.add_transfer(services, actor, no, request, fields.text("key"))
    return view, fields.say("已登记转办通知。") + ("" if due else fields.say("来文没有写明反馈时限，不设时钟。"))


def _feedback(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    sent = fields.at("at", fields.say("反馈时间"), required=True)
    fields.check()
    assert sent is not None
    return incidents.transfer_feedback(services, actor, no, fields.text("transfer"), sent), fields.say(
        "已登记向上级反馈。"
    )


def _continuous(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    hours = fields.whole("every_hours", fields.say("间隔小时数"))
    fields.check()
    view = incidents.set_continuous(services, actor, no, hours)
    if not hours:
        return view, fields.say("已停止持续发布计时。")
    return view, fields.say("持续发布间隔已设为 {hours} 小时（内部要求）。").format(hours=hours)


def _stage(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    stage = fields.text("stage")
    view = incidents.enter_stage(services, actor, no, stage, fields.text("note"))
    return view, fields.say("已进入「{stage}」阶段。").format(stage=stage)


def _attribution(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    found = fields.chosen("attribution", Attribution, fields.say("归因"), Attribution.LATE_RESPONSE)
    if not fields.text("note"):
        fields.errors["note"] = fields.say("请填写归因说明。")
    fields.check()
    key, note = fields.text("clock_key"), fields.text("note")
    view = incidents.confirm_attribution(services, actor, no, key, found, note)
    return view, fields.say("已确认归因：{what}。").format(what=fields.say(found.zh))


def _replan(services: Services, actor: Actor, no: str, fields: Fields) -> Done:
    _reason(fields, fields.say("更换理由"))
    key, policy, reason = fields.text("clock_key"), fields.text("policy_id"), fields.text("reason")
    view = incidents.replan(services, actor, no, key, policy, reason)
    return view, fields.say("已更换督办方案，后续提醒按新方案排定。")


_ALWAYS = _("须第二人确认：提交后生成待确认申请，确认之前各项时限照常计算。")
_LATER = _("凡使最早的未完成时限后移，或使已超时变为按时的，须第二人确认；其余立即生效。")

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("acknowledge", _("签收"), _P.ACKNOWLEDGE, _acknowledge),
        Action(
            "release", _("登记发布、回应、发布会"), _P.RELEASE, _release, told=_released,
            second=_("发布在时限之内、登记在时限之后的，计时立即停止；是否算按时须第二人确认。"),
        ),
        Action("review", _("核验发布"), _P.REVIEW, _review, when="lasting", second=_("核验人就是登记人的，须第二人确认。")),
        Action("stage", _("进入阶段"), _P.ASSIGN, _stage),
        Action("grade", _("定级与变更定级"), _P.GRADE, _grade, lead_only=True, decisive=True, second=_LATER),
        Action("correct", _("更正时间"), _P.CORRECT, _correct, lead_only=True, decisive=True, second=_LATER),
        Action(
            "late-exposure", _("按首发时间起算"), _P.CORRECT, _late_exposure, lead_only=True, decisive=True,
            second=_("改为按首发（曝光）时间起算，须带班领导作为第二人确认；严格口径仍然保留显示。"),
        ),
        Action("details", _("修改内容"), _P.CORRECT, _details, decisive=True),
        Action("task", _("交办部门任务"), _P.ASSIGN, _task),
        Action("task-done", _("任务完成"), _P.ACKNOWLEDGE, _task_done),
        Action("transfer", _("登记上级转办"), _P.REGISTER, _transfer),
        Action(
            "feedback", _("已向上级反馈"), _P.RELEASE, _feedback,
            second=_("按时反馈但逾期登记的，须第二人确认。"),
        ),
        Action("continuous", _("持续发布间隔"), _P.ASSIGN, _continuous),
        Action("reassign", _("变更主办单位"), _P.ASSIGN, _reassign, lead_only=True, decisive=True, second=_LATER),
        Action("attribution", _("确认超时归因"), _P.ATTRIBUTE, _attribution, when="lasting"),
        Action("replan", _("更换督办方案"), _P.REPLAN, _replan),
        Action(
            "merge", _("办理：并案"), _P.MERGE, _merge, lead_only=True, decisive=True, second=_LATER,
            told=lambda view: ("done", f"/incidents/{view['merged_into']}"),
        ),
        Action("unmerge", _("拆出"), _P.MERGE, _unmerge, when="merged", lead_only=True, decisive=True, second=_LATER),
        Action(
            "close", _("办结归档"), _P.END, _ending(incidents.close, _("已办结归档。")), lead_only=True, decisive=True,
        ),
        Action("void", _("误报撤销"), _P.END, _ending(incidents.void, _("已撤销。")), lead_only=True, decisive=True, second=_ALWAYS),
        Action("waive", _("研判不予回应"), _P.END, _ending(incidents.waive, _("已记为不予回应。")), lead_only=True, decisive=True, second=_ALWAYS),
        Action("hand-over", _("移交其他机关"), _P.END, _ending(incidents.hand_over, _("已移交。")), lead_only=True, decisive=True, second=_ALWAYS),
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
