"""Claiming: who may send which delivery now. A claim is a lease with a token; only the token's holder may record.

Before anything leaves it is judged again: a closed clock needs no reminder, a parked channel is not asked, a robot with
a rate limit takes one bundle instead of a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from huiying.domain.bundle import Waiting, Window, depart
from huiying.domain.compose import Letter
from huiying.domain.expansion import obsolete
from huiying.domain.kinds import ChannelKind, DeliveryState
from huiying.domain.retry import BREAKER_AFTER, SHORT_WAIT
from huiying.now import monotonic
from huiying.service.drafts import Draft, Lease
from huiying.service.fallback import reroute
from huiying.service.hand import Hand
from huiying.service.letters import write_letters
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.service.sources import Sources, to_action
from huiying.store import outbox
from huiying.store.db import Tx

#: A delivery whose holder vanished this often probably takes its holder along.
MOST_LOST = 5
MOST_WAITING = 500
_LEDGER = timedelta(minutes=2)
_MENTIONING = {ChannelKind.DINGTALK, ChannelKind.WECOM, ChannelKind.FEISHU}

#: How many more deliveries the senders of a channel can take now.
Room = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery this process holds, with all that sending needs. ``letter`` may be the fault that prevented one."""

    notice_no: str
    token: int
    urgency: int
    channel: Any
    person_id: str
    person: Any | None
    mentioned: tuple[Any, ...]
    letter: Letter | Exception
    claimed_at: datetime
    held_since: float
    mode: str

    @property
    def channel_id(self) -> str:
        """The channel that carries it."""
        return str(self.channel.id)

    @property
    def is_inbox(self) -> bool:
        """An inbox message is a row: it is written together with its outcome."""
        return bool(self.channel.kind == ChannelKind.INBOX)


def lease_for_new(services: Services, sources: Sources, senders: Senders, hand: Hand, room: Room) -> Lease | None:
    """How far this process may claim deliveries in the very moment of writing them: open channels with room to spare."""
    if not hand.is_direct:
        return None
    now, left = sources.tx.now, {}

    def admits(draft: Draft) -> bool:
        channel_id = draft.route.channel_id
        if sources.channels[channel_id].kind == ChannelKind.INBOX:
            return True  # written at once, by no sender
        if channel_id not in left:
            left[channel_id] = room(channel_id) if _is_open(sources.channels[channel_id], senders, now) else 0
        left[channel_id] -= 1
        return left[channel_id] >= 0

    return Lease(hand.owner, now + timedelta(seconds=services.settings.lease_seconds), admits)


def _is_open(channel: Any, senders: Senders, now: datetime) -> bool:
    parked = channel.parked_until is not None and channel.parked_until > now
    return not parked and channel.failures < BREAKER_AFTER and not senders.windows(channel)


def claim_new(
    services: Services, sources: Sources, senders: Senders, written: Sequence[Any], hand: Hand, room: Room
) -> list[Claimed]:
    """Take what this very transaction has written: what was leased at once, and what robots and probes may carry now."""
    if not hand.is_direct:
        return []
    leased = [row for row in written if row.token]
    rest = [
        row
        for row in written
        if not row.token and not _is_open(sources.channels[row.channel_id], senders, row.created_at)
    ]
    taken = _claim_visible(services, sources, senders, rest, hand, room) if rest else []
    return sorted([*_hold(services, sources, leased, hand), *taken], key=lambda claimed: claimed.urgency)


def claim_due(
    services: Services,
    senders: Senders,
    hand: Hand,
    *,
    room: Room,
    most: int,
    closed: Collection[str] = (),
    holding: Collection[str] = (),
) -> list[Claimed]:
    """Take waiting deliveries: retries, other ways, expired leases, what a flow has not sent in time."""
    with services.store.transaction(hand.actor, crash="claim") as tx:
        if outbox.is_held(tx):
            return []
        rows = [row for row in outbox.visible_deliveries(tx, most, sorted(closed)) if row.notice_no not in holding]
        if not rows:
            return []
        sources = Sources(tx)
        return _claim_visible(services, sources, senders, _still_wanted(sources, rows), hand, room)


