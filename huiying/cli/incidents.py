"""``huiying incident …``, ``huiying request …``: the life of an incident."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from huiying.cli import show
from huiying.cli.session import command, day, group, moment, needed_moment, pairs, read_file, session
from huiying.domain.errors import Forbidden, InvalidInput
from huiying.domain.kinds import Attribution, ContentKind, GradeBasis, Kind, PublicationKind, Review, Severity, TimeKind

if TYPE_CHECKING:
    from huiying.service.requests import TimeInput

No = Annotated[str, typer.Argument(metavar="编号", help="事项编号，如 2026-0001。")]
Reason = Annotated[str, typer.Option("--reason", help="理由。")]

incident = group("事项：登记、定级、发布、签收、更正、并案、结束。")
request = group("待第二人确认的变更。")


def install(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(incident, name="incident")
    app.add_typer(request, name="request")


def _times(
    stated: dict[TimeKind, str | None], sources: dict[str, str], estimated: list[str]
) -> dict[TimeKind, TimeInput]:
    """The stated times with their sources; ``--source-of occurred=…`` and ``--estimated occurred`` name them by word."""
    from huiying.service.requests import TimeInput

    words = {kind.value.removesuffix("_at").removeprefix("first_"): kind for kind in stated}
    unknown = sorted((set(sources) | set(estimated)) - set(words))
    if unknown:
        raise InvalidInput("times", f"没有「{unknown[0]}」这个时间，可用：{'、'.join(words)}。")
    found = {}
    for word, kind in words.items():
        value = moment(word, stated[kind])
        if value is not None:
            found[kind] = TimeInput(value, sources.get(word, ""), estimated=word in estimated)
    return found


@command(incident, "register")
def register(
    title: Annotated[str, typer.Option("--title", help="标题（内部使用，不外发），最多 200 字。")],
    kind: Annotated[Kind, typer.Option("--kind", help="emergency 突发事件，opinion 一般政务舆情。")],
    unit: Annotated[str, typer.Option("--unit", help="主办单位编号；只有一个单位（或一个最上级）时可不写。")] = "",
    severity: Annotated[Severity | None, typer.Option("--severity", help="级别，仅突发事件；可暂不填。")] = None,
    criterion: Annotated[str, typer.Option("--criterion", help="定级依据。")] = "",
    occurred: Annotated[str | None, typer.Option("--occurred", metavar="时间", help="事发时间。")] = None,
    exposed: Annotated[str | None, typer.Option("--exposed", metavar="时间", help="首发（曝光）时间。")] = None,
    captured: Annotated[str | None, typer.Option("--captured", metavar="时间", help="系统抓取时间。")] = None,
    detected: Annotated[str | None, typer.Option("--detected", metavar="时间", help="发现时间。")] = None,
    notified: Annotated[str | None, typer.Option("--notified", metavar="时间", help="接报时间。")] = None,
    source_of: Annotated[
        list[str] | None, typer.Option("--source-of", metavar="时间=来源", help="如 occurred=现场报告，可多次。")
    ] = None,
    estimated: Annotated[
        list[str] | None, typer.Option("--estimated", metavar="时间", help="估计的时间，如 occurred，可多次。")
    ] = None,
    body: Annotated[str, typer.Option("--body", help="情况说明。")] = "",
    body_file: Annotated[Path | None, typer.Option("--body-file", help="从文件读取情况说明。")] = None,
    notice_title: Annotated[
        str, typer.Option("--notice-title", help="对外通知用标题，会随消息外发，勿含敏感内容。")
    ] = "",
    source: Annotated[str, typer.Option("--source", help="来源，如 12345、舆情监测。")] = "",
    co_unit: Annotated[list[str] | None, typer.Option("--co-unit", help="协办单位编号，可多次。")] = None,
    region: Annotated[str, typer.Option("--region", help="属地行政区划代码。")] = "",
    category: Annotated[str, typer.Option("--category", help="事件类别。")] = "",
    late_exposure: Annotated[
        bool, typer.Option("--late-exposure", help="申请按首发时间起算（须第二人确认）。")
    ] = False,
    notice_no: Annotated[str, typer.Option("--notice-no", help="上级转办通知文号。")] = "",
    notice_received: Annotated[str | None, typer.Option("--notice-received", metavar="时间")] = None,
    notice_due: Annotated[str | None, typer.Option("--notice-due", metavar="时间", help="通知写明的时限。")] = None,
    from_org: Annotated[str, typer.Option("--from-org", help="转办单位。")] = "",
    key: Annotated[str, typer.Option("--idempotency-key", help="同一个键只登记一次。")] = "",
    drill: Annotated[bool, typer.Option("--drill", help="演练事项。")] = False,
) -> None:
    """登记事项；所有时钟随即起算。时间写成 2026-11-22T08:30:00+08:00。"""
    from huiying.service import incidents
    from huiying.service.requests import RegisterRequest

    stated = {
        TimeKind.OCCURRED: occurred,
        TimeKind.EXPOSED: exposed,
        TimeKind.CAPTURED: captured,
        TimeKind.DETECTED: detected,
        TimeKind.NOTIFIED: notified,
    }
    wanted = RegisterRequest(
        title=title,
        kind=kind,
        unit_id=unit,
        severity=severity,
        criterion=criterion,
        times=_times(stated, pairs("source-of", source_of or ()), list(estimated or ())),
        body=read_file(body_file, 256 * 1024).decode("utf-8", "replace") if body_file else body,
        notice_title=notice_title,
        source=source,
        co_units=tuple(co_unit or ()),
        region_code=region,
        category=category,
        late_exposure=late_exposure,
        transfer=_transfer(notice_no, notice_received, notice_due, from_org) if notice_no else None,
        drill=drill,
    )
    view = incidents.register(session.services, session.actor, wanted, key)
    session.say(f"已登记：{view['no']}")
    session.answer(view, show.incident)


def _transfer(notice_no: str, received: str | None, due: str | None, from_org: str) -> Any:
    from huiying.service.requests import TransferInput

    received_at = moment("notice-received", received)
    if received_at is None:
        raise InvalidInput("notice-received", "请写明收到转办通知的时间。")
    return TransferInput(notice_no, received_at, moment("notice-due", due), from_org)


@command(incident, "list")
def listing(
    state: Annotated[str, typer.Option("--state", help="open 为全部未结束的，或某一状态。")] = "open",
    kind: Annotated[str, typer.Option("--kind")] = "",
    text: Annotated[str, typer.Option("--text", help="编号或标题中的文字。")] = "",
    unit: Annotated[str, typer.Option("--unit")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    after: Annotated[str, typer.Option("--after", help="上一页最后一个编号。")] = "",
) -> None:
    """事项列表，新的在前。--state all 列出全部。"""
    from huiying.service import queries

    wanted = "" if state == "all" else state
    answer = queries.incident_list(session.services, _reader(), wanted, kind, text, unit, limit, after)
    columns: tuple[show.Column, ...] = (
        ("编号", lambda row: row["no"]),
        ("种类", lambda row: row["kind_zh"]),
        ("级别", lambda row: row["severity_zh"]),
        ("状态", lambda row: row["state_zh"]),
        ("主办", lambda row: row["unit"]["name"]),
        ("登记", lambda row: show.at(row["registered_at"])),
        ("标题", lambda row: row["title"]),
    )
    session.answer(answer, lambda data: show.table("", columns, data["incidents"], "没有事项。"))


def _reader() -> Any:
    session.actor.require("read")
    return session.actor


@command(incident, "show")
def show_one(
    no: No,
    runs: Annotated[bool, typer.Option("--runs", help="运行记录：任务、重试、送达。")] = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="时间线：已发生的和将要发生的。")] = False,
    everything: Annotated[bool, typer.Option("--all", help="与 --runs 同用：连同已失效的步骤。")] = False,
) -> None:
    """一个事项的全貌、运行记录或时间线。"""
    from huiying.service import queries

    if runs:
        queries.view_incident(session.services, no, _reader())
        found = queries.runs(session.services, no, actor=session.actor)
        session.answer(found, show.runs if everything else show.told_runs)
    elif timeline:
        session.answer(queries.timeline(session.services, no, _reader()), show.timeline)
    else:
        session.answer(queries.view_incident(session.services, no, _reader()), show.incident)


def _changed(view: dict[str, Any], sentence: str) -> None:
    session.say(sentence)
    session.answer(view, show.incident)


@command(incident, "grade")
def grade(
    no: No,
    kind: Annotated[Kind, typer.Option("--kind", help="emergency 或 opinion。")],
    basis: Annotated[
        GradeBasis,
        typer.Option("--basis", help="initial 初次定级，correction 自始如此，worsened 事态升级，downgrade 降级。"),
    ],
    criterion: Annotated[str, typer.Option("--criterion", help="定级依据。")],
    severity: Annotated[Severity | None, typer.Option("--severity", help="级别，仅突发事件。")] = None,
    effective_at: Annotated[
        str | None, typer.Option("--effective-at", metavar="时间", help="事态升级：新情况出现的时间。")
    ] = None,
    evidence: Annotated[str, typer.Option("--evidence", help="新情况的佐证。")] = "",
) -> None:
    """定级、更正、升级、降级。"""
    from huiying.service import incidents
    from huiying.service.requests import GradeRequest

    wanted = GradeRequest(kind, severity, basis, criterion, moment("effective-at", effective_at), evidence)
    _changed(incidents.grade(session.services, session.actor, no, wanted), f"已定级：{no}")


@command(incident, "release")
def release(
    no: No,
    kind: Annotated[
        PublicationKind, typer.Option("--kind", help="release 发布，response 回应，press_conference 发布会。")
    ],
    at: Annotated[str, typer.Option("--at", metavar="时间", help="发布时间；发布会为开始时间。")],
    url: Annotated[str, typer.Option("--url", help="地址。")] = "",
    text: Annotated[str, typer.Option("--text", help="正文。")] = "",
    text_file: Annotated[Path | None, typer.Option("--text-file", help="从文件读取正文。")] = None,
    title: Annotated[str, typer.Option("--title")] = "",
    channel: Annotated[str, typer.Option("--channel", help="发布渠道，如 政府网站、官方微博。")] = "",
    content: Annotated[
        ContentKind, typer.Option("--content", help="内容性质；转载不能充当回应。")
    ] = ContentKind.ORIGINAL,
    leader_voice: Annotated[bool, typer.Option("--leader-voice", help="主要负责人发声。")] = False,
    key: Annotated[str, typer.Option("--idempotency-key")] = "",
) -> None:
    """登记已经发生的发布、回应或发布会；有效的发布停止时钟。"""
    from huiying.service import incidents
    from huiying.service.requests import ReleaseRequest

    wanted = ReleaseRequest(
        kind,
        needed_moment("at", at),
        content,
        title=title,
        url=url,
        text=read_file(text_file, 256 * 1024).decode("utf-8", "replace") if text_file else text,
        channel=channel,
        leader_voice=leader_voice,
    )
    view = incidents.record_release(session.services, session.actor, no, wanted, key)
    _changed(view, f"已登记发布：{no}。{view.get('effect', '')}")


@command(incident, "review")
def review(
    no: No,
    publication: Annotated[int, typer.Argument(metavar="发布编号")],
    verdict: Annotated[Review | None, typer.Option("--verdict", help="accepted 已核，rejected 不予认可。")] = None,
    content: Annotated[ContentKind | None, typer.Option("--content", help="改判内容性质。")] = None,
    substantive: Annotated[
        bool | None, typer.Option("--substantive/--not-substantive", help="内容是否不敷衍。")
    ] = None,
    credit: Annotated[bool | None, typer.Option("--credit/--no-credit", help="升级前的发布是否计入。")] = None,
    withdrawn: Annotated[bool | None, typer.Option("--withdrawn/--not-withdrawn", help="已撤稿。")] = None,
    note: Annotated[str, typer.Option("--note")] = "",
) -> None:
    """核验一次发布。"""
    from huiying.service import incidents
    from huiying.service.requests import ReviewRequest

    wanted = ReviewRequest(publication, verdict, content, substantive, credit, withdrawn, note)
    _changed(incidents.review(session.services, session.actor, no, wanted), f"已核验：{no} 发布 {publication}")


@command(incident, "ack")
def acknowledge(
    no: No,
    clock: Annotated[str, typer.Option("--clock", help="时钟的键；不写为本人被要求签收的全部。")] = "",
    step: Annotated[str, typer.Option("--step", help="提醒步骤。")] = "",
    notice: Annotated[str, typer.Option("--notice", help="通知号。")] = "",
    note: Annotated[str, typer.Option("--note")] = "",
) -> None:
    """签收；只停止本级提醒的重复，不停止时钟。"""
    from huiying.service import incidents
    from huiying.service.requests import AckRequest

    wanted = AckRequest(clock, step, note, notice, via="cli")
    _changed(incidents.acknowledge(session.services, session.actor, no, wanted), f"已签收：{no}")


@command(incident, "correct")
def correct(
    no: No,
    reason: Reason,
    time: Annotated[str, typer.Option("--time", help="occurred、exposed、captured、detected、notified 之一。")] = "",
    value: Annotated[str | None, typer.Option("--value", metavar="时间")] = None,
    source: Annotated[str, typer.Option("--source", help="更正后的时间的来源。")] = "",
    estimated: Annotated[bool, typer.Option("--estimated")] = False,
    late_exposure: Annotated[bool | None, typer.Option("--late-exposure/--no-late-exposure")] = None,
) -> None:
    """更正时间；使超时变为按时的更正须第二人确认。"""
    from huiying.service import incidents
    from huiying.service.requests import CorrectRequest, TimeInput

    kind = _time_kind(time) if time else None
    at = moment("value", value)
    if (kind is None) != (at is None):
        raise InvalidInput("time", "--time 与 --value 须同时填写。")
    stated = TimeInput(at, source, estimated=estimated) if at is not None else None
    wanted = CorrectRequest(reason, kind, stated, late_exposure)
    _changed(incidents.correct(session.services, session.actor, no, wanted), f"已更正：{no}")


def _time_kind(word: str) -> TimeKind:
    for kind in TimeKind:
        if word in {kind.value, kind.value.removesuffix("_at").removeprefix("first_")}:
            return kind
    raise InvalidInput("time", f"没有「{word[:40]}」这个时间。")


@command(incident, "edit")
def edit(
    no: No,
    reason: Reason,
    title: Annotated[str | None, typer.Option("--title")] = None,
    body: Annotated[str | None, typer.Option("--body")] = None,
    notice_title: Annotated[str | None, typer.Option("--notice-title")] = None,
    category: Annotated[str | None, typer.Option("--category")] = None,
) -> None:
    """修改标题、情况说明、对外通知用标题、类别。"""
    from huiying.service import incidents

    given = {"title": title, "body": body, "notice_title": notice_title, "category": category}
    changes = {name: value for name, value in given.items() if value is not None}
    view = incidents.update_details(session.services, session.actor, no, changes, reason)
    _changed(view, f"已修改：{no}")


@command(incident, "merge")
def merge(no: No, into: Annotated[str, typer.Option("--into", metavar="编号", help="主件。")], reason: Reason) -> None:
    """并入主件；主件取最早的时间。"""
    from huiying.service import incidents

    _changed(incidents.merge(session.services, session.actor, no, into, reason), f"已将 {no} 并入 {into}")


@command(incident, "unmerge")
def unmerge(no: No, reason: Reason) -> None:
    """从主件中拆出。"""
    from huiying.service import incidents

    _changed(incidents.unmerge(session.services, session.actor, no, reason), f"已拆出：{no}")


@command(incident, "void")
def void(no: No, reason: Reason) -> None:
    """误报撤销（须第二人确认，确认前时钟照走）。"""
    from huiying.service import incidents

    _changed(incidents.void(session.services, session.actor, no, reason), f"已撤销：{no}")


@command(incident, "waive")
def waive(no: No, reason: Reason) -> None:
    """研判不予回应（须第二人确认）。"""
    from huiying.service import incidents

    _changed(incidents.waive(session.services, session.actor, no, reason), f"已按不予回应结束：{no}")


@command(incident, "hand-over")
def hand_over(no: No, reason: Reason) -> None:
    """移交其他机关（须第二人确认）。"""
    from huiying.service import incidents

    _changed(incidents.hand_over(session.services, session.actor, no, reason), f"已移交：{no}")


@command(incident, "close")
def close(no: No, reason: Reason) -> None:
    """办结归档。"""
    from huiying.service import incidents

    _changed(incidents.close(session.services, session.actor, no, reason), f"已办结：{no}")


@command(incident, "reopen")
def reopen(
    no: No,
    reason: Reason,
    occurred: Annotated[str | None, typer.Option("--occurred", metavar="时间")] = None,
    exposed: Annotated[str | None, typer.Option("--exposed", metavar="时间")] = None,
    detected: Annotated[str | None, typer.Option("--detected", metavar="时间")] = None,
    notified: Annotated[str | None, typer.Option("--notified", metavar="时间")] = None,
    source_of: Annotated[list[str] | None, typer.Option("--source-of", metavar="时间=来源")] = None,
) -> None:
    """复燃重开：新的一轮，自有起算时间。"""
    from huiying.service import incidents

    stated = {
        TimeKind.OCCURRED: occurred,
        TimeKind.EXPOSED: exposed,
        TimeKind.DETECTED: detected,
        TimeKind.NOTIFIED: notified,
    }
    times = _times(stated, pairs("source-of", source_of or ()), [])
    _changed(incidents.reopen(session.services, session.actor, no, reason, times), f"已重开：{no}")


@command(incident, "task")
def task(
    no: No,
    unit: Annotated[str, typer.Option("--unit", help="承办单位编号。")] = "",
    name: Annotated[str, typer.Option("--name", help="任务名称。")] = "",
    due: Annotated[str | None, typer.Option("--due", metavar="时间", help="任务截止时间。")] = None,
    done: Annotated[str, typer.Option("--done", metavar="任务号", help="登记任务完成。")] = "",
    at: Annotated[str | None, typer.Option("--at", metavar="时间", help="完成时间。")] = None,
    key: Annotated[str, typer.Option("--idempotency-key")] = "",
) -> None:
    """部门任务：新增（--unit --name --due）或完成（--done --at）。"""
    from huiying.service import incidents

    if done:
        view = incidents.task_done(session.services, session.actor, no, done, needed_moment("at", at or ""))
        return _changed(view, f"任务已完成：{no} {done}")
    due_at = needed_moment("due", due or "")
    view = incidents.add_task(session.services, session.actor, no, unit, name, due_at, key)
    return _changed(view, f"已交办：{no}")


@command(incident, "transfer")
def transfer(
    no: No,
    notice_no: Annotated[str, typer.Option("--notice-no", help="转办通知文号。")] = "",
    received: Annotated[str | None, typer.Option("--received", metavar="时间")] = None,
    due: Annotated[str | None, typer.Option("--due", metavar="时间", help="通知写明的时限；没有写明就不填。")] = None,
    from_org: Annotated[str, typer.Option("--from-org")] = "",
    feedback: Annotated[str, typer.Option("--feedback", metavar="序号", help="登记已反馈。")] = "",
    at: Annotated[str | None, typer.Option("--at", metavar="时间", help="反馈时间。")] = None,
    key: Annotated[str, typer.Option("--idempotency-key")] = "",
) -> None:
    """上级转办通知：新增，或登记反馈（--feedback --at）。"""
    from huiying.service import incidents

    if feedback:
        view = incidents.transfer_feedback(session.services, session.actor, no, feedback, needed_moment("at", at or ""))
        return _changed(view, f"已登记反馈：{no}")
    wanted = _transfer(notice_no, received, due, from_org)
    return _changed(incidents.add_transfer(session.services, session.actor, no, wanted, key), f"已登记转办通知：{no}")


@command(incident, "continuous")
def continuous(no: No, every_hours: Annotated[int, typer.Option("--every-hours", help="小时；0 停止。")]) -> None:
    """持续发布的内部间隔。"""
    from huiying.service import incidents

    view = incidents.set_continuous(session.services, session.actor, no, every_hours)
    _changed(view, f"已设定持续发布间隔：{no}")


@command(incident, "stage")
def stage(
    no: No,
    stage_name: Annotated[str, typer.Argument(metavar="阶段")],
    note: Annotated[str, typer.Option("--note")] = "",
) -> None:
    """进入阶段（收集、会商、研判、回应、评估 …）。"""
    from huiying.service import incidents

    _changed(incidents.enter_stage(session.services, session.actor, no, stage_name, note), f"已进入{stage_name}：{no}")


@command(incident, "attribute")
def attribute(
    no: No,
    clock: Annotated[str, typer.Option("--clock", help="时钟的键。")],
    attribution: Annotated[Attribution, typer.Option("--as", help="归因。")],
    note: Annotated[str, typer.Option("--note", help="说明。")],
) -> None:
    """确认超时归因。"""
    from huiying.service import incidents

    view = incidents.confirm_attribution(session.services, session.actor, no, clock, attribution, note)
    _changed(view, f"已确认归因：{no}")


@command(incident, "replan")
def replan(
    no: No,
    clock: Annotated[str, typer.Option("--clock", help="时钟的键。")],
    policy: Annotated[str, typer.Option("--policy", help="方案编号。")],
    reason: Reason,
) -> None:
    """更换一个时钟的督办方案。"""
    from huiying.service import incidents

    _changed(incidents.replan(session.services, session.actor, no, clock, policy, reason), f"已更换方案：{no}")


@command(incident, "reassign")
def reassign(no: No, unit: Annotated[str, typer.Option("--unit", help="新的主办单位。")], reason: Reason) -> None:
    """变更主办单位；文件规定的时钟不重新起算。"""
    from huiying.service import incidents

    _changed(incidents.reassign(session.services, session.actor, no, unit, reason), f"已变更主办单位：{no}")


@command(incident, "runs")
def all_runs(
    on: Annotated[str, typer.Option("--day", metavar="日期", help="只看某一天。")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
) -> None:
    """各事项的运行记录，新的在前。"""
    from huiying.service import queries

    wanted = day("day", on) if on else None
    session.answer(queries.runs(session.services, "", wanted, limit, _reader()), show.runs)


# -- a second person ---------------------------------------------------------------------------------------------------


RequestId = Annotated[int, typer.Argument(metavar="申请")]


@command(request, "list")
def requests() -> None:
    """待第二人确认的变更：申请人的话、通过后的截止时间、谁可复核。"""
    from huiying.service import second_person

    answer = second_person.list_pending(session.services, _reader())
    session.answer(answer, show.requests)


@command(request, "show")
def request_show(request_id: RequestId) -> None:
    """一项申请的全部内容。"""
    from huiying.service import second_person

    session.answer(second_person.show_request(session.services, _reader(), request_id), show.request)


@command(request, "withdraw")
def request_withdraw(request_id: RequestId, note: Annotated[str, typer.Option("--note", help="说明。")] = "") -> None:
    """申请人撤回自己的申请；事项不作任何改动。"""
    from huiying.service import second_person

    view = second_person.withdraw(session.services, session.actor, request_id, note)
    session.say(f"已撤回申请 {request_id}")
    session.answer(view, show.request)


@command(request, "approve")
def approve(request_id: RequestId, note: Annotated[str, typer.Option("--note", help="意见。")] = "") -> None:
    """作为第二人确认；须用本人令牌，申请人自己不能确认。"""
    from huiying.service import incidents

    _refuse_local()
    _changed(incidents.approve(session.services, session.actor, request_id, note), f"已确认申请 {request_id}")


@command(request, "reject")
def reject(request_id: RequestId, note: Annotated[str, typer.Option("--note", help="意见。")] = "") -> None:
    """不同意；事项不作任何改动。"""
    from huiying.service import incidents

    _refuse_local()
    _changed(incidents.reject(session.services, session.actor, request_id, note), f"未同意申请 {request_id}")


def _refuse_local() -> None:
    if not session.actor.is_person:
        raise Forbidden("第二人确认须由另一人用本人令牌办理（HUIYING_TOKEN），本机命令行不能代替。申请仍待确认。")
