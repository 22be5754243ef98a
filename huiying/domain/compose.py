"""From a delivery to a notice: which state, how long left, who, what to do, what happens next, on which ground.

Pure: everything is read beforehand and ``now`` is passed in. Of what people typed only the incident's number and its
separate ``notice_title`` ever appear here; the free-text title has no way in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from huiying.domain.duration import human_left
from huiying.domain.kinds import Band, ClockState, EventKind, Kind, LimitStatus, Role, Severity
from huiying.domain.message import Notice

SHANGHAI = ZoneInfo("Asia/Shanghai")
#: Lines of one bundled message for a group robot: what WeCom's 4,096 bytes hold with room to spare.
MOST_LINES = 25
_WEEKDAYS = "一二三四五六日"
_LONGEST_QUOTE = 48
_URGENT_LIMIT = timedelta(hours=5)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a limit comes from: document, clause, the quoted words; and the document's rule on content."""

    title: str = ""
    clause: str = ""
    quote: str = ""
    no_repost: bool = False


@dataclass(frozen=True, slots=True)
class Matter:
    """An incident as a message may show it."""

    no: str = ""
    notice_title: str = ""
    kind: Kind = Kind.OPINION
    severity: Severity | None = None
    unit_name: str = ""
    drill: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """One clock of a matter as it stands."""

    matter: Matter
    name: str
    status: LimitStatus
    started_at: datetime
    due_at: datetime
    state: ClockState
    on_receipt: bool = False
    ground: Ground = Ground()


@dataclass(frozen=True, slots=True)
class Next:
    """The next action of a clock: when, and who hears of it; of several clocks' the earliest, with that clock's name."""

    at: datetime
    roles: tuple[Role, ...]
    clock: str = ""
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """One delivery with all it speaks of. ``subjects`` are the clocks; ``lines`` replace them where it is no clock."""

    notice_no: str
    kind: EventKind
    band: Band
    matter: Matter = Matter()
    subjects: tuple[Subject, ...] = ()
    roles: tuple[Role, ...] = ()
    headline: str = ""
    must_do: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    next: Next | None = None
    ordinal: int = 1
    resend: bool = False
    previous_failed: str = ""
    note: str = ""
    ack_url: str = ""
    mentions: tuple[str, ...] = ()
    most_lines: int = MOST_LINES
    as_list: bool = False


_HEADLINES = {
    EventKind.REGISTERED: "新事项已登记，时限开始计时",
    EventKind.RELEASE_RECORDED: "已登记发布",
    EventKind.REGRADED: "定级已变更",
    EventKind.CLOSED: "事项已办结",
    EventKind.CHANGED: "事项信息已变更",
    EventKind.DAILY_BRIEF: "每日简报：值班系统正常",
    EventKind.TEST: "测试消息，无需处理",
}
_STATES = {
    ClockState.SCHEDULED: "尚未起算",
    ClockState.SATISFIED: "已按时完成",
    ClockState.SATISFIED_LATE: "超时完成",
    ClockState.CANCELLED: "已取消",
    ClockState.WAIVED: "研判不予回应",
    ClockState.SUPERSEDED: "已被替代",
    ClockState.MERGED: "已并案",
}


@dataclass(frozen=True, slots=True)
class _Milestone:
    """What one kind of limit asks for, in its own words; found by a part of the clock's name, as a pack names it freely."""

    part: str
    missing: str
    still: str
    notice: tuple[str, ...]
    warning: tuple[str, ...]
    overdue: str


_RELEASE = _Milestone(
    "",
    "尚未登记有效发布",
    "仍未登记有效发布",
    ("签收", "报审发布稿", "发布后登记网址和发布时间"),
    ("立即报审发布稿", "发布后登记网址和发布时间"),
    "立即发布权威信息并登记",
)
_MILESTONES = (
    _Milestone(
        "发布会",
        "发布会尚未举行",
        "仍未举行发布会",
        ("签收", "确定发布会时间、地点和发布人", "举行后登记开始时间"),
        ("立即落实发布会时间、地点和发布人", "举行后登记开始时间"),
        "立即举行新闻发布会并登记",
    ),
    _Milestone(
        "任务",
        "任务尚未完成",
        "任务仍未完成",
        ("签收", "办理任务", "完成后登记完成时间"),
        ("立即办结任务", "完成后登记完成时间"),
        "立即办结任务并登记",
    ),
    _Milestone(
        "反馈",
        "尚未反馈",
        "仍未反馈",
        ("签收", "准备反馈材料", "反馈后登记反馈时间"),
        ("立即反馈转办单位", "反馈后登记反馈时间"),
        "立即反馈并登记",
    ),
    _Milestone(
        "回应",
        "尚未登记有效回应",
        "仍未登记有效回应",
        ("签收", "报审回应稿", "回应后登记网址和发布时间"),
        ("立即报审回应稿", "回应后登记网址和发布时间"),
        "立即发布权威回应并登记",
    ),
)


