"""Channels: the ways out of the house, set up by operators and tried before anybody relies on them.

What may carry a secret (an address with a token in it, a key, a password) is kept as a reference or sealed and is never
shown again; a list says only that it is set. References to the server's own files and environment are given on the
server's command line alone: an account of the web must not be able to read a file through a channel.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from config.sealed import CannotOpen
from config.secrets import UnresolvedSecret, is_reference, mask, resolve_settings
from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden, InvalidInput, NotFound, Refused
from huiying.domain.kinds import Audience, Band, ChannelKind
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Partial, Permanent, RateLimited, Transient
from huiying.domain.sentences import Recorded, Sentence, listed, said, sentence_in
from huiying.domain.text import identifier, line
from huiying.now import monotonic
from huiying.service.actor import Actor
from huiying.service.people import insert_once
from huiying.service.scope import require_house, require_unit, visible_units
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx
from notifiers.contract import Address, ChannelConfig
from notifiers.options import Finding
from notifiers.registry import audience_of, options_of, validate_settings
from notifiers.vetting import vet_addresses

TEST_SECONDS = 15.0
INBOX_ID = "inbox"

#: What the settings are called on a form.
_LABELS = {
    "access_token": "访问令牌（access_token）",
    "allow_cidrs": "允许的内网网段",
    "base_url": "接口地址",
    "ca_bundle": "根证书文件",
    "domain": "本机域名",
    "format": "消息格式",
    "from": "发件地址",
    "from_name": "发件人名称",
    "host": "邮件服务器",
    "key": "机器人 key",
    "password": "邮箱密码",
    "per_minute": "每分钟上限",
    "per_second": "每秒上限",
    "port": "端口",
    "proxy": "代理",
    "secret": "签名密钥",
    "secret_previous": "上一个签名密钥",
    "tls": "加密方式",
    "token": "机器人 token",
    "url": "完整地址",
    "username": "用户名",
}

#: Settings that certainly carry no secret; everything else is sealed.
_OPEN_KEYS = frozenset(
    {
        "allow_cidrs",
        "ca_bundle",
        "domain",
        "format",
        "from",
        "from_name",
        "host",
        "per_minute",
        "per_second",
        "port",
        "tls",
        "username",
    }
)


def add_channel(
    services: Services,
    actor: Actor,
    channel_id: str,
    *,
    kind: str,
    name: str = "",
    audience: str = "",
    unit_id: str = "",
    rank: int = 100,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A new way out; refused with every finding when its settings are wrong."""
    actor.require(Permission.CHANNELS)
    if services.settings.demo:
        raise Refused("演示环境的消息只进站内收件箱，不能添加向外发送的渠道。未作任何改动。")
    chosen = _kind(kind)
    given = dict(settings or {})
    _check_settings(services, actor, chosen, given, given)
    with services.store.transaction(actor.id) as tx:
        if unit_id or not actor.is_everywhere:
            require_unit(tx, actor, unit_id)
        row = {
            "id": identifier("id", channel_id),
            "name": line("name", name or chosen.zh, 120, "渠道名称", required=True),
            "kind": chosen.value,
            "audience": _audience(audience, chosen),
            "unit_id": unit_id or None,
            "rank": _rank(rank),
            "enabled": True,
            **_split(services, given),
        }
        insert_once(tx, t.channel, row, said("编号「%(channel_id)s」已有渠道使用，未新建。", channel_id=channel_id))
        details = {key: row[key] for key in ("kind", "audience", "unit_id", "rank")}
        tx.audit("channel.added", f"channel:{channel_id}", {**details, "settings": sorted(given)})
        return _view(services, {**row, **_UNPARKED})


_UNPARKED: dict[str, Any] = {"parked_until": None, "parked_reason": "", "failures": 0}


