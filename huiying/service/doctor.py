"""Looking the installation over: what works, what somebody has to see to before it matters."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from config.keys import SEAL_KEY, SERVER_KEY
from huiying.domain.access import AccessRole
from huiying.domain.errors import HuiyingError
from huiying.domain.kinds import Audience, ChannelKind, DeliveryState, IncidentState, Role
from huiying.domain.plan import SHANGHAI
from huiying.domain.roster import Duty, Roster, Shift, on_duty, unit_chain
from huiying.domain.sentences import Recorded, listed, said, term
from huiying.now import utc_now
from huiying.service import health, running, second_person
from huiying.service.rulebook import current_calendar, current_policies
from huiying.service.scope import parents
from huiying.service.sealed_columns import count_unreadable
from huiying.service.services import Services
from huiying.store import heartbeats
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.schema import check_version

#: These must be reachable at any hour, or a limit passes with nobody told.
NEEDED_ROLES = (Role.DUTY_OFFICER, Role.LIAISON, Role.LEADER_IN_CHARGE, Role.PRINCIPAL, Role.SUPERVISION)
AHEAD = timedelta(hours=24)
LEAST_FREE_BYTES = 512 * 1024 * 1024
MOST_SKEW = timedelta(seconds=2)
RUNNER_FRESH = timedelta(seconds=10)
#: The next year's calendar is published in November; from then on its absence is somebody's task.
_CALENDAR_DUE_MONTH = 11
_OUTSIDE = frozenset(ChannelKind) - {ChannelKind.INBOX, ChannelKind.CONSOLE}


class Level(StrEnum):
    """How a finding weighs."""

    OK = "ok"
    NOTE = "note"
    DO = "do"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``DO`` asks somebody to act.

    ``place`` is the screen on which it is done, ``desk`` the sentence for who has that screen and needs no command.
    """

    name: str
    level: Level
    message: str
    place: str = ""
    desk: str = ""


_FIRST_SIGN_IN = "管理员的一次性密码还未使用。请在浏览器打开本系统，用户编号 admin，以 first-password 文件中的一次性密码登录，并立即设置自己的密码。"


def examine(services: Services) -> list[Finding]:
    """Everything, in the order in which it would have to be mended."""
    database = _database(services)
    found = [*_files(services), database]
    if database.level is Level.OK:
        found.append(_sealed(services))
        with services.store.reading() as tx:
            for look in (
                _skew,
                _calendar,
                _rules,
                _held,
                _roster,
                _reach,
                _administrators,
                _requests,
                _channels,
                _stuck,
            ):
                found += look(tx)
        return [*found, *_processes(services), *_public_url(services)]
    return [*found, _judged(services.settings.public_url)]


def _ok(name: str, message: str = "正常。") -> Finding:
    return Finding(name, Level.OK, message)


# -- files and database ------------------------------------------------------------------------------------------------


