"""Running the product and looking after it: serve, watch, inbox, doctor, drill, audit, backup, restore, dispatch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from huiying.cli import show
from huiying.cli.session import command, group, moment, read_file, session
from huiying.domain.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from config.settings import Settings

audit = group("审计：校验、导出、锚点、查看。")
dispatch = group("通知发送：状态、暂停、恢复后放行。")

Progress = Callable[[float, float], None]


def install(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "serve")(serve)
    command(app, "process")(process)
    command(app, "doctor")(doctor)
    command(app, "watch")(watch)
    command(app, "inbox")(inbox)
    command(app, "notifications")(notifications)
    command(app, "drill")(drill)
    command(app, "demo")(demo)
    command(app, "backup")(backup)
    command(app, "restore")(restore)
    app.add_typer(audit, name="audit")
    app.add_typer(dispatch, name="dispatch")


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A bar on standard error while something long runs; nothing where a program reads."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if session.json or not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# -- running -----------------------------------------------------------------------------------------------------------


def serve(
    host: Annotated[str | None, typer.Option("--host", help="监听地址，默认 127.0.0.1。")] = None,
    port: Annotated[int | None, typer.Option("--port", help="端口，默认 8765。")] = None,
    prefect_port: Annotated[int | None, typer.Option("--prefect-port", help="Prefect 服务的端口，默认 4210。")] = None,
    prefect: Annotated[bool | None, typer.Option("--prefect/--no-prefect", help="是否同时运行 Prefect。")] = None,
    sample: Annotated[bool, typer.Option("--demo", help="演示：在空数据目录中生成虚构的示例市，只用于试看。")] = False,
) -> None:
    """启动整个系统（接口、提醒引擎、Prefect）；Ctrl-C 停止。"""
    from config.settings import load_settings
    from huiying.bootstrap import serve as run

    given = {"host": host, "port": port, "prefect_port": prefect_port, "prefect_enabled": prefect}
    settings = load_settings(**given, demo=sample or None)
    run(_with_own_links(settings) if settings.demo else settings, lambda line: print(line, flush=True))


def _with_own_links(settings: Settings) -> Settings:
    """A demo's messages carry links that work on this machine, so that acknowledging by link can be tried."""
    return settings.model_copy(update={"public_url": settings.public_url or settings.local_url})


def demo() -> None:
    """在空数据目录中生成演示数据（虚构的示例市）并打印登录账号；之后用 huiying serve --demo 启动。"""
    from config.settings import load_settings
    from huiying.bootstrap import build, refuse_mixing
    from huiying.service.demo import prepare

    settings = load_settings(demo=True)
    refuse_mixing(settings)
    services = build(_with_own_links(settings))
    try:
        text = prepare(services, session.say)
    finally:
        services.store.close()
    session.answer({"accounts": text.splitlines()}, lambda _data: print(text))


def process(name: Annotated[str, typer.Argument(metavar="进程", help="web、engine 或 runner。")]) -> None:
    """单独运行一个进程（web、engine、runner）；多台机器时在另一台上运行 engine 可分担发送。"""
    from huiying import bootstrap

    processes = {"web": bootstrap.run_web, "engine": bootstrap.run_engine, "runner": bootstrap.run_runner}
    if name not in processes:
        raise InvalidInput("name", f"没有「{name[:20]}」这个进程。")
    processes[name](session.settings)


# -- looking -----------------------------------------------------------------------------------------------------------


def doctor() -> None:
    """检查本系统：数据库、日历、密钥、值班空缺、渠道、磁盘、Prefect；有需要处理的事时退出码为 1。"""
    from huiying.service.doctor import Level, examine

    findings = examine(session.services)
    todo = [finding for finding in findings if finding.level is Level.DO]
    answer = {
        "ok": not todo,
        "findings": [{"name": f.name, "level": f.level.value, "message": f.message} for f in findings],
    }
    marks = {"ok": ("✓", "green"), "note": ("i", "cyan"), "do": ("✗", "bold red")}

    def shown(data: dict[str, Any]) -> None:
        for row in data["findings"]:
            mark, style = marks[row["level"]]
            show.line(f"{mark} {row['name']}：{row['message']}", style if row["level"] != "ok" else "")

    session.answer(answer, shown)
    if todo:
        session.say(f"\n有 {len(todo)} 项需要处理。")
        raise typer.Exit(1)


