"""The closed vocabularies of the business (glossary: docs/architecture.md).

Every value is a lower-case ASCII word used unchanged in the database, JSON and on the command line;
``zh`` gives the words a duty officer reads.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

#: An acknowledgement of this step answers every step of its clock.
EVERY_STEP = "*"


class Word(StrEnum):
    """A vocabulary whose members carry their Chinese reading; looking one up takes the value alone."""

    zh: str

    def __new__(cls, value: str, zh: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.zh = zh
        return member


class Kind(Word):
    """What kind of thing an incident is; only an emergency has a severity."""

    EMERGENCY = "emergency", "突发事件"
    OPINION = "opinion", "一般政务舆情"


class Severity(Word):
    """The four legal levels of an emergency, chosen by a person with a criterion note."""

    EXTRA_MAJOR = "extra_major", "特别重大"
    MAJOR = "major", "重大"
    CONSIDERABLE = "considerable", "较大"
    GENERAL = "general", "一般"

    @property
    def rank(self) -> int:
        """4 for extra-major down to 1 for general."""
        return {"extra_major": 4, "major": 3, "considerable": 2, "general": 1}[self.value]


class LimitStatus(Word):
    """Where a limit's figure comes from; a house target never looks like law."""

    STATUTORY = "statutory", "法定"
    STIPULATED = "stipulated", "文件明定"
    BY_REFERENCE = "by_reference", "援引规定"
    INTERNAL = "internal", "内部要求"
    UNTIMED = "untimed", "未定时限"


class TimeKind(Word):
    """The times of an incident that people state, each with its source."""

    OCCURRED = "occurred_at", "事发时间"
    EXPOSED = "first_exposed_at", "首发（曝光）时间"
    CAPTURED = "captured_at", "系统抓取时间"
    DETECTED = "detected_at", "发现时间"
    NOTIFIED = "notified_at", "接报时间"
    REGISTERED = "registered_at", "登记时间"


class GradeBasis(Word):
    """Why a grading was made."""

    INITIAL = "initial", "初次定级"
    CORRECTION = "correction", "更正定级（自始如此）"
    WORSENED = "worsened", "事态升级"
    DOWNGRADE = "downgrade", "降级"


class ClockState(Word):
    """The life of a clock."""

    SCHEDULED = "scheduled", "未起算"
    RUNNING = "running", "计时中"
    SATISFIED = "satisfied", "按时完成"
    BREACHED = "breached", "已超时"
    SATISFIED_LATE = "satisfied_late", "超时完成"
    CANCELLED = "cancelled", "已取消"
    WAIVED = "waived", "研判不予回应"
    SUPERSEDED = "superseded", "已被替代"
    MERGED = "merged", "已并案"

    @property
    def is_open(self) -> bool:
        """True while somebody still has to act."""
        return self in {ClockState.SCHEDULED, ClockState.RUNNING, ClockState.BREACHED}


class PublicationKind(Word):
    """What was put before the public."""

    RELEASE = "release", "权威信息发布"
    RESPONSE = "response", "权威回应"
    PRESS_CONFERENCE = "press_conference", "新闻发布会"


class ContentKind(Word):
    """What a publication consists of; reposts are recorded and never stop a clock."""

    ORIGINAL = "original", "本机关权威信息"
    WORK_DYNAMICS_REPOST = "work_dynamics_repost", "转载工作动态"
    NEWS_REPORT = "news_report", "转载新闻报道"
    COMMENTARY = "commentary", "转载评论文章"

    @property
    def is_repost(self) -> bool:
        """True for the kinds that the documents refuse as a response."""
        return self is not ContentKind.ORIGINAL


class Review(Word):
    """A reviewer's verdict on a publication."""

    PENDING = "pending", "待核"
    ACCEPTED = "accepted", "已核"
    REJECTED = "rejected", "不予认可"


class Attribution(Word):
    """Why a limit was missed; a person confirms it before anything else follows."""

    LATE_DETECTION = "late_detection", "迟发现"
    LATE_REPORT = "late_report", "迟报"
    LATE_REGISTRATION = "late_registration", "迟登记"
    LATE_GRADING = "late_grading", "迟定级"
    LATE_RESPONSE = "late_response", "处置超时"
    INVALID_RESPONSE = "invalid_response", "回应被判无效"