def claim_delivery(services: Services, senders: Senders, notice_no: str, hand: Hand) -> Claimed | None:
    """Take one delivery for a flow's task; None when it is not to be sent now or not by this task."""
    with services.store.transaction(hand.actor, crash="claim") as tx:
        row = None if outbox.is_held(tx) else outbox.one_delivery(tx, notice_no)
        if row is None or not _is_free(row, hand, tx.now):
            return None
        sources = Sources(tx)
        wanted = _still_wanted(sources, [row])
        taken = _claim_visible(services, sources, senders, wanted, hand, lambda _channel: 1, alone=True)
        return taken[0] if taken else None


def _is_free(row: Any, hand: Hand, now: datetime) -> bool:
    """A flow's own delivery is hidden from the others for a moment, not from its tasks."""
    mine = row.state == DeliveryState.PENDING and row.owner == hand.owner
    return mine or bool(row.visible_at <= now)


# -- judged again --------------------------------------------------------------------------------------------------------


def _still_wanted(sources: Sources, rows: Sequence[Any]) -> list[Any]:
    """Leave out, and close, what nobody needs to hear any more."""
    sources.need_actions(row.action_id for row in rows)
    sources.need_matters((row.incident_id for row in rows), (row.clock_id for row in rows))
    needless: dict[str, list[str]] = {}
    wanted = []
    for row in rows:
        reason = _needless(sources, row)
        if reason:
            needless.setdefault(reason, []).append(row.notice_no)
        else:
            wanted.append(row)
    for reason, numbers in needless.items():
        outbox.close_deliveries(sources.tx, numbers, DeliveryState.SUPERSEDED, reason)
    if needless:
        sources.tx.audit("deliveries.superseded", "deliveries", {"notices": needless})
    return wanted


def _needless(sources: Sources, row: Any) -> str:
    if row.detail.get("bundle"):
        return ""  # others are aboard
    try:
        action = to_action(sources.actions[row.action_id])
    except ValueError:
        return ""
    return obsolete(action, sources.scene(action))


# -- channel by channel --------------------------------------------------------------------------------------------------


def _claim_visible(
    services: Services,
    sources: Sources,
    senders: Senders,
    rows: Sequence[Any],
    hand: Hand,
    room: Room,
    *,
    alone: bool = False,
) -> list[Claimed]:
    lost = [row for row in rows if _times_lost(row) >= MOST_LOST]
    away = [(row, "反复发送时进程中断") for row in lost]
    open_rows: dict[str, list[Any]] = {}
    for row in rows:
        if row not in lost:
            channel = sources.channels.get(row.channel_id)
            reason = _away(channel, sources.tx.now)
            if reason:
                away.append((row, reason))
            else:
                open_rows.setdefault(row.channel_id, []).append(row)
    fallen = reroute(services, sources, away, keep=True) if away else None
    if fallen is not None:
        _wait_for_channel(sources, [row for row, _ in away if row.notice_no in fallen.stranded])
    taken: list[str] = []
    for channel_id in sorted(open_rows):
        channel = sources.channels[channel_id]
        if channel.parked_until is not None and channel.parked_until > sources.tx.now:
            outbox.postpone(sources.tx, [row.notice_no for row in open_rows[channel_id]], channel.parked_until)
        elif windows := senders.windows(channel):
            taken += _depart(sources, open_rows[channel_id], windows, hand, services, alone=alone)
        else:
            taken += _take(sources, channel, open_rows[channel_id], hand, room, services)
    return _hold(services, sources, outbox.deliveries(sources.tx, taken), hand)


def _times_lost(row: Any) -> int:
    """How often a holder has vanished with it, this time included."""
    return int(row.detail.get("lost", 0)) + int(row.state == DeliveryState.SENDING)


def _away(channel: Any | None, now: datetime) -> str:
    """Why a channel is no way out at the moment; empty when it is one, or will be soon."""
    if channel is None:
        return "渠道已停用"
    if channel.parked_until is not None and channel.parked_until - now > SHORT_WAIT:
        return channel.parked_reason or "渠道暂停使用"
    return ""


def _wait_for_channel(sources: Sources, rows: Sequence[Any]) -> None:
    """No other way: it waits until the channel is back; without a parking to wait for it is looked at in a minute."""
    now = sources.tx.now
    for row in rows:
        channel = sources.channels.get(row.channel_id)
        parked = None if channel is None else channel.parked_until
        until = parked if parked is not None and parked > now else now + timedelta(minutes=1)
        outbox.release(sources.tx, [(row.notice_no, row.token, until)])
        outbox.postpone(sources.tx, [row.notice_no], until)