def _milestone(clock_name: str) -> _Milestone:
    return next((words for words in _MILESTONES if words.part in clock_name), _RELEASE)


def _missing(subject: Subject, state: ClockState) -> str:
    """Where an open clock stands, and what it still waits for."""
    missing = _milestone(subject.name).missing
    return missing if state is ClockState.RUNNING else f"已超时，{missing}"


def compose(letter: Letter, now: datetime) -> Notice:
    """Make the notice as it has to read at this very moment."""
    first = _first(letter)
    listed = letter.as_list or len(letter.subjects) > 1
    lines, hidden = _lines(letter, listed=listed, now=now)
    notice = Notice(
        notice_no=letter.notice_no,
        band=letter.band,
        incident_no=letter.matter.no,
        notice_title=letter.matter.notice_title,
        grade_text=grade_text(letter.matter),
        clock_name="",
        status_text="",
        due_at=None,
        remaining_seconds=None,
        share_used=None,
        responsible=responsible(letter.matter, letter.roles),
        state_text="",
        must_do=letter.must_do or _must_do(letter, first),
        next_step=_next_step(letter.next, first),
        basis="",
        ordinal=letter.ordinal,
        composed_at=now,
        ack_url=letter.ack_url,
        headline=letter.headline or _headline(letter),
        lines=lines,
        hidden_lines=hidden,
        mentions=letter.mentions,
        drill=letter.matter.drill,
        resend=letter.resend,
        previous_failed="；".join(text for text in (letter.previous_failed, letter.note) if text),
        layout=_layout(letter),
    )
    return notice if first is None or _is_list_only(letter) else _about(notice, first, now)


def _about(notice: Notice, subject: Subject, now: datetime) -> Notice:
    """Fill in what belongs to the clock the notice is mainly about; one that has ended has no time left to show."""
    runs = subject.state.is_open
    return replace(
        notice,
        clock_name=subject.name,
        status_text=subject.status.zh,
        due_at=subject.due_at if runs else None,
        remaining_seconds=remaining_seconds(subject.due_at, now) if runs else None,
        share_used=share_used(subject, now) if runs else None,
        state_text=state_text(subject, now),
        basis=basis_text(subject.ground),
        content_rule="转载工作动态、新闻报道、评论文章不算回应" if subject.ground.no_repost else "",
    )


def _is_list_only(letter: Letter) -> bool:
    """A digest of several matters is about no single clock."""
    return letter.as_list and len(letter.subjects) != 1


def _lines(letter: Letter, *, listed: bool, now: datetime) -> tuple[tuple[str, ...], int]:
    """One line per clock, most urgent first; what does not fit is counted."""
    lines = list(letter.lines)
    if listed:
        told = letter.subjects if letter.kind is EventKind.RELEASE_RECORDED else by_urgency(letter.subjects)
        lines = [line_of(subject, now) for subject in told] + lines
    return tuple(lines[: letter.most_lines]), max(0, len(lines) - letter.most_lines)


def by_urgency(subjects: Sequence[Subject]) -> list[Subject]:
    """Open clocks of five hours first, then by due time; what is no longer open comes last."""
    return sorted(
        subjects,
        key=lambda s: (not s.state.is_open, s.due_at - s.started_at > _URGENT_LIMIT, s.due_at, s.matter.no),
    )


def _first(letter: Letter) -> Subject | None:
    """The clock a notice is about: what a release has just ended, else what presses most."""
    if letter.kind is EventKind.RELEASE_RECORDED and letter.subjects:
        return letter.subjects[0]
    return leading(letter.subjects)


def leading(subjects: Sequence[Subject]) -> Subject | None:
    """The clock that presses most: the earliest open one."""
    return min(subjects, key=lambda s: (not s.state.is_open, s.due_at), default=None)


def line_of(subject: Subject, now: datetime) -> str:
    """A digest line: how long still or how late, which matter, which limit, who."""
    matter = subject.matter
    title = f" {matter.notice_title}" if matter.notice_title else ""
    left = human_left(remaining_seconds(subject.due_at, now))
    state = left if subject.state.is_open else _STATES[subject.state]
    return f"{state} {matter.no}{title}（{subject.name}）|{matter.unit_name}"