def edit_channel(services: Services, actor: Actor, channel_id: str, **changes: Any) -> dict[str, Any]:
    """Change name, audience, unit, rank, use or settings; absent (None) fields stay, a setting of null is taken away.

    A change lifts a parking: what was wrong may be right now.
    """
    actor.require(Permission.CHANNELS)
    given = {key: value for key, value in changes.items() if value is not None}
    with services.store.transaction(actor.id) as tx:
        row = _find(tx, actor, channel_id)
        if row.unit_id is None:
            require_house(tx, actor)
        if channel_id == INBOX_ID and given.get("enabled") is False:
            raise Refused("站内收件箱是最后的去处，不能停用。")
        values = {**_UNPARKED, **_changed(services, actor, row, given)}
        if "unit_id" in given:
            if given["unit_id"] or not actor.is_everywhere:
                require_unit(tx, actor, given["unit_id"])
            values["unit_id"] = given["unit_id"] or None
        tx.run(t.channel.update().where(t.channel.c.id == channel_id).values(**values))
        fields = sorted(set(given) - {"settings"}) + [f"settings.{key}" for key in sorted(given.get("settings") or {})]
        tx.audit("channel.changed", f"channel:{channel_id}", {"fields": fields})
        return _view(services, {**row._asdict(), **values})


