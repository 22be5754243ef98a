"""Every kind of channel in one table: how it is built, what its settings are, whom it reaches, how much it may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from config.secrets import is_reference
from huiying.domain.kinds import Audience, ChannelKind
from huiying.domain.sentences import said, together
from notifiers import dingtalk, email, feishu, webhook, wecom
from notifiers.console import ConsoleNotifier, Write, write_to_screen
from notifiers.contract import ChannelConfig, Notifier
from notifiers.dingtalk import DingTalkNotifier
from notifiers.email import EmailNotifier, is_mail_address
from notifiers.feishu import FeishuNotifier
from notifiers.guard import Guard, parse_cidrs
from notifiers.http import HttpClient
from notifiers.inbox import InboxNotifier, StoreMessage
from notifiers.options import Finding, Option, Options, check
from notifiers.retrying import RetryPolicy
from notifiers.webhook import BadSecret, WebhookNotifier, signing_key
from notifiers.wecom import WeComNotifier
from notifiers.window import RateLimits


@dataclass(frozen=True, slots=True)
class Services:
    """What notifiers need from the rest of the house, handed in by the wiring.

    ``threads`` is how many sender threads share a notifier (its keep-alive pool has as many places).
    ``allow_loopback`` is the process-wide switch ``HUIYING_ALLOW_LOOPBACK_CHANNELS`` of tests, bench and sandbox.
    """

    store_message: StoreMessage
    threads: int = 16
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    allow_loopback: bool = False
    write: Write = write_to_screen


Build: TypeAlias = Callable[[Options, Services], Notifier]
Inspect: TypeAlias = Callable[[Mapping[str, object]], list[Finding]]


@dataclass(frozen=True, slots=True)
class _Kind:
    build: Build
    audience: Audience
    options: Sequence[Option] = ()
    limits: RateLimits = field(default_factory=RateLimits)
    inspect: Inspect | None = None


def _client(options: Options, services: Services) -> HttpClient:
    guard = Guard(parse_cidrs(options.texts("allow_cidrs")), allow_loopback=services.allow_loopback)
    return HttpClient(
        threads=services.threads,
        guard=guard,
        proxy=options.secret("proxy"),
        ca_bundle=options.text("ca_bundle"),
    )


def _inspect_webhook(settings: Mapping[str, object]) -> list[Finding]:
    options = Options(settings)
    findings = []
    for key in ("secret", "secret_previous"):
        secret = options.text(key)
        try:
            if secret and not is_reference(secret):
                signing_key(secret)
        except BadSecret as bad:
            findings.append(Finding(key, str(bad)))
    return findings


def _needs_url_or(key: str) -> Inspect:
    def inspect(settings: Mapping[str, object]) -> list[Finding]:
        if settings.get("url") or settings.get(key):
            return []
        return [Finding("url", said("请填写机器人的完整地址（url），或单独填写 %(key)s。", key=key))]

    return inspect


def _inspect_email(settings: Mapping[str, object]) -> list[Finding]:
    options = Options(settings)
    findings = []
    if not is_mail_address(options.text("from")):
        findings.append(Finding("from", "应为一个电子邮件地址。"))
    if options.text("username") and not options.text("password"):
        findings.append(Finding("password", "填写了 username，也须填写 password。"))
    if any(not character.isprintable() for character in options.text("from_name") + options.text("host")):
        findings.append(Finding("from_name", "不得含有控制字符。"))
    return findings


_KINDS: dict[ChannelKind, _Kind] = {
    ChannelKind.INBOX: _Kind(lambda _, services: InboxNotifier(services.store_message), Audience.PERSONAL),
    ChannelKind.CONSOLE: _Kind(lambda _, services: ConsoleNotifier(services.write), Audience.PERSONAL),
    ChannelKind.WEBHOOK: _Kind(
        lambda options, services: WebhookNotifier(options, _client(options, services), services.retry),
        Audience.GROUP,
        webhook.OPTIONS,
        inspect=_inspect_webhook,
    ),
    ChannelKind.DINGTALK: _Kind(
        lambda options, services: DingTalkNotifier(options, _client(options, services), services.retry),
        Audience.GROUP,
        dingtalk.OPTIONS,
        dingtalk.LIMITS,
        _needs_url_or("access_token"),
    ),
    ChannelKind.WECOM: _Kind(
        lambda options, services: WeComNotifier(options, _client(options, services), services.retry),
        Audience.GROUP,
        wecom.OPTIONS,
        wecom.LIMITS,
        _needs_url_or("key"),
    ),
    ChannelKind.FEISHU: _Kind(
        lambda options, services: FeishuNotifier(options, _client(options, services), services.retry),
        Audience.GROUP,
        feishu.OPTIONS,
        feishu.LIMITS,
        _needs_url_or("token"),
    ),
    ChannelKind.EMAIL: _Kind(
        lambda options, services: EmailNotifier(options, services.retry),
        Audience.PERSONAL,
        email.OPTIONS,
        inspect=_inspect_email,
    ),
}


def build(config: ChannelConfig, services: Services) -> Notifier:
    """The notifier of this channel; raises ValueError with Chinese findings where its settings are wrong."""
    findings = validate_settings(config.kind, config.settings)
    if findings:
        raise ValueError(
            said(
                "渠道“%(name)s”的设置有误：%(findings)s",
                name=config.name,
                findings=together(*(one.sentence for one in findings)),
            )
        )
    return _KINDS[config.kind].build(Options(config.settings), services)


def validate_settings(kind: ChannelKind, settings: Mapping[str, object]) -> list[Finding]:
    """Everything wrong with a channel's settings; empty when they can be used. References are not opened."""
    known = _KINDS[kind]
    findings = check(known.options, settings)
    if not findings and known.inspect is not None:
        findings = known.inspect(settings)
    return findings


def options_of(kind: ChannelKind) -> Sequence[Option]:
    """The settings a channel of this kind understands, for a form."""
    return _KINDS[kind].options


def audience_of(kind: ChannelKind) -> Audience:
    """Whether a channel of this kind speaks to a group or to one person."""
    return _KINDS[kind].audience


def limits_of(config: ChannelConfig) -> RateLimits:
    """How much this channel may take: the vendor's figures with a margin, or the channel's own."""
    limits = _KINDS[config.kind].limits
    options = Options(config.settings)
    return replace(
        limits,
        per_minute=int(options.number("per_minute", limits.per_minute)),
        per_second=int(options.number("per_second", limits.per_second)),
    )
