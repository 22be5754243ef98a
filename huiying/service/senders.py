"""The notifiers of a process, one per channel as it is configured now, and the addresses of people, opened when needed."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

from config.secrets import resolve_settings
from huiying.domain.bundle import Window
from huiying.domain.kinds import ChannelKind
from huiying.domain.sentences import sentence_in
from huiying.service.services import Services
from notifiers.contract import Address, ChannelConfig, Notifier
from notifiers.registry import limits_of

#: What a demo may use: nothing of it leaves the machine.
_AT_HOME = frozenset({ChannelKind.INBOX.value, ChannelKind.CONSOLE.value})
_MINUTE, _SECOND = timedelta(minutes=1), timedelta(seconds=1)


class NoSender(ValueError):
    """The channel cannot be used as it is configured; the message is a Chinese sentence."""


class Senders:
    """Notifiers by channel; a changed configuration makes a new one. Shared by all sender threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._made: dict[str, tuple[Any, Notifier]] = {}
        self._windows: dict[str, tuple[Any, tuple[Window, ...]]] = {}

    def notifier(self, row: Any) -> Notifier:
        """The sender of this channel row; raises NoSender."""
        made = self._made.get(row.id)
        print_of = _fingerprint(row)
        if made is not None and made[0] == print_of:
            return made[1]
        with self._lock:
            made = self._made.get(row.id)
            if made is not None and made[0] == print_of:
                return made[1]
            notifier = self._build(row)
            self._made[row.id] = (print_of, notifier)
        if made is not None:
            made[1].close()
        return notifier

    def _build(self, row: Any) -> Notifier:
        make = self._services.make_notifier
        if make is None:
            raise NoSender("当前环境不发送任何消息。")
        if self._services.settings.demo and row.kind not in _AT_HOME:
            raise NoSender("演示环境的消息只进站内收件箱，不向外发送。")
        try:
            return make(self._config(row))
        except ValueError as error:  # a reference that leads nowhere, or settings the notifier refuses
            raise NoSender(sentence_in(error)) from None

    def _config(self, row: Any) -> ChannelConfig:
        settings = resolve_settings({**row.settings, **row.secrets_sealed}, self._services.sealer.open)
        return ChannelConfig(row.id, ChannelKind(row.kind), row.name, settings)

    def windows(self, row: Any) -> tuple[Window, ...]:
        """The rate windows of this channel; empty when it may take everything."""
        key = (row.kind, row.settings)
        known = self._windows.get(row.id)
        if known is not None and known[0] == key:
            return known[1]
        kind = ChannelKind(row.kind)
        limits = limits_of(ChannelConfig(row.id, kind, row.name, row.settings))
        found = []
        if limits.per_minute:
            found.append(Window(limits.per_minute, _MINUTE, limits.reserve_for_overdue))
        if limits.per_second:
            found.append(Window(limits.per_second, _SECOND))
        self._windows[row.id] = (key, tuple(found))
        return tuple(found)

    def address(self, channel_row: Any, person: Any | None) -> Address:
        """Where this person is reached on this channel; empty for a group robot."""
        if person is None:
            return Address()
        kind = ChannelKind(channel_row.kind)
        return Address(
            person_id=person.id,
            name=person.name,
            email=self._open(person.email_sealed) if kind is ChannelKind.EMAIL else "",
            user_id=self._open((person.im_sealed or {}).get(channel_row.id)),
        )

    def mobiles(self, people: tuple[Any, ...]) -> tuple[str, ...]:
        """The telephone numbers by which a group robot mentions people."""
        return tuple(self._open(person.mobile_sealed) for person in people if person.mobile_sealed)

    def _open(self, sealed: str | None) -> str:
        return self._services.sealer.open(sealed) if sealed else ""

    def close(self) -> None:
        """Close every notifier."""
        with self._lock:
            for _, notifier in self._made.values():
                notifier.close()
            self._made.clear()


def _fingerprint(row: Any) -> tuple[Any, ...]:
    return row.kind, row.name, row.settings, row.secrets_sealed
