"""Who may do what: permissions, the roles that carry them, and the separation of the three administrators.

三员分立: who sets up the system (管理员) neither approves nor reads content; who audits (审计) reads and changes nothing;
nobody may edit the audit, so no permission for it exists. A role is held for a unit and everything below it.
"""

from __future__ import annotations

from collections.abc import Iterable

from huiying.domain.kinds import Word
from huiying.domain.sentences import listed, said


class Permission(Word):
    """One thing an account may do; also the vocabulary of token scopes."""

    READ = "read", "查看事项与时钟"
    REGISTER = "register", "登记事项"
    GRADE = "grade", "定级"
    RELEASE = "release", "登记发布与回应"
    REVIEW = "review", "核验发布内容"
    ACKNOWLEDGE = "acknowledge", "签收"
    CORRECT = "correct", "更正时间与内容"
    MERGE = "merge", "并案与拆分"
    END = "end", "撤销、研判不予回应、移交、办结、重开"
    ASSIGN = "assign", "转办、部门任务与阶段"
    ATTRIBUTE = "attribute", "确认超时归因"
    REPLAN = "replan", "更换督办方案"
    APPROVE = "approve", "作为第二人确认"
    CALL = "call", "查看联系电话"
    ROSTER = "roster", "排班"
    PEOPLE = "people", "管理单位、人员与权限"
    CHANNELS = "channels", "管理通知渠道"
    RULES = "rules", "管理规则、日历与督办方案"
    OPERATE = "operate", "备份、恢复与通知放行"
    AUDIT = "audit", "查看与校验审计"
    EVALUATE = "evaluate", "查看超时与评估"


class AccessRole(Word):
    """What a person is allowed to do, apart from the duty they are on."""

    DUTY = "duty", "值班员"
    HANDLER = "handler", "承办单位"
    HEAD = "head", "处室负责人"
    APPROVER = "approver", "审批领导"
    AUDITOR = "auditor", "审计"
    ADMINISTRATOR = "administrator", "管理员"
    ASSESSOR = "assessor", "外部评估"


_P = Permission
_DESK = frozenset(
    {
        _P.READ,
        _P.REGISTER,
        _P.GRADE,
        _P.RELEASE,
        _P.ACKNOWLEDGE,
        _P.CORRECT,
        _P.MERGE,
        _P.END,
        _P.ASSIGN,
        _P.CALL,
    }
)

GRANTS: dict[AccessRole, frozenset[Permission]] = {
    AccessRole.DUTY: _DESK,
    AccessRole.HANDLER: frozenset({_P.READ, _P.ACKNOWLEDGE, _P.RELEASE}),
    AccessRole.HEAD: _DESK | {_P.REVIEW, _P.ATTRIBUTE, _P.REPLAN, _P.APPROVE, _P.ROSTER, _P.EVALUATE},
    AccessRole.APPROVER: frozenset(
        {_P.READ, _P.ACKNOWLEDGE, _P.REVIEW, _P.ATTRIBUTE, _P.APPROVE, _P.CALL, _P.EVALUATE}
    ),
    AccessRole.AUDITOR: frozenset({_P.READ, _P.AUDIT, _P.EVALUATE}),
    AccessRole.ADMINISTRATOR: frozenset({_P.PEOPLE, _P.ROSTER, _P.CHANNELS, _P.RULES, _P.OPERATE}),
    AccessRole.ASSESSOR: frozenset({_P.READ, _P.EVALUATE}),
}

#: The command line of the machine itself may set up and operate everything, and is never a second person.
LOCAL_PERMISSIONS: frozenset[str] = frozenset(permission.value for permission in Permission) - {_P.APPROVE.value}

#: Roles that one account may not hold together with any other.
_APART = frozenset({AccessRole.AUDITOR, AccessRole.ADMINISTRATOR, AccessRole.ASSESSOR})


def permissions_of(roles: Iterable[AccessRole]) -> frozenset[Permission]:
    """Everything these roles allow together."""
    return frozenset().union(*(GRANTS[role] for role in roles))


def separation_conflict(roles: Iterable[AccessRole]) -> str:
    """Why one account may not hold all these roles (a Chinese sentence; empty when it may)."""
    held = set(roles)
    alone = sorted(held & _APART)
    if len(held) < 2 or not alone:
        return ""
    names = listed(role for role in AccessRole if role in held)
    return said(
        "按三员分立要求，“%(role)s”不能与其他权限由同一账号兼任（现为：%(roles)s）。请为其另设账号。",
        role=alone[0],
        roles=names,
    )
