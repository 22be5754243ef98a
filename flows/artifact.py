"""The Chinese page attached to a flow run: what was decided, why, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from flows.account import Account, ClockFacts, DeliveryLine, shown

_FOOTER = "本页只列编号、时限和结果，不含标题、正文、姓名和联系方式；以本系统的库表和审计记录为准。"
_MODES = {"prefect": "流程运行", "direct": "发送引擎直接处理"}


def render(account: Account, *, backfilled: bool = False) -> str:
    """The page of one event."""
    parts = [
        f"# {account.name}",
        _facts(account, backfilled=backfilled),
        _clock_section(account),
        _delivery_section(account.deliveries),
        _FOOTER,
    ]
    return "\n\n".join(part for part in parts if part)


def render_bundle(incident_no: str, accounts: Sequence[Account]) -> str:
    """The page of a run that stands for many events of one incident."""
    rows = [
        [
            str(account.action_id),
            account.clock.label if account.clock else "—",
            account.step,
            shown(account.due_at),
            lateness(account.due_at, account.claimed_at),
            account.result,
        ]
        for account in accounts
    ]
    clocks = {clock.id: clock for account in accounts for clock in (account.clock, *account.others) if clock}
    parts = [
        f"# {incident_no}·补记{len(accounts)}个节点",
        "这些节点由发送引擎按时直接处理，运行记录事后补入；下列时间为实际时间。",
        _table(["节点", "时限", "事由", "应执行", "实际", "结果"], rows),
        _clock_table(clocks.values()),
        _FOOTER,
    ]
    return "\n\n".join(part for part in parts if part)


def _facts(account: Account, *, backfilled: bool) -> str:
    rows = [
        ["事项编号", account.incident_no or "—"],
        ["节点", f"{account.kind.zh}（{account.action_id}）"],
        ["应执行", shown(account.due_at)],
        ["实际开始", f"{shown(account.claimed_at)}（{lateness(account.due_at, account.claimed_at)}）"],
        ["处理方式", _MODES.get(account.mode, "—") + ("，运行记录事后补入" if backfilled else "")],
        ["结果", account.result],
    ]
    return _table(["项目", "内容"], rows)


def _clock_section(account: Account) -> str:
    clocks = [account.clock, *account.others] if account.clock else list(account.others)
    return _clock_table(clocks)


def _clock_table(clocks: Iterable[ClockFacts]) -> str:
    rows = [
        [
            clock.label + ("（待定级）" if clock.provisional else ""),
            clock.status.zh,
            f"{shown(clock.started_at)}（{clock.anchor}{'' if clock.anchor_stated else '，本系统理解'}）",
            shown(clock.due_at),
            "接报时已逾期" if clock.on_receipt else clock.state.zh,
            clock.clause or "内部要求",
        ]
        for clock in clocks
    ]
    return "## 时限与依据\n\n" + _table(["时限", "性质", "起算", "截止", "状态", "依据"], rows) if rows else ""


def _delivery_section(lines: Sequence[DeliveryLine]) -> str:
    if not lines:
        return ""
    recipients = Counter(line.role for line in lines)
    counted = "，".join(f"{role}{number}件" for role, number in recipients.items())
    rows = [
        [line.notice_no, line.role, line.channel, line.state.zh, str(line.attempts), shown(line.sent_at)]
        for line in lines
    ]
    return f"## 通知\n\n对象：{counted}\n\n" + _table(["通知号", "岗位", "渠道", "状态", "次数", "送出"], rows)


def lateness(due_at: datetime, at: datetime | None) -> str:
    """How late something was, in words."""
    if at is None:
        return "—"
    seconds = (at - due_at).total_seconds()
    return f"晚{seconds:.2f}秒" if seconds >= 0 else "提前"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
