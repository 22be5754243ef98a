"""How answers look in a terminal: tables and lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from huiying.cli.session import session
from huiying.domain.duration import human_left
from huiying.domain.plan import SHANGHAI

if TYPE_CHECKING:
    from rich.table import Table

_STATE_STYLES = {
    "breached": "bold red",
    "running": "green",
    "scheduled": "dim",
    "satisfied": "blue",
    "satisfied_late": "yellow",
}
#: Remaining time below which a clock is shown as urgent.
_SOON_SECONDS = 3600
Column = tuple[str, Callable[[Mapping[str, Any]], Any]]


def line(text: Any, style: str = "") -> None:
    """One line, whatever brackets it holds."""
    session.console.print(str(text), style=style or None, markup=False)


def table(title: str, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], empty: str = "没有记录。") -> None:
    """Rows of an answer as a table; a sentence where there are none."""
    found = list(rows)
    if not found:
        line(f"{title}：{empty}" if title else empty)
        return
    made = new_table(title, [name for name, _ in columns])
    for row in found:
        made.add_row(*(_cell(value(row)) for _, value in columns))
    session.console.print(made)


def new_table(title: str, names: Sequence[str]) -> Table:
    """An empty table in the house's style."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        made.add_column(name, overflow="fold")
    return made


def _cell(value: Any) -> Any:
    from rich.text import Text

    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, (list, tuple)):
        return Text("、".join(map(str, value)))
    return Text("" if value is None else str(value))


def at(text: str | None) -> str:
    """An instant of an answer as people read it: Beijing time, seconds only where there are some."""
    if not text:
        return ""
    moment = datetime.fromisoformat(text).astimezone(SHANGHAI)
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"


def left(seconds: int | None) -> Any:
    """Remaining time; red when past due, yellow in the last hour."""
    from rich.text import Text

    if seconds is None:
        return ""
    style = "bold red" if seconds < 0 else "yellow" if seconds < _SOON_SECONDS else ""
    return Text(human_left(seconds), style)


def state(row: Mapping[str, Any]) -> Any:
    """A clock's state in words and colour."""
    from rich.text import Text

    marks = "".join(mark for mark, on in (("（待定级）", row.get("provisional")),) if on)
    return Text(f"{row['state_zh']}{marks}", _STATE_STYLES.get(row["state"], ""))


CLOCK_COLUMNS: tuple[Column, ...] = (
    ("剩余", lambda row: left(row["remaining_seconds"])),
    ("状态", state),
    ("事项", lambda row: row.get("incident", "")),
    ("时钟", lambda row: row["name"]),
    ("性质", lambda row: row["status_zh"]),
    ("截止（北京时间）", lambda row: at(row["due_at"])),
    ("主办", lambda row: row.get("unit", "")),
    ("标题", lambda row: row.get("title", "")),
)


def clocks(answer: Mapping[str, Any]) -> None:
    """Clocks across incidents."""
    table("", CLOCK_COLUMNS, answer["clocks"], "没有正在计时的时钟。")


def incident(view: Mapping[str, Any]) -> None:
    """Everything about one incident that fits a screen."""
    drill = "【演练】" if view["drill"] else ""
    line(f"{drill}{view['no']}  {view['title']}", "bold")
    grade = view["severity_zh"] if view["kind"] == "emergency" else ""
    line(
        f"{view['kind_zh']}{' ' + grade if grade else ''}|{view['state_zh']}|主办 {view['unit']['name']}（{view['unit']['id']}）"
    )
    line(f"登记 {at(view['registered_at'])}（{view['registered_by']}）")
    if view["merged_into"]:
        line(f"已并入 {view['merged_into']}")
    if view["merged"]:
        line(f"并入本件：{'、'.join(view['merged'])}")
    if view["ended_at"]:
        line(f"结束 {at(view['ended_at'])}：{view['ended_reason']}")
    _times(view)
    _clocks_of(view)
    _publications(view)
    _waiting(view)


def _times(view: Mapping[str, Any]) -> None:
    columns: tuple[Column, ...] = (
        ("时间", lambda row: row["zh"]),
        ("值（北京时间）", lambda row: at(row["value"]) + ("（估计）" if row["estimated"] else "")),
        ("来源", lambda row: row["source"]),
        ("记录", lambda row: f"{at(row['recorded_at'])} {row['recorded_by']}"),
        ("说明", lambda row: "已更正" if row["superseded"] else row["reason"]),
    )
    table("时间", columns, view["times"])