def _take(sources: Sources, channel: Any, rows: Sequence[Any], hand: Hand, room: Room, services: Services) -> list[str]:
    """As many as can be sent soon, most urgent first; after a parking one goes ahead alone."""
    free = room(channel.id)
    if channel.failures >= BREAKER_AFTER:
        free = min(free, 1)
    chosen = sorted(rows, key=lambda row: (row.urgency, row.visible_at, row.notice_no))[: max(free, 0)]
    _claim_rows(sources, [(row, _kept(row)) for row in chosen], hand, services)
    return [row.notice_no for row in chosen]


def _kept(row: Any) -> dict[str, Any]:
    """What stays with a delivery: a lease that ran out may have been a message that arrived."""
    if row.state != DeliveryState.SENDING:
        return dict(row.detail)
    return {**row.detail, "resend": True, "lost": _times_lost(row)}


def _claim_rows(sources: Sources, rows: Iterable[tuple[Any, dict[str, Any]]], hand: Hand, services: Services) -> None:
    until = sources.tx.now + timedelta(seconds=services.settings.lease_seconds)
    outbox.claim(sources.tx, [(row.notice_no, row.token, detail) for row, detail in rows], hand.owner, until)


def _depart(
    sources: Sources, brought: Sequence[Any], windows: Sequence[Window], hand: Hand, services: Services, *, alone: bool
) -> list[str]:
    """Everything waiting for a rate-limited robot is looked at together, whoever brought it here.

    ``alone``: a flow's task sends its own delivery or none; where others wait, all of them are the engine's.
    """
    tx, channel_id = sources.tx, brought[0].channel_id
    outbox.lock_channel(tx, channel_id)
    queue = {row.notice_no: row for row in (*outbox.waiting_on(tx, channel_id, MOST_WAITING), *brought)}
    rows = {row.notice_no: row for row in _still_wanted(sources, list(queue.values()))}
    waiting = [
        Waiting(row.notice_no, row.urgency, _due(sources, row), row.created_at, bool(row.detail.get("bundle")))
        for row in rows.values()
    ]
    plan = depart(waiting, outbox.recent_sends(tx, channel_id, tx.now - _LEDGER), windows, tx.now)
    if alone and plan.loads != ((brought[0].notice_no,),):
        outbox.postpone(tx, [brought[0].notice_no], tx.now)
        return []
    _claim_rows(sources, [_boarded(tx, rows[load[0]], load[1:]) for load in plan.loads], hand, services)
    outbox.note_sends(tx, channel_id, len(plan.loads))
    gone = {number for load in plan.loads for number in load}
    if plan.again_at is not None:
        outbox.postpone(tx, [number for number in rows if number not in gone], plan.again_at)
    return [load[0] for load in plan.loads]


def _boarded(tx: Tx, carrier: Any, members: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """A carrier with the deliveries that travel in its message."""
    detail = _kept(carrier)
    if members:
        detail["bundle"] = list(members)
        outbox.close_deliveries(tx, members, DeliveryState.BUNDLED, "", bundle_no=carrier.notice_no)
    return carrier, detail


def _due(sources: Sources, row: Any) -> datetime:
    clock = sources.clocks.get(row.clock_id or 0)
    found: datetime = row.created_at if clock is None else clock.due_at
    return found


def _mentioned(sources: Sources, row: Any) -> tuple[Any, ...]:
    """The people a robot mentions by their telephone number; other channels have no use for one."""
    if sources.channels[row.channel_id].kind not in _MENTIONING:
        return ()
    return tuple(sources.people[person] for person, _ in row.detail.get("people", ()) if person in sources.people)


def _hold(services: Services, sources: Sources, rows: Sequence[Any], hand: Hand) -> list[Claimed]:
    """Everything claimed, with its letter, in the order given."""
    if not rows:
        return []
    letters = write_letters(services, sources, rows)
    since = monotonic()
    return [
        Claimed(
            notice_no=row.notice_no,
            token=row.token,
            urgency=row.urgency,
            channel=sources.channels[row.channel_id],
            person_id=row.person_id,
            person=sources.people.get(row.person_id),
            mentioned=_mentioned(sources, row),
            letter=letters[row.notice_no],
            claimed_at=sources.tx.now,
            held_since=since,
            mode=hand.mode,
        )
        for row in rows
    ]