def _changed(services: Services, actor: Actor, row: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    kind = ChannelKind(row.kind)
    if "name" in given:
        values["name"] = line("name", given["name"], 120, "渠道名称", required=True)
    if "audience" in given:
        values["audience"] = _audience(given["audience"], kind)
    if "rank" in given:
        values["rank"] = _rank(given["rank"])
    if "enabled" in given:
        values["enabled"] = bool(given["enabled"])
    if "settings" in given:
        fresh = dict(given["settings"])
        kept = {key: value for key, value in {**row.settings, **row.secrets_sealed}.items() if key not in fresh}
        merged = {**kept, **{key: value for key, value in fresh.items() if value is not None}}
        _check_settings(services, actor, kind, merged, fresh)
        values |= _split(services, merged)
    return values


def _kind(kind: str) -> ChannelKind:
    try:
        return ChannelKind(kind)
    except ValueError:
        known = listed(said("%(word)s（%(name)s）", word=word.value, name=word) for word in ChannelKind)
        raise InvalidInput(
            "kind", said("没有「%(kind)s」这种渠道，可用：%(known)s。", kind=kind[:40], known=known)
        ) from None


def _audience(audience: str, kind: ChannelKind) -> str:
    if not audience:
        return audience_of(kind).value
    if audience not in set(Audience):
        raise InvalidInput("audience", "渠道类别为 group(工作群)、personal(个人渠道)或 phone(电话短信)。")
    if kind is not ChannelKind.WEBHOOK and audience != audience_of(kind).value:
        raise InvalidInput(
            "audience",
            said(
                "%(kind)s的类别固定为 %(audience)s（%(name)s）。",
                kind=kind,
                audience=audience_of(kind).value,
                name=audience_of(kind),
            ),
        )
    return audience


def _rank(rank: int) -> int:
    if not 0 <= rank <= 1000:
        raise InvalidInput("rank", "优先级为 0 至 1000，数字小的先用。")
    return rank


def _check_settings(
    services: Services, actor: Actor, kind: ChannelKind, merged: Mapping[str, Any], fresh: Mapping[str, Any]
) -> None:
    for key, value in fresh.items():
        if isinstance(value, str):
            line(f"settings.{key[:60]}", value, 2000, key[:60])
            _check_reference(services, actor, key, value)
    findings = validate_settings(kind, merged)
    if not findings and any(isinstance(value, str) for value in merged.values()):
        findings = _vetted(services, merged)
    if findings:
        sentence = listed((mask(finding.sentence) for finding in findings[:5]), "；")
        raise InvalidInput(f"settings.{findings[0].key}", said("渠道设置不正确：%(findings)s", findings=sentence))


def _vetted(services: Services, merged: Mapping[str, Any]) -> list[Finding]:
    """What the guard says of the addresses; a reference that leads nowhere was reported where it was typed."""
    try:
        resolved = resolve_settings(merged, services.sealer.open)
    except (UnresolvedSecret, CannotOpen):
        return []  # an old secret that cannot be opened must not keep the others from being mended
    return vet_addresses(resolved, allow_loopback=services.settings.allow_loopback_channels)


def _check_reference(services: Services, actor: Actor, key: str, value: str) -> None:
    if not is_reference(value):
        return
    if actor.is_person and not value.startswith("enc:"):
        raise Forbidden(
            said("%(key)s：引用服务器上的文件或环境变量（file:、env:）只能在服务器命令行上设置，未保存。", key=key)
        )
    try:
        resolve_settings({key: value}, services.sealer.open)
    except (UnresolvedSecret, CannotOpen) as error:
        raise InvalidInput(f"settings.{key}", sentence_in(error)) from None


def _split(services: Services, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the table keeps them: what may be read by everybody apart from what is sealed or referred to."""
    plain, sealed = {}, {}
    for key, value in settings.items():
        if key in _OPEN_KEYS or not isinstance(value, str):
            plain[key] = value
        else:
            sealed[key] = value if is_reference(value) else services.sealer.seal(value)
    return {"settings": plain, "secrets_sealed": sealed}


def list_channels(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """The channels an actor sees, best rank first; secrets never."""
    if Permission.AUDIT not in actor.permissions:
        actor.require(Permission.CHANNELS)
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        rows = tx.all(sa.select(t.channel).order_by(t.channel.c.rank, t.channel.c.id))
    return [
        _view(services, row._asdict()) for row in rows if seen is None or row.unit_id is None or row.unit_id in seen
    ]


def _find(tx: Tx, actor: Actor, channel_id: str) -> Any:
    row = tx.one(sa.select(t.channel).where(t.channel.c.id == channel_id).with_for_update())
    if row is None:
        raise NotFound(said("没有编号为「%(channel_id)s」的渠道。", channel_id=channel_id[:64]))
    if row.unit_id is not None:
        require_unit(tx, actor, row.unit_id)
    return row


def _view(services: Services, row: Mapping[str, Any]) -> dict[str, Any]:
    kind = ChannelKind(row["kind"])
    return {
        "id": row["id"],
        "name": row["name"],
        "kind": kind.value,
        "kind_zh": kind.zh,
        "audience": row["audience"],
        "audience_zh": Audience(row["audience"]).zh,
        "unit_id": row["unit_id"],
        "rank": row["rank"],
        "enabled": bool(row["enabled"]),
        "settings": dict(row["settings"]),
        "secrets": {key: _hint(services, key, value) for key, value in sorted(row["secrets_sealed"].items())},
        "parked_until": shown(row["parked_until"]),
        "parked_reason": Recorded(mask(row["parked_reason"])),
        "failures": row["failures"],
    }


def _hint(services: Services, key: str, value: str) -> str:
    """What may be said of a hidden setting: where it comes from, or which host an address names."""
    if not value.startswith("enc:"):
        return value
    if not key.endswith("url"):
        return "已设置"
    try:
        parts = urlsplit(services.sealer.open(value))
        return f"{parts.scheme}://{parts.hostname or ''}/…"
    except (CannotOpen, ValueError):
        return said("已设置（无法解开）")


def setting_fields(kind: str) -> list[dict[str, Any]]:
    """The settings of a kind for a form: name, type, whether needed and whether what is typed is kept sealed."""
    return [
        {
            "key": option.key,
            "label": _LABELS.get(option.key, option.key),
            "type": option.type,
            "required": option.required,
            "choices": list(option.choices),
            "sealed": option.key not in _OPEN_KEYS,
        }
        for option in options_of(_kind(kind))
    ]


# -- trying ------------------------------------------------------------------------------------------------------------


def try_channel(services: Services, actor: Actor, channel_id: str, person_id: str = "") -> dict[str, Any]:
    """Send one test message through the real notifier and say what the other side answered."""
    actor.require(Permission.CHANNELS)
    if services.make_notifier is None:
        raise Refused("当前环境不发送任何消息，测试未执行。")
    with services.store.transaction(actor.id) as tx:
        row = _find(tx, actor, channel_id)
        to = _address(services, tx, row, person_id)
        now = tx.now
        # The vendor counts a test like every other message, so our window does too.
        tx.run(t.channel_send.insert().values(channel_id=channel_id, sent_at=now))
    notice = _test_notice(now)
    began = monotonic()
    outcome = _send(services, row, notice, to, now)
    seconds = monotonic() - began
    result = {"channel_id": channel_id, "notice_no": notice.notice_no, **_outcome(outcome)}
    with services.store.transaction(actor.id) as tx:
        tx.audit("channel.tested", f"channel:{channel_id}", {key: result[key] for key in ("notice_no", "outcome")})
    return {**result, "seconds": round(seconds, 3)}


def _send(services: Services, row: Any, notice: Notice, to: Address, now: Any) -> Outcome:
    try:
        settings = resolve_settings({**row.settings, **row.secrets_sealed}, services.sealer.open)
        config = ChannelConfig(row.id, ChannelKind(row.kind), row.name, settings)
        notifier = services.make_notifier(config) if services.make_notifier else None
    except ValueError as error:  # a reference that leads nowhere, or settings the notifier refuses
        return Permanent(mask(sentence_in(error)), code="settings")
    if notifier is None:
        return Permanent("当前环境不发送任何消息。", code="no_notifier")
    try:
        return notifier.send(notice, to, now, TEST_SECONDS)
    finally:
        notifier.close()


def _address(services: Services, tx: Tx, row: Any, person_id: str) -> Address:
    if not person_id:
        if row.audience == Audience.GROUP or row.kind in {ChannelKind.CONSOLE, ChannelKind.WEBHOOK}:
            return Address()
        raise InvalidInput("person_id", "个人渠道的测试需要指明收件人（--person 人员编号）。")
    person = tx.one(sa.select(t.person).where(t.person.c.id == person_id, t.person.c.active))
    if person is None:
        raise NotFound(said("没有编号为「%(person_id)s」的在用人员。", person_id=person_id[:64]))

    def clear(sealed: str | None) -> str:
        return services.sealer.open(sealed) if sealed else ""

    return Address(
        person_id=person.id,
        name=person.name,
        email=clear(person.email_sealed),
        mobile=clear(person.mobile_sealed),
        user_id=clear(person.im_sealed.get(row.id)),
    )


def _test_notice(now: Any) -> Notice:
    return Notice(
        notice_no=f"TEST-{secrets.token_hex(6)}",
        band=Band.INFO,
        incident_no="",
        notice_title="",
        grade_text="",
        clock_name="",
        status_text="",
        due_at=None,
        remaining_seconds=None,
        share_used=None,
        responsible="",
        state_text="渠道测试，不涉及任何事项",
        must_do=("收到即表示该渠道可用，无需其他操作",),
        next_step="",
        basis="",
        ordinal=1,
        composed_at=now,
        headline="回应系统渠道测试",
    )


def _answer(reason: str) -> str:
    """Why it failed: a sentence of ours, or one of the other side's that is shown as it is."""
    masked = mask(reason)
    return masked if isinstance(masked, Sentence) else Recorded(masked)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Accepted(provider_id):
            return {"outcome": "accepted", "ok": True, "message": "对方已接收。", "provider_id": provider_id}
        case Partial(refused, reason):
            return {
                "outcome": "partial",
                "ok": False,
                "message": said(
                    "部分收件人未接收：%(refused)s %(reason)s", refused=listed(refused), reason=_answer(reason)
                ),
            }
        case RateLimited(until, code):
            message = said("对方限流，请在 %(until)s 之后再试。", until=shown(until))
            return {"outcome": "rate_limited", "ok": False, "message": message, "code": code}
        case Transient(reason, code):
            return {
                "outcome": "transient",
                "ok": False,
                "message": said("暂时失败，可重试：%(reason)s", reason=_answer(reason)),
                "code": code,
            }
        case Permanent(reason, code):
            return {
                "outcome": "permanent",
                "ok": False,
                "message": said("发送失败：%(reason)s", reason=_answer(reason)),
                "code": code,
            }