def _clocks_of(view: Mapping[str, Any]) -> None:
    columns: tuple[Column, ...] = (
        ("", lambda row: "→" if row["binding"] else ""),
        ("时钟", lambda row: row["name"]),
        ("性质", lambda row: row["status_zh"]),
        ("起算", lambda row: f"{row['anchor']['zh']} {at(row['started_at'])}{_reading(row)}"),
        ("截止", lambda row: at(row["due_at"])),
        ("剩余", lambda row: left(row["remaining_seconds"])),
        ("状态", state),
        ("依据", lambda row: f"{row['doc_no'] or row['document']} {row['clause']}".strip()),
        ("键", lambda row: row["key"]),
    )
    table("时钟（→ 为从严适用）", columns, view["clocks"], "没有适用的时钟。")
    documents = {pack["id"]: pack["doc_no"] or pack["title"] for pack in view["packs"]}
    for duty in view["untimed"]:
        ground = f"{documents.get(duty['pack'], duty['pack'])} {duty['clause']}".strip()
        line(f"  未定时限的要求：{duty['name']}（{ground}）", "dim")


def _reading(row: Mapping[str, Any]) -> str:
    marks = [] if row["anchor"]["stated"] else ["本系统理解"]
    marks += ["估计"] if row["anchor"]["estimated"] else []
    return f"({'、'.join(marks)})" if marks else ""


def _publications(view: Mapping[str, Any]) -> None:
    columns: tuple[Column, ...] = (
        ("编号", lambda row: row["id"]),
        ("类型", lambda row: row["kind_zh"]),
        ("发布（举行）时间", lambda row: at(row["published_at"])),
        ("内容", lambda row: row["content_kind_zh"]),
        ("渠道", lambda row: row["channel"]),
        ("标题或地址", lambda row: row["title"] or row["url"]),
        ("核验", lambda row: row["review_zh"]),
    )
    if view["publications"]:
        table("发布", columns, view["publications"])


def _waiting(view: Mapping[str, Any]) -> None:
    for request in view["requests"]:
        reasons = "、".join(request["reasons"])
        line(
            f"待第二人确认：申请 {request['id']}（{request['command_zh']}，{request['requested_by']} 提出）：{reasons}",
            "yellow",
        )


def requests(answer: Mapping[str, Any]) -> None:
    """What waits for a second person."""
    if not answer["requests"]:
        line("没有待确认的变更。")
    for one in answer["requests"]:
        request(one)


def request(one: Mapping[str, Any]) -> None:
    """One request: the applicant's words, what it would change, who may decide."""
    mark = "【演练】" if one["drill"] else ""
    line(f"{mark}申请 {one['id']}  事项 {one['incident']}  {one['command_zh']}|{one['state_zh']}", "bold")
    line(f"    提出：{one['requested_by_name']} {at(one['requested_at'])}")
    line(f"    申请人的话：{one['words'] or '(没有写明)'}")
    for fact in one["facts"]:
        line(f"    {fact['label']}：{_fact(fact)}")
    line(f"    须第二人的原因：{'、'.join(one['reasons'])}")
    for moved in one["moved"]:
        line(f"    {moved['name']}：{_side(moved['before'])} → {_side(moved['after'])}")
    if one["obstacle"]:
        line(f"    现在不能通过：{one['obstacle']}", "yellow")
    if one["state"] == "pending":
        may = "、".join(who["name"] for who in one["may_decide"])
        line(f"    可复核：{may or '尚无可复核的账号'}", "" if may else "bold red")
    else:
        line(f"    办理：{one['decided_by']} {at(one['decided_at'])} {one['note']}".rstrip())


def _fact(fact: Mapping[str, Any]) -> str:
    """A value of what is asked for, with the old one before it."""
    old, new = (at(text) if fact["form"] == "time" and text else text for text in (fact["was"], fact["now"]))
    said = f"{old} → {new or '(无)'}" if old and old != new else new
    return f"{said} {fact['more']}".rstrip()


def _side(side: Mapping[str, Any] | None) -> str:
    return f"{at(side['due_at'])} {side['state_zh']}" if side else "无"


def preview(answer: Mapping[str, Any]) -> None:
    """The clocks an incident would start, with their reminders."""
    note = "（级别待定，以下为暂计）" if answer["provisional"] else ""
    line(f"将启动的时钟{note}:", "bold")
    columns: tuple[Column, ...] = (
        ("", lambda row: "→" if row["binding"] else ""),
        ("时钟", lambda row: row["name"]),
        ("性质", lambda row: row["status_zh"]),
        ("起算", lambda row: f"{row['anchor']['zh']} {at(row['started_at'])}{_reading(row)}"),
        ("截止", lambda row: at(row["due_at"])),
        ("状态", state),
        ("依据", lambda row: f"{row['doc_no'] or row['document']} {row['clause']}".strip()),
    )
    table("", columns, answer["clocks"], "没有适用的时钟。")
    for clock in answer["clocks"]:
        if clock["reminders"]:
            _reminders(clock)


def _reminders(clock: Mapping[str, Any]) -> None:
    columns: tuple[Column, ...] = (
        ("时间", lambda row: at(row["at"])),
        ("事件", lambda row: row["kind_zh"]),
        ("通知", lambda row: row["to_zh"]),
        ("条件", lambda row: "未签收时" if row["when"] == "unacknowledged" else ""),
    )
    table(f"{clock['name']} 的提醒", columns, clock["reminders"])