def watch(
    once: Annotated[bool, typer.Option("--once", help="只显示一次。")] = False,
    every: Annotated[float, typer.Option("--every", min=0.5, max=60, help="每几秒更新。")] = 1.0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 40,
) -> None:
    """正在计时的时钟，最紧急的在前，实时更新；Ctrl-C 退出。"""
    import sys

    from huiying.service import queries

    session.actor.require("read")

    def look() -> dict[str, Any]:
        return queries.clocks(session.services, "open", session.actor, limit=limit)

    if once or session.json or not sys.stdout.isatty():
        session.answer(look(), show.clocks)
        return
    _watch_live(look, every)


def _watch_live(look: Callable[[], dict[str, Any]], every: float) -> None:
    import time

    from rich.live import Live

    with Live(console=session.console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(show.live_clocks(look()), refresh=True)
            time.sleep(every)


def inbox(
    person: Annotated[str, typer.Option("--person", help="人员编号；不写为本人，本机命令行则须写明。")] = "",
    unassigned: Annotated[bool, typer.Option("--unassigned", help="找不到收件人的消息。")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 20,
) -> None:
    """站内收件箱，新的在前。"""
    from huiying.domain.roster import UNASSIGNED
    from huiying.service import queries

    who = UNASSIGNED if unassigned else person or session.actor.person_id
    if not who:
        raise InvalidInput("person", "请写明人员编号（--person），或用 --unassigned 查看无人接收的消息。")
    if who != session.actor.person_id:
        session.actor.require("read")
    answer = queries.inbox(session.services, who, limit)

    def shown(data: dict[str, Any]) -> None:
        if not data["messages"]:
            show.line("收件箱是空的。")
        for message in data["messages"]:
            show.line(f"── {show.at(message['created_at'])}  {message['subject']}  {message['notice_no']}", "bold")
            show.line(message["text"])

    session.answer(answer, shown)


def notifications(
    no: Annotated[str, typer.Option("--incident", metavar="编号")] = "",
    person: Annotated[str, typer.Option("--person")] = "",
    state: Annotated[str, typer.Option("--state", help="如 sent、failed、dead。")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
) -> None:
    """通知的送达情况，新的在前。"""
    from huiying.service import queries

    session.actor.require("read")
    columns: tuple[show.Column, ...] = (
        ("通知号", lambda row: row["notice_no"]),
        ("事项", lambda row: row["incident"]),
        ("收件人", lambda row: row["person_name"]),
        ("渠道", lambda row: row["channel_name"]),
        ("状态", lambda row: row["state_zh"]),
        ("送出", lambda row: show.at(row["sent_at"])),
        ("尝试", lambda row: len(row["attempts"])),
        ("原因", lambda row: row["reason"]),
    )
    answer = queries.notifications(session.services, no, person, state, limit, session.actor)
    session.answer(answer, lambda data: show.table("", columns, data["notifications"], "没有通知。"))


def drill(
    file: Annotated[Path, typer.Argument(metavar="脚本", help="YAML,示例见 docs/examples。")],
    to: Annotated[str, typer.Option("--to", help="消息副本进谁的站内收件箱；不写为本人或首个管理员。")] = "",
) -> None:
    """演练：把一起虚构事项的 48 小时压缩到几秒，消息只进站内收件箱并标【演练】，最后打印时间线。"""
    from huiying.service.drill import play
    from huiying.service.drill_script import read_script

    script = read_script(file.name, read_file(file))
    receiver = to or session.actor.person_id or _first_administrator()
    with progress(f"演练 {script.name}") as tell:
        answer = play(session.services, session.actor, script, to=receiver, progress=tell)
    session.answer(answer, _shown_drill)


def _first_administrator() -> str:
    from huiying.service.roster_admin import list_access

    held = list_access(session.services, session.actor)
    return next((row["person_id"] for row in held if row["role"] == "administrator"), "")


def _shown_drill(data: dict[str, Any]) -> None:
    show.line(f"【演练】{data['drill']}：{show.at(data['starts_at'])} 至 {show.at(data['ends_at'])}", "bold")
    show.drill_timeline(data)
    for refusal in data["refusals"]:
        show.line(f"  {show.at(refusal['at'])} {refusal['do']} 未被允许：{refusal['message']}", "yellow")
    if data["copied_to"]:
        show.line(
            f"共 {data['messages']} 条消息，副本在 {data['copied_to']} 的站内收件箱（huiying inbox --person {data['copied_to']}）。"
        )
    else:
        show.line(f"共 {data['messages']} 条消息。")


# -- audit -------------------------------------------------------------------------------------------------------------


@command(audit, "verify")
def audit_verify(
    anchor: Annotated[Path | None, typer.Option("--anchor", help="保存在系统外的锚点文件。")] = None,
) -> None:
    """校验审计链；有改动、删除、插入、调换或截尾时写明位置，退出码为 1。"""
    from huiying.service import audit as chain

    anchors = chain.read_anchor_file(anchor) if anchor is not None else []
    with progress("校验审计链") as tell:
        verdict = chain.verify(session.services.store, anchors, tell)
    answer = {
        "ok": verdict.ok,
        "entries": verdict.count,
        "hash": verdict.head_hash,
        "first_bad": verdict.first_bad,
        "message": verdict.reason_zh,
    }
    session.answer(answer, lambda data: show.line(data["message"], "" if data["ok"] else "bold red"))
    if not verdict.ok:
        raise typer.Exit(1)


@command(audit, "export")
def audit_export(
    folder: Annotated[Path, typer.Argument(metavar="目录", help="新的或空的目录。")],
    since: Annotated[int | None, typer.Option("--since", help="审计员已有到第几条。")] = None,
) -> None:
    """导出审计记录，附只需标准库的独立校验程序。"""
    from huiying.service import audit as chain
    from huiying.service.audit_view import require_export

    require_export(session.services, session.actor)
    with progress("导出审计记录") as tell:
        made = chain.export(session.services.store, folder, since, actor=session.actor.id, progress=tell)
    answer = {"folder": str(made.folder), "entries": made.entries, "anchor": made.anchor.text}

    def shown(data: dict[str, Any]) -> None:
        show.line(f"已导出 {data['entries']} 条到 {data['folder']}。独立校验：python verify_audit.py")
        show.line(data["anchor"])

    session.answer(answer, shown)


@command(audit, "anchor")
def audit_anchor() -> None:
    """当前链头：请每日抄送或打印保存在系统之外。"""
    from huiying.service import audit as chain

    made = chain.anchor(session.services.store)
    answer = {"count": made.count, "hash": made.hash, "text": made.text}
    session.answer(answer, lambda data: show.line(data["text"]))


@command(audit, "list")
def audit_list(
    after: Annotated[int, typer.Option("--after", min=0, help="从第几条之后。")] = 0,
    subject: Annotated[str, typer.Option("--subject", help="如 incident:2026-0001。")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="旧的在前。")] = False,
) -> None:
    """查看审计记录，新的在前。"""
    import json

    from huiying.service.audit_view import entries

    columns: tuple[show.Column, ...] = (
        ("序号", lambda row: row["seq"]),
        ("时间", lambda row: show.at(row["at"])),
        ("操作者", lambda row: row["actor"]),
        ("操作", lambda row: row["action"]),
        ("对象", lambda row: row["subject"]),
        ("内容", lambda row: json.dumps(row["payload"], ensure_ascii=False)),
    )
    answer = entries(
        session.services, session.actor, after=after, subject=subject, limit=limit, newest_first=not oldest_first
    )
    session.answer(answer, lambda data: show.table("", columns, data["entries"]))


# -- backup and restore ------------------------------------------------------------------------------------------------


def backup(
    path: Annotated[Path, typer.Argument(metavar="文件或目录", help="已有的目录，或新的文件名。")],
) -> None:
    """在线备份；写完后整份复核（完整性与审计链）。"""
    from huiying.service.backup import backup as run

    session.actor.require("operate")
    with progress("备份并复核") as tell:
        made = run(session.services.store, path, tell, actor=session.actor.id)
    answer = {
        "path": str(made.path),
        "size": made.size,
        "sha256": made.sha256,
        "rows": made.manifest.rows,
        "audit_ok": made.verdict.ok,
        "message": made.message,
    }
    session.answer(answer, lambda data: show.line(data["message"], "" if data["audit_ok"] else "bold red"))
    if not made.verdict.ok:
        raise typer.Exit(1)


def restore(
    path: Annotated[Path, typer.Argument(metavar="备份文件")],
    force: Annotated[bool, typer.Option("--force", help="替换现有的全部数据。")] = False,
) -> None:
    """从备份恢复（须先停止系统）；恢复后通知暂停，核对后用 dispatch release 放行。"""
    from huiying.bootstrap import open_store
    from huiying.cli.session import system_user
    from huiying.service.backup import restore as run
    from huiying.service.sealed_columns import count_unreadable

    if session.token:
        raise Refused("恢复只能在服务器命令行上进行，不使用令牌。")
    store = open_store(session.settings)
    try:
        with progress("校验并恢复") as tell:
            made = run(path, store, tell, actor=f"local:{system_user()}", force=force)
    finally:
        store.close()
    unreadable = count_unreadable(session.services.store, session.services.sealer)
    answer = {
        "rows": made.manifest.rows,
        "audit_ok": made.verdict.ok,
        "unreadable": unreadable,
        "message": made.message,
    }

    def shown(data: dict[str, Any]) -> None:
        show.line(data["message"])
        if data["unreadable"]:
            show.line(
                f"注意：有 {data['unreadable']} 项加密内容无法解开，数据目录中的 secret.key 不是备份时的那一个。请换回后再启动。",
                "bold red",
            )

    session.answer(answer, shown)


# -- dispatch ----------------------------------------------------------------------------------------------------------


@command(dispatch, "status")
def dispatch_status() -> None:
    """通知发送是否暂停、积压多少、最后发出了什么。"""
    from huiying.service.dispatch import status

    session.answer(status(session.services), _shown_dispatch)


def _shown_dispatch(data: dict[str, Any]) -> None:
    if data["held"]:
        show.line(f"已暂停（{data['reason']}），自 {show.at(data['since'])}。", "bold red")
    else:
        show.line("正常发送。")
    show.line(f"已到时间未处理的动作 {data['due_actions']}，等待发送的通知 {data['waiting_deliveries']}。")
    columns: tuple[show.Column, ...] = (
        ("通知号", lambda row: row["notice_no"]),
        ("送出", lambda row: show.at(row["sent_at"])),
        ("渠道", lambda row: row["channel"]),
    )
    show.table("最后送出", columns, data["last_sent"])


@command(dispatch, "hold")
def dispatch_hold(reason: Annotated[str, typer.Option("--reason", help="理由。")]) -> None:
    """暂停一切通知；时钟照走，超时照记。"""
    from huiying.service.dispatch import hold

    session.answer(hold(session.services, session.actor, reason), _shown_dispatch)


@command(dispatch, "release")
def dispatch_release(
    sent_until: Annotated[
        str | None,
        typer.Option("--sent-until", metavar="时间", help="原系统已发送到何时；其前的不再重发。"),
    ] = None,
    nothing_sent: Annotated[bool, typer.Option("--nothing-sent", help="备份之后原系统没有发送过。")] = False,
    note: Annotated[str, typer.Option("--note", help="核对说明。")] = "",
) -> None:
    """核对后放行：写明原系统已发送到何时（--sent-until），或什么都没有发送过（--nothing-sent）。"""
    from huiying.service.held import confirm_dispatch

    if (sent_until is None) != nothing_sent:
        raise InvalidInput("sent-until", "请写明 --sent-until 时间 或 --nothing-sent 其中之一。")
    until = moment("sent-until", sent_until)
    made = confirm_dispatch(session.services.store, session.actor, sent_until=until, note=note)
    answer = {"actions": made.actions, "deliveries": made.deliveries, "left": made.left, "message": made.message}
    session.answer(answer, lambda data: show.line(data["message"]))
