"""Sending and recording: the functions that the engine and Prefect's tasks share.

The outcome is what our tables say. Recording writes the delivery, its attempt, the inbox message, the channel's breaker
and whatever other way a failure needs in one transaction, and one audit entry for all outcomes of that transaction.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from loguru import logger

from config.secrets import mask
from huiying.crash import crash_point
from huiying.domain.compose import Letter, compose
from huiying.domain.kinds import DeliveryState
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Permanent, Transient
from huiying.domain.retry import BROKEN, SHORT_WAIT, Breaker, Verdict, after_attempt, judge
from huiying.domain.sentences import said, sentence_in
from huiying.now import monotonic, utc_now
from huiying.service.claims import Claimed, claim_delivery, claim_due
from huiying.service.expand import Expansion, expand_due, expand_one
from huiying.service.fallback import Rerouting, reroute
from huiying.service.hand import Hand
from huiying.service.senders import NoSender, Senders
from huiying.service.services import Services
from huiying.service.sources import Sources
from huiying.store import outbox
from huiying.store import tables as t
from huiying.store.db import Tx
from notifiers.templates import Form, render

#: Everything one attempt may take, name lookup and answer included; well inside a lease.
SEND_SECONDS = 8.0
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt and its outcome; ``outcome`` None gives the delivery back unsent, to be looked at at ``ended_at``."""

    claimed: Claimed
    outcome: Outcome | None
    started_at: datetime
    ended_at: datetime
    subject: str = ""
    text: str = ""
    is_drill: bool = False


def deciding_now(claimed: Claimed) -> datetime:
    """The deciding clock's present moment, carried on from the claim by the monotonic clock: no question to the database."""
    return claimed.claimed_at + timedelta(seconds=monotonic() - claimed.held_since)


def compose_delivery(senders: Senders, claimed: Claimed) -> Notice:
    """The notice as it reads now; raises what prevents it."""
    if isinstance(claimed.letter, Exception):
        raise claimed.letter
    letter: Letter = claimed.letter
    if claimed.mentioned:
        letter = replace(letter, mentions=senders.mobiles(claimed.mentioned))
    return compose(letter, deciding_now(claimed))


def send_claimed(senders: Senders, claimed: Claimed, seconds: float = SEND_SECONDS) -> Attempt:
    """Compose and send what this process holds; whatever goes wrong is an outcome, never an exception."""
    started_at = deciding_now(claimed)
    subject = text = ""
    drill = False
    outcome: Outcome
    try:
        notice = compose_delivery(senders, claimed)
        drill = notice.drill
        if claimed.is_inbox:
            message = render(notice, Form.PLAIN)
            subject, text = message.title, message.body
            outcome = Accepted()
        else:
            notifier = senders.notifier(claimed.channel)
            address = senders.address(claimed.channel, claimed.person)
            crash_point("send_before")
            outcome = notifier.send(notice, address, utc_now(), seconds)
            crash_point("send_after")
    except NoSender as error:
        outcome = Permanent(mask(sentence_in(error)), code="settings")
    except Exception as fault:  # noqa: BLE001 - a fault of ours in one message must not stop the others
        logger.error("{} could not be sent: {}", claimed.notice_no, mask(repr(fault)))
        outcome = Transient(said("内部错误：%(name)s", name=type(fault).__name__), code=BROKEN)
    return Attempt(claimed, outcome, started_at, deciding_now(claimed), subject, text, drill)


def give_back(claimed: Claimed, at: datetime | None = None) -> Attempt:
    """A delivery that was claimed and is not to be sent now; anybody may claim it again, or not before ``at``."""
    return Attempt(claimed, None, claimed.claimed_at, at or claimed.claimed_at)


# -- recording -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording changed: deliveries whose outcome counted, new deliveries, and the channels' breakers."""

    verdicts: dict[str, Verdict]
    made: int
    breakers: dict[str, Breaker]


def record_outcomes(services: Services, hand: Hand, attempts: Sequence[Attempt]) -> Recorded:
    """Record attempts in one transaction; whoever no longer holds the delivery changes nothing."""
    with services.store.transaction(hand.actor, crash="record") as tx:
        given_back = [a for a in attempts if a.outcome is None]
        outbox.release(tx, [(a.claimed.notice_no, a.claimed.token, a.ended_at) for a in given_back])
        return _record(services, tx, [a for a in attempts if a.outcome is not None])


def _record(services: Services, tx: Tx, attempts: Sequence[Attempt]) -> Recorded:
    rows = outbox.claimed_still(tx, [a.claimed.notice_no for a in attempts])
    held = [a for a in attempts if _holds(rows.get(a.claimed.notice_no), a)]
    if not held:
        return Recorded({}, 0, {})
    verdicts = {
        a.claimed.notice_no: judge(_outcome(a), rows[a.claimed.notice_no].attempts + 1, tx.now, random.random())  # noqa: S311
        for a in held
    }
    breakers = _breakers(tx, held)
    made = _other_ways(services, tx, [rows[a.claimed.notice_no] for a in held], verdicts, breakers)
    _write(tx, held, rows, verdicts)
    _write_inbox(tx, held)
    for channel_id, breaker in breakers.items():
        _write_breaker(tx, channel_id, breaker)
    told = {a.claimed.notice_no: _told(verdicts[a.claimed.notice_no]) for a in held}
    tx.audit("deliveries.recorded", "deliveries", {"outcomes": told})
    return Recorded(verdicts, made, breakers)


def _outcome(attempt: Attempt) -> Outcome:
    return attempt.outcome or Accepted()


