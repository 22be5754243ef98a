"""``huiying preview``, ``workdays``, ``rules …``, ``calendar …``, ``policy …``: what the documents demand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from huiying.cli import show
from huiying.cli.session import command, day, group, moment, read_file, session
from huiying.domain.errors import BadRulePack
from huiying.domain.kinds import Kind, Severity, TimeKind

rules = group("规则包：检查、列表、逐条说明、定期任务。")
calendar = group("工作日历：导入、列表、检查。")
policy = group("督办方案（提醒与升级）：列表、查看、采用自备方案、检查。")

Files = Annotated[list[Path] | None, typer.Argument(metavar="文件或目录", help="不写为系统自带的。")]


def install(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "preview")(preview)
    command(app, "workdays")(workdays)
    app.add_typer(rules, name="rules")
    app.add_typer(calendar, name="calendar")
    app.add_typer(policy, name="policy")


def preview(
    pack: Annotated[list[str] | None, typer.Option("--pack", metavar="规则包", help="只看这个规则包，可多次。")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="不写时：有级别为突发事件，否则一般政务舆情。")] = None,
    severity: Annotated[Severity | None, typer.Option("--severity", help="级别。")] = None,
    occurred: Annotated[str | None, typer.Option("--occurred", metavar="时间", help="事发时间。")] = None,
    exposed: Annotated[str | None, typer.Option("--exposed", metavar="时间", help="首发（曝光）时间。")] = None,
    detected: Annotated[str | None, typer.Option("--detected", metavar="时间", help="发现时间。")] = None,
    notified: Annotated[str | None, typer.Option("--notified", metavar="时间", help="接报时间。")] = None,
    registered: Annotated[
        str | None,
        typer.Option(
            "--registered", metavar="时间", help="登记时间，不写为现在；其他时间晚于现在的，以其中最晚的为准。"
        ),
    ] = None,
    region: Annotated[str, typer.Option("--region", help="属地行政区划代码。")] = "",
    unit: Annotated[str, typer.Option("--unit", help="主办单位编号。")] = "",
) -> None:
    """预览：这样的事项会启动哪些时钟、何时提醒谁。不写入任何内容。"""
    from huiying.service import queries
    from huiying.service.requests import TimeInput

    stated = {
        TimeKind.OCCURRED: moment("occurred", occurred),
        TimeKind.EXPOSED: moment("exposed", exposed),
        TimeKind.DETECTED: moment("detected", detected),
        TimeKind.NOTIFIED: moment("notified", notified),
    }
    times = {name: TimeInput(value) for name, value in stated.items() if value is not None}
    answer = queries.preview(
        session.services, tuple(pack or ()), kind, severity, times, moment("registered", registered), region, unit,
        ahead=True,
    )  # fmt: skip
    session.answer(answer, show.preview)


def workdays(
    start: Annotated[str, typer.Option("--from", metavar="日期", help="起始日，不计入。")],
    add: Annotated[int, typer.Option("--add", metavar="天数", help="工作日数。")],
) -> None:
    """工作日推算：从某日起第几个工作日，到当日 24:00 为止。"""
    from huiying.service import queries

    answer = queries.workdays(session.services, day("from", start), add)

    def shown(data: dict[str, Any]) -> None:
        show.line(f"截止 {data['text']}")
        if data["provisional"]:
            show.line("所需年份的放假安排尚未导入，导入后重算（huiying calendar import）。", "yellow")
        show.line(f"依据日历：{'、'.join(map(str, data['calendar']))}", "dim")

    session.answer(answer, shown)


# -- rule packs --------------------------------------------------------------------------------------------------------


@command(rules, "lint")
def rules_lint(files: Files = None) -> None:
    """检查规则包文件；逐条写明文件、行、键和原因。"""
    from config.loader import RULES_DIRECTORY, lint

    _lint("规则包", lint(files or [RULES_DIRECTORY]))


def _lint(what: str, findings: list[Any]) -> None:
    if findings:
        raise BadRulePack(f"{what}有 {len(findings)} 处问题：", findings=[str(finding) for finding in findings])
    session.answer({"ok": True, "findings": []}, lambda _: show.line(f"{what}没有问题。"))


@command(rules, "list")
def rules_list() -> None:
    """在用的规则包。"""
    from huiying.service import queries

    columns: tuple[show.Column, ...] = (
        ("规则包", lambda row: row["id"]),
        ("文件", lambda row: row["title"]),
        ("文号", lambda row: row["doc_no"]),
        ("适用", lambda row: row["jurisdiction"]),
        ("起效", lambda row: row["effective_from"]),
        ("状态", lambda row: "待确认沿用" if row["awaits_confirmation"] else "在用" if row["in_force"] else "未生效"),
        ("时钟", lambda row: row["clocks"]),
        ("其他任务", lambda row: row["obligations"]),
    )
    session.answer(queries.rules_list(session.services), lambda data: show.table("", columns, data["packs"]))


@command(rules, "explain")
def rules_explain(
    pack: Annotated[str, typer.Argument(metavar="规则包")],
    rule: Annotated[str, typer.Argument(metavar="规则")] = "",
) -> None:
    """逐条说明：出处、原文、时限性质、起算点、怎样算完成。"""
    from huiying.domain.duration import words_left
    from huiying.service import queries

    def shown(data: dict[str, Any]) -> None:
        show.line(f"{data['title']}  {data['doc_no']}  {data['issuer']}", "bold")
        for one in data["rules"]:
            limit = words_left(one["limit_seconds"]).removeprefix("剩余 ") if one["limit_seconds"] else "未定时限"
            show.line(f"\n{one['name']}（{one['rule']}）：{limit}|{one['status_zh']}|{one['clause']}", "bold")
            show.line(f"  原文：“{one['quote']}”")
            if one["anchor"]:
                reading = "文件写明" if one["anchor"]["stated"] else "本系统理解"
                show.line(f"  起算：{one['anchor']['field']}（{reading}）{one['anchor']['basis']}")
            show.line(f"  完成：{'、'.join(one['satisfied_by']) or '无'} {one['satisfied_basis']}".rstrip())
            if one["responsible"]:
                show.line(f"  责任单位：{one['responsible']}")
            if one["note"]:
                show.line(f"  说明：{one['note']}")

    session.answer(queries.rules_explain(session.services, pack, rule), shown)


@command(rules, "obligations")
def obligations(
    pack: Annotated[str, typer.Argument(metavar="规则包")],
    year: Annotated[int, typer.Option("--year", min=2000, max=2100, help="年份。")],
) -> None:
    """规则包中不是事项时钟的其他任务在某年的到期日。"""
    from huiying.service import queries

    columns: tuple[show.Column, ...] = (
        ("任务", lambda row: row["id"]),
        ("期间", lambda row: row["period"]),
        ("到期", lambda row: row["text"]),
        ("", lambda row: "暂定" if row["provisional"] else ""),
        ("责任", lambda row: row["who"]),
        ("原文", lambda row: row["quote"]),
        ("说明", lambda row: row["note"]),
    )
    answer = queries.obligations(session.services, pack, year)
    session.answer(answer, lambda data: show.table("", columns, data["obligations"]))


# -- calendars ---------------------------------------------------------------------------------------------------------


@command(calendar, "import")
def calendar_import(file: Annotated[Path, typer.Argument(metavar="文件", help="YAML 或 CSV。")]) -> None:
    """导入某年的放假安排；暂定的到期日随即重算，旧值保留。"""
    from huiying.service.rulebook import import_calendar

    answer = import_calendar(session.services, session.actor, read_file(file), file.name)

    def shown(data: dict[str, Any]) -> None:
        years = "、".join(map(str, data["years"]))
        show.line(
            f"已导入 {years} 年日历，重算到期日 {data['recomputed']} 项。"
            if data["changed"]
            else f"{years} 年日历与已有的相同。"
        )

    session.answer(answer, shown)


@command(calendar, "lint")
def calendar_lint(files: Files = None) -> None:
    """检查日历文件。"""
    from config.calendar_loader import CALENDARS_DIRECTORY, lint_calendars

    _lint("日历", lint_calendars(files or [CALENDARS_DIRECTORY]))


@command(calendar, "list")
def calendar_list() -> None:
    """已有的日历，各年的版本与出处。"""
    from huiying.service.calendars import list_calendars

    columns: tuple[show.Column, ...] = (
        ("年份", lambda row: row["year"]),
        ("在用", lambda row: row["current"]),
        ("出处", lambda row: row["source_notice"]),
        ("版本", lambda row: row["version"][:12]),
        ("导入", lambda row: f"{show.at(row['imported_at'])} {row['imported_by']}"),
    )
    session.answer(list_calendars(session.services), lambda data: show.table("", columns, data["calendars"]))


# -- policies ----------------------------------------------------------------------------------------------------------

PolicyId = Annotated[str, typer.Argument(metavar="方案")]


@command(policy, "list")
def policy_list() -> None:
    """在用的督办方案。"""
    from huiying.service.policies import list_policies

    columns: tuple[show.Column, ...] = (
        ("方案", lambda row: row["id"]),
        ("名称", lambda row: row["name"]),
        ("适用", lambda row: row["applies"]),
        ("来源", lambda row: "本单位自备" if row["own"] else "系统自带"),
        ("版本", lambda row: row["hash"][:12]),
    )
    answer = {"policies": list_policies(session.services)}
    session.answer(answer, lambda data: show.table("", columns, data["policies"]))


@command(policy, "show")
def policy_show(policy_id: PolicyId) -> None:
    """一个方案的各个步骤：何时、通知谁、什么条件。"""
    from huiying.service.policies import show_policy

    columns: tuple[show.Column, ...] = (
        ("步骤", lambda row: row["id"]),
        ("何时", lambda row: row["when"]),
        ("通知", lambda row: row["to_zh"]),
        ("渠道", lambda row: row["audience"]),
        ("程度", lambda row: row["band_zh"]),
        ("条件", lambda row: "未签收时" if row["only_unacknowledged"] else ""),
        ("重复", lambda row: row["repeats"] or ""),
    )

    def shown(data: dict[str, Any]) -> None:
        show.line(f"{data['name']}（{data['id']}）", "bold")
        show.table("", columns, data["steps"])
        if data["after_breach"]:
            show.line(f"超时后：{data['after_breach']}")

    session.answer(show_policy(session.services, policy_id), shown)


@command(policy, "lint")
def policy_lint(files: Files = None) -> None:
    """检查督办方案文件。"""
    from config.policy_loader import POLICIES_DIRECTORY, lint_policies

    _lint("督办方案", lint_policies(files or [POLICIES_DIRECTORY]))


@command(policy, "import")
def policy_import(file: Annotated[Path, typer.Argument(metavar="文件")]) -> None:
    """采用本单位自备的方案；只对此后起算的时钟生效。"""
    from huiying.service.policies import import_policy

    answer = import_policy(session.services, session.actor, read_file(file), file.name)

    def shown(data: dict[str, Any]) -> None:
        show.line(f"已采用方案 {data['id']}（{data['name']}）。")
        for warning in data["warnings"]:
            show.line(f"  注意：{warning}", "yellow")

    session.answer(answer, shown)


@command(policy, "reset")
def policy_reset(policy_id: PolicyId) -> None:
    """恢复系统自带的方案。"""
    from huiying.service.policies import reset_policy

    answer = reset_policy(session.services, session.actor, policy_id)
    session.answer(answer, lambda data: show.line(f"已恢复：{data['id']}"))