def remaining_seconds(due_at: datetime, now: datetime) -> int:
    """Whole seconds left, rounded down, so that nothing ever looks further away than it is."""
    return (due_at - now) // timedelta(seconds=1)


def share_used(subject: Subject, now: datetime) -> int | None:
    """Per cent of the limit gone, rounded down; None for a limit of no length."""
    limit = subject.due_at - subject.started_at
    if limit <= timedelta(0):
        return None
    return max(0, (now - subject.started_at) * 100 // limit)


def moment(at: datetime) -> str:
    """A moment as a reader in China writes it; the year is understood."""
    local = at.astimezone(SHANGHAI)
    return f"{local.month}月{local.day}日（周{_WEEKDAYS[local.weekday()]}）{local:%H:%M}"


def grade_text(matter: Matter) -> str:
    """What kind of matter it is and how grave."""
    if not matter.no:
        return ""
    if matter.kind is Kind.OPINION:
        return matter.kind.zh
    return f"{matter.kind.zh}·{matter.severity.zh if matter.severity else '待定级'}"


def responsible(matter: Matter, roles: Sequence[Role]) -> str:
    """The body that has to act, never a person's name and not the reader's own duty; duties only where no body is known."""
    return matter.unit_name or "、".join(role.zh for role in dict.fromkeys(roles))


def state_text(subject: Subject, now: datetime) -> str:
    """Where the clock stands, in words; a limit that was gone on receipt is never called a breach of ours."""
    if subject.on_receipt and subject.state is ClockState.BREACHED:
        return "接报时已逾期"
    if subject.state is ClockState.RUNNING and now > subject.due_at:
        return _missing(subject, ClockState.BREACHED)
    if subject.state in {ClockState.RUNNING, ClockState.BREACHED}:
        return _missing(subject, subject.state)
    settled = subject.state in {ClockState.SATISFIED, ClockState.SATISFIED_LATE}
    return _STATES[subject.state] + (f"（截止 {moment(subject.due_at)}）" if settled else "")


def basis_text(ground: Ground) -> str:
    """Document, clause and its words, shortened where they are long."""
    if not ground.title:
        return ""
    quote = ground.quote if len(ground.quote) <= _LONGEST_QUOTE else ground.quote[: _LONGEST_QUOTE - 1] + "…"
    clause = f"第{ground.clause}条" if ground.clause.isdigit() else ground.clause
    title = ground.title.replace("《", "〈").replace("》", "〉")  # a title within a title
    return f"《{title}》{clause}" + (f"“{quote}”" if quote else "")


def _layout(letter: Letter) -> str:
    if letter.kind is EventKind.DAILY_BRIEF:
        return "brief"
    return "digest" if _is_list_only(letter) else ""


def _must_do(letter: Letter, first: Subject | None) -> tuple[str, ...]:
    if letter.kind is EventKind.REGISTERED:
        return ("签收", "核实情况", "准备权威发布")
    if letter.kind in {EventKind.DAILY_BRIEF, EventKind.TEST} or letter.band is Band.INFO:
        return ()
    if letter.as_list:
        return ("登录值班系统逐项核对并处理",)
    words = _milestone(first.name if first is not None else "")
    if letter.band is Band.OVERDUE:
        return (words.overdue, "在系统说明原因")
    return words.warning if letter.band is Band.WARNING else words.notice


def _headline(letter: Letter) -> str:
    if letter.kind is EventKind.DIGEST:
        count = len(letter.subjects) + len(letter.lines)
        return f"系统中断后的汇总提醒，共{count}项" if count != 1 else "系统中断后的提醒"
    if letter.as_list:
        return f"汇总提醒，共{len(letter.subjects) + len(letter.lines)}项"
    return _HEADLINES.get(letter.kind, "")


def _next_step(following: Next | None, subject: Subject | None) -> str:
    if following is None:
        return ""
    roles = "、".join(role.zh for role in following.roles) or "责任人"
    name = following.clock or (subject.name if subject is not None else "")
    due_at = following.due_at or (subject.due_at if subject is not None else None)
    verb = "督办" if due_at is not None and following.at > due_at else "提醒"
    named = f"「{following.clock}」" if following.clock else ""
    return f"{moment(following.at)}{named}{_milestone(name).still}，将{verb}{roles}"