def _files(services: Services) -> list[Finding]:
    folder = services.settings.data_dir
    found = []
    open_to_others = [str(path) for path in _private(folder) if path.exists() and path.stat().st_mode & 0o077]
    if open_to_others:
        found.append(
            Finding(
                "文件权限",
                Level.DO,
                said("其他账号可以读取：%(paths)s。请执行 chmod go-rwx。", paths=listed(open_to_others)),
            )
        )
    else:
        found.append(_ok("文件权限"))
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        found.append(
            Finding("磁盘空间", Level.DO, said("数据目录只剩 %(free)s MB，请清理或扩容。", free=free // 2**20))
        )
    else:
        found.append(_ok("磁盘空间", said("剩余 %(free)s GB。", free=free // 2**30)))
    if (folder / "first-password").exists():
        found.append(
            Finding(
                "首个密码",
                Level.DO,
                _FIRST_SIGN_IN,
                desk="首位管理员的一次性密码还未使用，请其尽快登录并设置自己的密码。",
            )
        )
    return found


def _private(folder: Path) -> list[Path]:
    names = (SEAL_KEY, SERVER_KEY, "first-password", "huiying.toml", "prefect/auth-string")
    return [folder, *(folder / name for name in names), *folder.glob("huiying.db*")]


def _database(services: Services) -> Finding:
    try:
        check_version(services.store.engine)
        with services.store.reading() as tx:
            if services.store.is_sqlite:
                answer = tx.conn.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if answer != "ok":
                    return Finding("数据库", Level.DO, "数据库文件已损坏。请停止服务，保留原文件，从最近的备份恢复。")
    except HuiyingError as error:
        return Finding("数据库", Level.DO, error.message)
    return _ok("数据库", "可读写，结构为当前版本。")


def _sealed(services: Services) -> Finding:
    unreadable = count_unreadable(services.store, services.sealer)
    if unreadable:
        return Finding(
            "密钥",
            Level.DO,
            said(
                "有 %(count)s 项加密内容（电话、邮箱、渠道密钥）无法解开：secret.key 与数据不符，请换回原来的。",
                count=unreadable,
            ),
        )
    return _ok("密钥")


def _skew(tx: Tx) -> list[Finding]:
    skew = abs(utc_now() - tx.now)
    if skew > MOST_SKEW:
        seconds = int(skew.total_seconds())
        return [
            Finding(
                "时钟",
                Level.DO,
                said("本机与数据库的时钟相差 %(seconds)s 秒，请检查对时服务（NTP）。", seconds=seconds),
            )
        ]
    return [_ok("时钟")]


# -- rules and calendars -----------------------------------------------------------------------------------------------


def _calendar(tx: Tx) -> list[Finding]:
    today = tx.now.astimezone(SHANGHAI).date()
    years = set(current_calendar(tx).years)
    if today.year not in years:
        return [
            Finding(
                "工作日历",
                Level.DO,
                said(
                    "缺少 %(year)s 年的放假安排，工作日期限只能暂定。请执行 huiying calendar import。", year=today.year
                ),
                place="calendar",
                desk=said("缺少 %(year)s 年的放假安排，工作日期限只能暂定。请导入。", year=today.year),
            )
        ]
    if today.year + 1 in years:
        return [_ok("工作日历", said("已有到 %(year)s 年。", year=today.year + 1))]
    level = Level.DO if today.month >= _CALENDAR_DUE_MONTH else Level.NOTE
    return [
        Finding(
            "工作日历",
            level,
            said(
                "还没有 %(year)s 年的放假安排（通常 11 月公布），跨年的工作日期限为暂定；公布后请导入。",
                year=today.year + 1,
            ),
            place="calendar",
        )
    ]


def _rules(tx: Tx) -> list[Finding]:
    synced = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == "rules_synced")) or {}
    refused = list(synced.get("findings", ()))
    found = [
        Finding("规则文件", Level.DO, said("未被采用：%(finding)s", finding=Recorded(finding)))
        for finding in refused[:10]
    ]
    return found or [_ok("规则文件")]


def _held(tx: Tx) -> list[Finding]:
    if tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == "dispatch_held")):
        return [
            Finding(
                "通知发送",
                Level.DO,
                "已暂停，任何提醒都不会发出。核对后执行 huiying dispatch release。",
                place="dispatch",
                desk="已暂停，任何提醒都不会发出。请核对后放行。",
            )
        ]
    return [_ok("通知发送")]


# -- people ------------------------------------------------------------------------------------------------------------


def _roster(tx: Tx) -> list[Finding]:
    """Who is missing in the next 24 hours, for every unit that leads an open incident and every unit at the top."""
    roster, tree = _read_roster(tx), parents(tx)
    found = []
    for unit_id in _units_to_check(tx):
        chain = unit_chain(tree, unit_id)
        for role in NEEDED_ROLES:
            gaps = _gaps(roster, role, chain, tx.now)
            if gaps:
                spans = listed(f"{_clock(begin)}–{_clock(end)}" for begin, end in gaps[:3])
                found.append(
                    Finding(
                        "值班",
                        Level.DO,
                        said(
                            "%(unit)s 的%(role)s在未来 24 小时内有空缺：%(spans)s。",
                            unit=unit_id,
                            role=role,
                            spans=spans,
                        ),
                        "roster",
                    )
                )
    return found or [_ok("值班", "未来 24 小时各职责都有人。")]


def _clock(at: datetime) -> str:
    return f"{at.astimezone(SHANGHAI):%m-%d %H:%M}"


def _read_roster(tx: Tx) -> Roster:
    person = t.person.c
    duties = tx.all(sa.select(t.duty).join(t.person, person.id == t.duty.c.person_id).where(person.active))
    shifts = tx.all(
        sa.select(t.shift)
        .join(t.person, person.id == t.shift.c.person_id)
        .where(person.active, t.shift.c.cancelled_at.is_(None), t.shift.c.ends_at > tx.now)
    )
    return Roster(
        [Duty(row.person_id, Role(row.role), row.unit_id) for row in duties],
        [Shift(row.person_id, Role(row.role), row.unit_id, row.starts_at, row.ends_at) for row in shifts],
    )


def _units_to_check(tx: Tx) -> list[str]:
    open_states = [state.value for state in IncidentState if state.is_open]
    leading = tx.all(sa.select(t.incident.c.unit_id).where(t.incident.c.state.in_(open_states)).distinct())
    tops = tx.all(sa.select(t.unit.c.id).where(t.unit.c.parent_id.is_(None), t.unit.c.active))
    return sorted({row.unit_id for row in leading} | {row.id for row in tops})


def _gaps(roster: Roster, role: Role, chain: Sequence[str], now: datetime) -> list[tuple[datetime, datetime]]:
    """Stretches of the next day in which nobody holds the role; it can change only where a shift begins or ends."""
    end = now + AHEAD
    edges = {edge for shift in roster.shifts if shift.role is role for edge in (shift.starts_at, shift.ends_at)}
    moments = [now, *sorted(edge for edge in edges if now < edge < end), end]
    empty = [(begin, until) for begin, until in pairwise(moments) if not on_duty(roster, role, chain, begin)]
    return _joined(empty)


def _joined(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    found: list[tuple[datetime, datetime]] = []
    for begin, end in spans:
        if found and found[-1][1] == begin:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def breach_reach(services: Services) -> list[Finding]:
    """Whom a breach would not reach as things stand: said after every change of channels and duties, too."""
    with services.store.reading() as tx:
        channels = {row.id: row for row in tx.all(sa.select(t.channel).where(t.channel.c.enabled))}
        outside = [row for row in channels.values() if ChannelKind(row.kind) in _OUTSIDE]
        return [*_only_robots(outside), *_vain_steps(tx, channels)] if outside else []


def _reach(tx: Tx) -> list[Finding]:
    """People on duty whom nothing but the inbox reaches in person: at three in the morning nobody looks there."""
    soon = tx.now + AHEAD
    on_shift = sa.select(t.shift.c.person_id).where(
        t.shift.c.cancelled_at.is_(None), t.shift.c.ends_at > tx.now, t.shift.c.starts_at < soon
    )
    people = tx.all(
        sa.select(t.person).where(
            t.person.c.active, sa.or_(t.person.c.id.in_(sa.select(t.duty.c.person_id)), t.person.c.id.in_(on_shift))
        )
    )
    channels = {row.id: row for row in tx.all(sa.select(t.channel).where(t.channel.c.enabled))}
    outside = [row for row in channels.values() if ChannelKind(row.kind) in _OUTSIDE]
    if not outside:
        return [
            Finding(
                "联系方式",
                Level.DO,
                "没有任何对外渠道，消息只进站内收件箱。请执行 huiying channel add。",
                place="channels",
                desk="没有任何对外渠道，消息只进站内收件箱。请增加渠道。",
            )
        ]
    found = _only_robots(outside)
    lost = [f"{row.name}（{row.id}）" for row in people if not _reachable(row, channels)]
    if lost:
        names = listed(lost[:10]) if len(lost) <= 10 else said("%(names)s等", names=listed(lost[:10]))
        found.append(
            Finding(
                "联系方式",
                Level.DO,
                said("个人渠道送不到的值班人员：%(names)s（群机器人不算）。请补充邮箱或渠道用户号。", names=names),
                "people",
            )
        )
    return [*found, *_vain_steps(tx, channels)] or [_ok("联系方式")]


def _only_robots(outside: Sequence[Any]) -> list[Finding]:
    """An office with nothing but robots: leaders are never addressed in a group, so a breach reaches none of them."""
    if any(row.audience != Audience.GROUP for row in outside):
        return []
    sentence = (
        "只有工作群渠道，没有个人渠道（如邮件）。超时等步骤只发个人：主要负责人、分管领导、督查室收不到，"
        "消息只能作为最后手段发工作群。请执行 huiying channel add 增加个人渠道。"
    )
    desk = (
        "只有工作群渠道，没有个人渠道（如邮件）。超时等步骤只发个人：主要负责人、分管领导、督查室收不到，"
        "消息只能作为最后手段发工作群。请增加个人渠道。"
    )
    return [Finding("个人渠道", Level.DO, sentence, "channels", desk)]


def _vain_steps(tx: Tx, channels: Mapping[str, Any]) -> list[Finding]:
    """Steps at a breach that would reach nobody in person at this moment, by unit."""
    roster, tree = _read_roster(tx), parents(tx)
    people = {row.id: row for row in tx.all(sa.select(t.person).where(t.person.c.active))}
    found = []
    for unit_id in _units_to_check(tx):
        chain = unit_chain(tree, unit_id)
        serving = {key: row for key, row in channels.items() if row.unit_id is None or row.unit_id in chain}
        for name, roles in _breach_steps(tx):
            called = {one for role in roles for one in on_duty(roster, role, chain, tx.now)}
            if not any(one in people and _reachable(people[one], serving) for one in called):
                whom = listed(roles)
                sentence = said(
                    "%(unit)s 的「%(policy)s」超时时，%(roles)s无一人有本人的渠道，%(otherwise)s。",
                    unit=unit_id,
                    policy=term(name),
                    roles=whom,
                    otherwise=_what_then(serving.values()),
                )
                found.append(Finding("超时督办", Level.DO, sentence, "channels"))
    return found


def _what_then(serving: Iterable[Any]) -> str:
    kinds = {(row.kind, row.audience) for row in serving}
    if (ChannelKind.WEBHOOK, Audience.PERSONAL) in kinds:
        return said("只能经签名网络回调转达，对方是否转到本人无从得知")
    group = any(audience == Audience.GROUP for _, audience in kinds)
    return said("只能改发工作群") if group else said("除站内收件箱外无处可发")


def _breach_steps(tx: Tx) -> list[tuple[str, tuple[Role, ...]]]:
    """Name and addressees of every policy's step at a breach."""
    return [
        (policy.name, step.to)
        for policy in current_policies(tx)
        for step in policy.steps
        if step.trigger == "breach" and not step.value
    ]


def _reachable(row: Any, channels: Mapping[str, Any]) -> bool:
    """Whether a channel of one's own reaches this person; a robot or the other end of a webhook is nobody in particular."""
    if row.email_sealed and any(channel.kind == ChannelKind.EMAIL for channel in channels.values()):
        return True
    return any(key in channels and channels[key].audience != Audience.GROUP for key in row.im_sealed)


def _requests(tx: Tx) -> list[Finding]:
    """What waits for a second person: until then every limit is counted as before."""
    waiting = [one for one in second_person.waiting(tx) if not one["drill"]]
    return [
        Finding(
            "待复核申请",
            Level.NOTE if one["may_decide"] else Level.DO,
            said("%(line)s。", line=second_person.line_of(one)),
        )
        for one in waiting
    ]


def _administrators(tx: Tx) -> list[Finding]:
    held = tx.all(
        sa.select(t.access.c.role, t.access.c.person_id)
        .join(t.person, t.person.c.id == t.access.c.person_id)
        .where(t.person.c.active)
    )
    by_role: dict[str, set[str]] = {}
    for row in held:
        by_role.setdefault(row.role, set()).add(row.person_id)
    found = []
    if not by_role.get(AccessRole.ADMINISTRATOR):
        sentence = "没有在用的管理员账号。请执行 huiying access grant。"
        found.append(Finding("账号", Level.DO, sentence, "people", "没有在用的管理员账号。请授予权限。"))
    second = by_role.get(AccessRole.APPROVER, set()) | by_role.get(AccessRole.HEAD, set())
    if not second:
        sentence = "没有可作第二人确认的账号（approver 或 head），需双人的变更将无法办理。"
        desk = "没有可作第二人确认的账号（审批领导或处室负责人），需双人的变更将无法办理。请授予权限。"
        found.append(Finding("账号", Level.DO, sentence, "people", desk))
    return found or [_ok("账号")]


# -- channels and queues -----------------------------------------------------------------------------------------------


def _channels(tx: Tx) -> list[Finding]:
    parked = tx.all(sa.select(t.channel).where(t.channel.c.enabled, t.channel.c.parked_until > tx.now))
    found = [
        Finding(
            "渠道",
            Level.DO,
            said(
                "%(name)s（%(id)s）暂停至 %(until)s：%(reason)s",
                name=row.name,
                id=row.id,
                until=_clock(row.parked_until),
                reason=Recorded(row.parked_reason or ""),
            ),
            "channels",
        )
        for row in parked
    ]
    return found or [_ok("渠道")]


def _stuck(tx: Tx) -> list[Finding]:
    since = tx.now - timedelta(days=1)
    dead = tx.value(
        sa.select(sa.func.count()).where(
            t.delivery.c.state.in_((DeliveryState.DEAD, DeliveryState.FAILED)), t.delivery.c.created_at > since
        )
    )
    if dead:
        return [
            Finding(
                "送达",
                Level.DO,
                said(
                    "24 小时内有 %(count)s 条通知未能送出（huiying notifications --state failed 及 --state dead 查看）。",
                    count=dead,
                ),
                place="runs",
                desk=said("24 小时内有 %(count)s 条通知未能送出。", count=dead),
            )
        ]
    return [_ok("送达")]


# -- processes and addresses -------------------------------------------------------------------------------------------


def _processes(services: Services) -> list[Finding]:
    engine = next((check for check in health.readiness(services) if check.name == "engine"), None)
    if engine is not None and not engine.ok:
        return [Finding("提醒引擎", Level.DO, said("%(message)s（启动：huiying serve）", message=term(engine.detail)))]
    return [_ok("提醒引擎"), *_prefect(services)]


def _prefect(services: Services) -> list[Finding]:
    """The runner says every second whether Prefect's server answers it."""
    if not services.settings.prefect_enabled:
        return []
    with services.store.reading() as tx:
        answers = heartbeats.is_healthy(tx, f"{services.settings.node}/runner", RUNNER_FRESH)
    if answers:
        return [_ok("Prefect")]
    return [Finding("Prefect", Level.NOTE, "没有应答：提醒照常由引擎发出，运行记录待其恢复后补记。")]


def _public_url(services: Services) -> list[Finding]:
    """The address in the messages of the running product; this shell may know another one, or none."""
    own = services.settings.public_url
    with services.store.reading() as tx:
        live = running.running(tx)
    url = own if live is None else str(live["public_url"])
    found = [_judged(url)]
    if live is not None and url != own:
        shown = own or said("（未设置）")
        sentence = said(
            "运行中的系统用的是 %(url)s，本命令读到的是 %(own)s；以运行中的为准，重启后才会改变。",
            url=url or said("（未设置）"),
            own=shown,
        )
        found.append(Finding("访问地址设置", Level.NOTE, sentence))
    return found


def _judged(url: str) -> Finding:
    if not url:
        return Finding(
            "访问地址", Level.DO, "未设置 HUIYING_PUBLIC_URL(或 huiying.toml 中的 public_url)：消息中没有签收链接。"
        )
    parts = urlsplit(url)
    if _is_local(parts.hostname or ""):
        return Finding("访问地址", Level.DO, said("%(url)s 只在本机有效，手机打不开签收链接。", url=url))
    if parts.scheme != "https":
        return Finding("访问地址", Level.NOTE, said("%(url)s 未加密，签收链接在网络上可被看见；请用 https。", url=url))
    return _ok("访问地址", url)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
