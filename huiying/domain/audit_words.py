"""The actions of the audit chain in the words an auditor reads; the code itself always stands beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Say = Callable[[str], str]

_SUBJECTS = {
    "access": "权限", "account": "账号", "actions": "节点", "audit": "审计", "backlog": "积压", "calendar": "日历",
    "channel": "渠道", "clock": "时钟", "deliveries": "通知", "delivery": "通知", "demo": "示例数据", "dispatch": "通知发送",
    "drill": "演练", "duty": "固定职责", "handover": "交接班", "incident": "事项", "leases": "发送租约", "obligations": "定期任务",
    "pack": "规则包", "password": "密码", "person": "人员", "policy": "督办方案", "request": "二次确认", "second_factor": "动态口令",
    "secrets": "密钥", "session": "登录", "shift": "班次", "system": "系统", "token": "令牌", "unit": "单位",
}  # fmt: skip
_VERBS = {
    "acknowledged": "签收", "added": "新增", "approved": "同意", "begun": "开始", "breached": "超时", "cancelled": "取消", "changed": "修改",
    "client_locked": "来源地址锁定", "closed": "结束", "confirmed": "确认", "consolidated": "合并处理", "created": "新建",
    "enrolled": "绑定", "expanded": "展开处理", "export": "导出", "filled": "填入", "granted": "授予", "held": "暂停",
    "imported": "导入", "issued": "签发", "kept": "保留", "lapsed": "失效", "loaded": "载入", "locked": "锁定", "made": "提出",
    "mark_ended": "浏览器标记作废", "marks_forgotten": "清除浏览器标记", "name_locked": "账号锁定", "name_unlocked": "账号解锁", "opened": "进入系统", "parked": "停用等待", "played": "执行",
    "prepared": "生成", "recomputed": "重算", "recorded": "记录结果", "recovered": "恢复", "recovery_used": "使用备用码",
    "refused": "被拒", "registered": "登记", "rejected": "不同意", "removed": "移除", "rerouted": "改道", "resealed": "重新加密", "reset": "重置",
    "revealed": "查看联系方式", "revoked": "撤销", "rotated": "更换", "seeded": "初始化", "signed_in": "接班签字", "signed_out": "交班签字",
    "started": "开始登录", "subject": "设置统一身份", "superseded": "作废", "tested": "测试", "undeliverable": "无法送达", "unlocked": "解锁", "voided": "作废",
    "wall_opened": "打开大屏", "withdrawn": "撤回",
    "time_fact": "记录时间", "grading": "定级", "late_exposure": "按首发起算", "publication": "登记发布", "review": "核验发布",
    "confirm_publication": "第二人确认", "merged": "并入", "unmerged": "拆出", "absorbed": "并入本件", "released": "拆出本件",
    "waived": "研判不予回应", "handed_over": "移交", "reopened_as": "重开", "task": "部门任务", "task_done": "任务完成",
    "transfer": "转办", "transfer_feedback": "反馈转办", "transfers_returned": "退回转办", "continuous": "持续发布间隔",
    "stage": "进入阶段", "attribution": "确认归因", "replanned": "更换方案", "reassigned": "变更主办", "details": "修改内容",
    "packs": "适用规则", "acknowledge": "签收", "close": "办结", "correct": "更正", "grade": "定级", "hand_over": "移交",
    "merge": "并入", "reassign": "变更主办", "register": "登记", "release": "登记发布", "reopen": "重开", "replan": "更换方案",
    "unmerge": "拆出", "void": "撤销", "waive": "研判不予回应",
}  # fmt: skip
_WHOLE = {"backup": "备份", "clock_step": "系统时钟跳变", "restore": "从备份恢复"}


#: Everything that is written into the chain, with the changes of incidents (``incident.*``) that the desk can make.
ACTIONS = (
    "access.granted", "access.revoked", "account.subject", "actions.expanded", "audit.export", "backlog.consolidated",
    "backup", "calendar.imported", "channel.added", "channel.changed", "channel.parked", "channel.recovered",
    "channel.tested", "clock.breached", "clock_step", "deliveries.recorded", "deliveries.rerouted",
    "deliveries.superseded", "delivery.undeliverable", "demo.begun", "demo.filled", "dispatch.confirmed", "dispatch.held",
    "drill.played", "duty.added", "duty.removed", "handover.prepared", "handover.signed_in", "handover.signed_out",
    "handover.withdrawn", "incident.acknowledged", "incident.attribution", "incident.close",
    "incident.confirm_publication", "incident.continuous", "incident.correct", "incident.details", "incident.grade",
    "incident.hand_over", "incident.merge", "incident.reassign", "incident.registered", "incident.release",
    "incident.reopen", "incident.replan", "incident.review", "incident.stage", "incident.task", "incident.task_done",
    "incident.transfer", "incident.transfer_feedback", "incident.unmerge", "incident.void", "incident.waive",
    "leases.voided", "obligations.recomputed", "pack.confirmed", "pack.imported", "pack.loaded", "pack.reset",
    "password.changed", "password.issued", "password.locked", "password.refused", "password.reset", "person.added",
    "person.changed", "person.revealed", "policy.imported", "policy.kept", "policy.loaded", "policy.reset",
    "request.approved", "request.lapsed", "request.made", "request.rejected", "request.withdrawn", "restore", "second_factor.enrolled",
    "second_factor.recovery_used", "second_factor.reset", "secrets.resealed", "secrets.rotated",
    "session.client_locked", "session.closed", "session.locked", "session.mark_ended", "session.marks_forgotten", "session.name_locked", "session.name_unlocked",
    "session.opened", "session.refused", "session.revoked", "session.started", "session.unlocked",
    "session.wall_opened", "shift.added", "shift.cancelled", "shift.imported", "system.seeded", "token.created",
    "token.revoked", "unit.added", "unit.changed",
)  # fmt: skip
#: Before each word where another language is looked up: 登录 is something else on a button than here.
_MARK = "动作："


def action_zh(action: str, say: Say = str) -> str:
    """事项·签收 for ``incident.acknowledged``; empty for an action that has no reading. ``say``: the reader's language."""
    if action in _WHOLE:
        return _said(_WHOLE[action], say)
    subject, _, verb = action.partition(".")
    first, second = _said(_SUBJECTS.get(subject, ""), say), _said(_VERBS.get(verb, ""), say)
    return f"{first}·{second}" if first and second else first