def _holds(row: Any | None, attempt: Attempt) -> bool:
    """The token decides: a process that slept through its lease may have sent, but has nothing to say any more."""
    if row is not None and row.token == attempt.claimed.token and row.state == DeliveryState.SENDING:
        return True
    logger.warning("{}: the lease has passed to somebody else, outcome not recorded", attempt.claimed.notice_no)
    return False


def _told(verdict: Verdict) -> str:
    return f"{verdict.outcome}:{verdict.code}" if verdict.code else verdict.outcome


def _write(tx: Tx, held: Iterable[Attempt], rows: dict[str, Any], verdicts: dict[str, Verdict]) -> None:
    changes, attempts = [], []
    for attempt in held:
        claimed, row = attempt.claimed, rows[attempt.claimed.notice_no]
        verdict = verdicts[claimed.notice_no]
        sent = verdict.state in {DeliveryState.SENT, DeliveryState.PARTIAL}
        again = verdict.again_at if verdict.state is DeliveryState.PENDING else None
        changes.append(
            {
                "key": claimed.notice_no,
                "held_token": claimed.token,
                "new_state": str(verdict.state),
                "new_visible_at": again or tx.now,
                "new_attempts": row.attempts + 1,
                "new_outcome": verdict.outcome,
                "new_reason": verdict.reason[:_LONGEST_REASON],
                "new_provider_id": verdict.provider_id[:200],
                "new_sent_at": attempt.ended_at if sent else None,
                "new_detail": {**row.detail, "resend": True} if verdict.may_have_arrived else row.detail,
            }
        )
        attempts.append(
            {
                "notice_no": claimed.notice_no,
                "number": row.attempts + 1,
                "started_at": attempt.started_at,
                "ended_at": attempt.ended_at,
                "outcome": verdict.outcome,
                "code": verdict.code[:60],
                "reason": verdict.reason[:_LONGEST_REASON],
                "mode": claimed.mode,
            }
        )
    outbox.record(tx, changes, attempts)


def _write_inbox(tx: Tx, held: Iterable[Attempt]) -> None:
    rows = [
        {
            "notice_no": a.claimed.notice_no,
            "person_id": a.claimed.person_id,
            "subject": a.subject[:200],
            "text": a.text,
            "created_at": tx.now,
            "drill": a.is_drill,
        }
        for a in held
        if a.claimed.is_inbox and isinstance(a.outcome, Accepted)
    ]
    outbox.insert_inbox(tx, rows)


# -- channels that fail --------------------------------------------------------------------------------------------------


def _breakers(tx: Tx, held: Sequence[Attempt]) -> dict[str, Breaker]:
    """The breakers that these attempts change."""
    ids = sorted({a.claimed.channel_id for a in held if not a.claimed.is_inbox})
    rows = outbox.breakers(tx, ids) if ids else []
    before = {row.id: Breaker(row.failures, row.parked_until, row.parked_reason) for row in rows}
    after = dict(before)
    for attempt in held:
        channel_id = attempt.claimed.channel_id
        if channel_id in after:
            after[channel_id] = after_attempt(after[channel_id], _outcome(attempt), attempt.started_at, tx.now)
    return {key: breaker for key, breaker in after.items() if _matters(before[key], breaker)}


def _matters(before: Breaker, after: Breaker) -> bool:
    return (before.failures, before.parked_until) != (after.failures, after.parked_until)


def _write_breaker(tx: Tx, channel_id: str, breaker: Breaker) -> None:
    tx.run(
        t.channel.update()
        .where(t.channel.c.id == channel_id)
        .values(failures=breaker.failures, parked_until=breaker.parked_until, parked_reason=mask(breaker.reason))
    )
    if breaker.is_parked(tx.now) and breaker.parked_until is not None:
        details = {"failures": breaker.failures, "until": breaker.parked_until.isoformat()}
        tx.audit("channel.parked", f"channel:{channel_id}", details)
    elif not breaker.failures:
        tx.audit("channel.recovered", f"channel:{channel_id}", {})


def _other_ways(
    services: Services, tx: Tx, rows: Sequence[Any], verdicts: dict[str, Verdict], breakers: dict[str, Breaker]
) -> int:
    """Other ways for what fell through, and for what waits at a robot that has just been parked for long."""
    fallen = [row for row in rows if verdicts[row.notice_no].fell_through]
    parked = [key for key, breaker in breakers.items() if _is_out(breaker, tx.now)]
    if not fallen and not parked:
        return 0
    sources = Sources(tx)
    routing = Rerouting(services, sources, fallen)
    for row in fallen:
        verdict = verdicts[row.notice_no]
        waits = verdict.state is DeliveryState.FAILED and verdict.again_at is not None
        if not routing.plan(row, verdict.reason, waits=waits):
            if waits:
                verdicts[row.notice_no] = replace(verdict, state=DeliveryState.PENDING)
            else:
                routing.strand(row, verdict.reason)
    made = routing.write()
    own = {row.notice_no for row in rows}
    for channel_id in parked:
        waiting = [row for row in outbox.pending_on(tx, channel_id, 500) if row.notice_no not in own]
        made += len(reroute(services, sources, [(row, "渠道暂停使用") for row in waiting], keep=True).rerouted)
    return made


def _is_out(breaker: Breaker, now: datetime) -> bool:
    return breaker.parked_until is not None and breaker.parked_until - now > SHORT_WAIT


__all__ = [
    "Attempt",
    "Claimed",
    "Expansion",
    "Recorded",
    "claim_delivery",
    "claim_due",
    "compose_delivery",
    "expand_due",
    "expand_one",
    "give_back",
    "record_outcomes",
    "send_claimed",
]
