"""The actions of the audit chain in the words an auditor reads; the code itself always stands beside them."""

from __future__ import annotations

_SUBJECTS = {
    "access": "权限", "account": "账号", "actions": "节点", "audit": "审计", "backlog": "积压", "calendar": "日历",
    "channel": "渠道", "clock": "时钟", "deliveries": "通知", "delivery": "通知", "demo": "示例数据", "dispatch": "通知发送",
    "drill": "演练", "duty": "固定职责", "handover": "交接班", "incident": "事项", "leases": "发送租约", "obligations": "定期任务",
    "pack": "规则包", "password": "密码", "person": "人员", "policy": "督办方案", "request": "二次确认", "second_factor": "动态口令",
    "session": "登录", "shift": "班次", "system": "系统", "token": "令牌", "unit": "单位",
}  # fmt: skip
_VERBS = {
    "acknowledged": "签收", "added": "新增", "approved": "同意", "breached": "超时", "cancelled": "取消", "changed": "修改",
    "client_locked": "来源地址锁定", "closed": "结束", "confirmed": "确认", "consolidated": "合并处理", "created": "新建",
    "enrolled": "绑定", "expanded": "展开处理", "export": "导出", "filled": "填入", "granted": "授予", "held": "暂停",
    "imported": "导入", "issued": "签发", "kept": "保留", "lapsed": "失效", "loaded": "载入", "locked": "锁定", "made": "提出",
    "mark_ended": "浏览器标记作废", "marks_forgotten": "清除浏览器标记", "name_locked": "账号锁定", "name_unlocked": "账号解锁", "opened": "进入系统", "parked": "停用等待", "played": "执行",
    "prepared": "生成", "recomputed": "重算", "recorded": "记录结果", "recovered": "恢复", "recovery_used": "使用备用码",
    "refused": "被拒", "registered": "登记", "rejected": "不同意", "removed": "移除", "rerouted": "改道", "reset": "重置",
    "revealed": "查看联系方式", "revoked": "撤销", "seeded": "初始化", "signed_in": "接班签字", "signed_out": "交班签字",
    "started": "开始登录", "superseded": "作废", "tested": "测试", "undeliverable": "无法送达", "unlocked": "解锁", "voided": "作废",
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
_WHOLE = {"backup": "备份", "clock_step": "系统时钟跳变"}


def action_zh(action: str) -> str:
    """事项·签收 for ``incident.acknowledged``; empty for an action that has no reading."""
    if action in _WHOLE:
        return _WHOLE[action]
    subject, _, verb = action.partition(".")
    first, second = _SUBJECTS.get(subject, ""), _VERBS.get(verb, "")
    return f"{first}·{second}" if first and second else first


def actor_zh(actor: str, names: dict[str, str]) -> str:
    """Who an entry names, in words: a person by name, the command line, the system."""
    kind, _, rest = actor.partition(":")
    if kind == "person":
        return names.get(rest, rest)
    readings = {"local": "本机命令行", "system": "系统", "group": "群内签收", "anonymous": "未登录"}
    return f"{readings[kind]} {rest}".strip() if kind in readings else actor