def _said(word: str, say: Say) -> str:
    return say(f"{_MARK}{word}").removeprefix(_MARK) if word else ""


def spoken() -> tuple[str, ...]:
    """Every text of these that a face may ask for in another language."""
    words = (*_SUBJECTS.values(), *_VERBS.values(), *_WHOLE.values())
    return tuple(dict.fromkeys(f"{_MARK}{word}" for word in words))


def readings(say: Say = str) -> list[tuple[str, str]]:
    """Every action's code with its reading, by reading."""
    return sorted(((code, action_zh(code, say)) for code in ACTIONS), key=lambda pair: (pair[1], pair[0]))


def codes_for(text: str, says: Iterable[Say] = (str,)) -> list[str]:
    """The codes whose reading, in one of these languages, holds the words; 登录·锁定 and 登录 锁定 alike."""
    wanted = [word for word in text.casefold().replace("·", " ").split() if word]
    if not wanted:
        return []
    languages = list(says)
    every = {f"{subject}.{verb}" for subject in _SUBJECTS for verb in _VERBS} | set(_WHOLE)
    return sorted(
        code
        for code in every
        if any(all(word in action_zh(code, say).casefold() for word in wanted) for say in languages)
    )


def actor_zh(actor: str, names: dict[str, str]) -> str:
    """Who an entry names, in words: a person by name, the command line, the system."""
    kind, _, rest = actor.partition(":")
    if kind == "person":
        return names.get(rest, rest)
    readings = {"local": "本机命令行", "system": "系统", "group": "群内签收", "anonymous": "未登录"}
    return f"{readings[kind]} {rest}".strip() if kind in readings else actor