def runs(answer: Mapping[str, Any], *, everything: bool = True) -> None:
    """Runs with their deliveries; steps that had become needless only where everything is asked for."""
    told = [run for run in answer["runs"] if everything or run["state"] != "superseded" or run["deliveries"]]
    if not told:
        line("还没有运行记录。")
    for run in told:
        head = f"{at(run['due_at'])} {run['event_zh']} {run['clock']} {run['step_zh']}".rstrip()
        line(f"{head}|{run['state_zh']}|{run['mode_zh']} {run['history_zh']}|重试 {run['retries']}", "bold")
        for task in run["tasks"]:
            line(f"    {_task(task)}")
        for delivery in run["deliveries"]:
            who = delivery["person_name"] or delivery["person"] or ""
            reason = f"({delivery['reason']})" if delivery["reason"] else ""
            line(
                f"    {delivery['notice_no']} {who} {delivery['channel_name']} {delivery['state_zh']}{reason}"
                f",尝试 {len(delivery['attempts'])} 次"
            )


def told_runs(answer: Mapping[str, Any]) -> None:
    """Runs without those that had become needless, and how many those were."""
    runs(answer, everything=False)
    hidden = sum(1 for run in answer["runs"] if run["state"] == "superseded" and not run["deliveries"])
    if hidden:
        line(f"另有 {hidden} 项已失效的步骤未列出（--all 列出全部）。", "dim")


def _task(task: Mapping[str, Any]) -> str:
    name = task.get("zh") or task.get("name") or ""
    return f"{name} {task.get('state_zh') or task.get('state') or ''} {at(task.get('at'))}".rstrip()


def timeline(answer: Mapping[str, Any]) -> None:
    """What happened and what will happen, with the present moment between them."""
    line(f"{answer['incident']['no']} {answer['incident']['title']}", "bold")
    now = datetime.fromisoformat(answer["now"])
    passed = False
    for item in answer["items"]:
        if not passed and datetime.fromisoformat(item["at"]) > now:
            line(f"{at(answer['now'])}  ──── 现在 ────", "cyan")
            passed = True
        waits = "（待处理）" if item["future"] and not passed else ""
        line(f"{at(item['at'])}  {item['zh']}{_typed(item)}{waits}{_whom(item)}", "dim" if passed else "")


def _typed(item: Mapping[str, Any]) -> str:
    return "".join(f" · {text}" for text in item.get("typed", ()))


def _whom(item: Mapping[str, Any]) -> str:
    detail = item.get("detail") or {}
    who = item.get("by") or "、".join(detail.get("to", ()))
    return f"  {who}" if who else ""


def warn_of_breach_reach() -> None:
    """On standard error, after a change of channels or duties: whom a breach would not reach."""
    import sys

    from huiying.service.doctor import breach_reach

    for finding in breach_reach(session.services):
        print(f"注意：{finding.message}", file=sys.stderr)


def live_clocks(answer: Mapping[str, Any]) -> Any:
    """The table of ``huiying watch``, with the moment it was made."""
    made = new_table(
        f"回应系统 {at(answer['now'])}  正在计时 {len(answer['clocks'])}", [name for name, _ in CLOCK_COLUMNS]
    )
    for row in answer["clocks"]:
        made.add_row(*(_cell(value(row)) for _, value in CLOCK_COLUMNS))
    return made


def drill_timeline(data: Mapping[str, Any]) -> None:
    """A drill's story: how long after the start, what happened, and how many messages it made."""
    begin = datetime.fromisoformat(data["starts_at"])
    for moment, items in _by_minute(data["timeline"]["items"]):
        told = [item for item in items if item["kind"] == "delivery"]
        for item in items:
            if item["kind"] != "delivery" and item["detail"].get("binding", True):
                who = (item.get("by") or "").removeprefix("person:")
                line(f"{_since(begin, moment)}  {item['zh']}{'(' + who + ')' if who else ''}")
        for why, messages in _by_reason(told).items():
            names = "、".join(dict.fromkeys(item["zh"].rpartition(" ")[2] for item in messages))
            line(f"{_since(begin, moment)}    → {why}，通知 {len(messages)} 条：{names}", "dim")


def _by_reason(items: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Messages by what they were about: the clock, the event and its step."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        detail = item["detail"]
        step = detail["step"] if detail["clock"] else ""
        why = " ".join(part for part in (detail["clock"], detail["event_zh"], step) if part)
        found.setdefault(why, []).append(item)
    return found


def _by_minute(items: Iterable[Mapping[str, Any]]) -> list[tuple[datetime, list[Mapping[str, Any]]]]:
    found: dict[datetime, list[Mapping[str, Any]]] = {}
    for item in items:
        moment = datetime.fromisoformat(item["at"]).replace(second=0, microsecond=0)
        found.setdefault(moment, []).append(item)
    return list(found.items())


def _since(begin: datetime, moment: datetime) -> str:
    minutes = int((moment - begin).total_seconds()) // 60
    return f"{moment:%m-%d %H:%M}  +{minutes // 60:02}:{minutes % 60:02}"