class ClockOrigin(Word):
    """What brought a clock into being."""

    RULE = "rule", "规则时钟"
    ACTION = "action", "内部行动时钟"
    TASK = "task", "部门任务时钟"
    TRANSFER = "transfer", "转办通知时钟"
    CONTINUOUS = "continuous", "持续发布时钟"


class IncidentState(Word):
    """Where an incident stands; separate from its clocks and stages."""

    REGISTERED = "registered", "已登记"
    VERIFYING = "verifying", "核实中"
    GRADED = "graded", "已定级"
    HANDLING = "handling", "处置回应中"
    RESPONDED = "responded", "已回应"
    CONTINUING = "continuing", "持续发布"
    EVALUATING = "evaluating", "评估中"
    CLOSED = "closed", "已归档"
    VOIDED = "voided", "误报撤销"
    HANDED_OVER = "handed_over", "移交"
    MERGED = "merged", "并案"

    @property
    def is_open(self) -> bool:
        """True while the incident is still being worked on."""
        return self not in {
            IncidentState.CLOSED,
            IncidentState.VOIDED,
            IncidentState.HANDED_OVER,
            IncidentState.MERGED,
        }


class EventKind(Word):
    """The incident events; each is one timed action and, in Prefect, one flow run."""

    REGISTERED = "registered", "登记"
    REMINDER = "reminder", "提醒"
    ESCALATION = "escalation", "升级提醒"
    RELEASE_RECORDED = "release_recorded", "发布登记"
    REGRADED = "regraded", "定级变更"
    BREACHED = "breached", "超时"
    CLOSED = "closed", "办结"
    DAILY_BRIEF = "daily_brief", "每日简报"
    CHANGED = "changed", "事项变更"
    DIGEST = "digest", "汇总提醒"
    TEST = "test", "测试"


class Role(Word):
    """Duties on the roster; a person holds one by shift or standing."""

    DUTY_OFFICER = "duty_officer", "值班员"
    LIAISON = "liaison", "联络员"
    SHIFT_LEADER = "shift_leader", "带班领导"
    LEADER_IN_CHARGE = "leader_in_charge", "分管领导"
    PRINCIPAL = "principal", "主要负责人"
    SUPERVISION = "supervision_office", "督查室"
    FIRST_SPOKESPERSON = "first_spokesperson", "第一新闻发言人"
    HANDLER = "handler", "承办人"

    @property
    def is_leader(self) -> bool:
        """Leaders are informed in person, never in a group."""
        return self in {Role.SHIFT_LEADER, Role.LEADER_IN_CHARGE, Role.PRINCIPAL}


class Audience(Word):
    """Which class of channel a step asks for."""

    GROUP = "group", "工作群"
    PERSONAL = "personal", "个人渠道"
    PHONE = "phone", "电话短信"


class Band(Word):
    """How urgent a message is; orders every queue (超时 before 临期 before 提醒)."""

    NOTICE = "notice", "时限提醒"
    WARNING = "warning", "临期预警"
    OVERDUE = "overdue", "超时督办"
    INFO = "info", "情况通报"

    @property
    def urgency(self) -> int:
        """0 is the most urgent."""
        return {"overdue": 0, "warning": 1, "notice": 2, "info": 3}[self.value]


class ChannelKind(Word):
    """The ways out of the house."""

    INBOX = "inbox", "站内收件箱"
    CONSOLE = "console", "控制台"
    WEBHOOK = "webhook", "签名网络回调"
    DINGTALK = "dingtalk", "钉钉群机器人"
    WECOM = "wecom", "企业微信群机器人"
    FEISHU = "feishu", "飞书群机器人"
    EMAIL = "email", "电子邮件"


class ActionState(Word):
    """The life of a timed action."""

    PENDING = "pending", "待触发"
    CLAIMED = "claimed", "处理中"
    DONE = "done", "已处理"
    SUPERSEDED = "superseded", "已失效"
    BUNDLED = "bundled", "已并入汇总"


class DeliveryState(Word):
    """The life of a delivery (action, person, channel)."""

    PENDING = "pending", "待发送"
    SENDING = "sending", "发送中"
    SENT = "sent", "已送出"
    PARTIAL = "partial", "部分送达"
    FAILED = "failed", "发送失败"
    DEAD = "dead", "已停止重试"
    SUPERSEDED = "superseded", "已失效"
    BUNDLED = "bundled", "已并入汇总"
