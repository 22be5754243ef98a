"""After an attempt: send again, when, or give up; and when a channel is left alone for a while.

Duplicates rather than silence: an attempt that may have arrived is repeated under the same 通知号.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from huiying.domain.kinds import DeliveryState
from huiying.domain.outcome import Accepted, Outcome, Partial, Permanent, RateLimited, Transient
from huiying.domain.sentences import listed, said

MOST_ATTEMPTS = 6
#: Faults of our own code (a message that cannot be composed) are given up a little earlier.
MOST_BROKEN_ATTEMPTS = 5
#: Code of a ``Transient`` that stands for an exception in our own code.
BROKEN = "broken"
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
#: However long a provider asks us to wait, a delivery is looked at again after this.
LONGEST_WISH = 600.0
#: A channel that is away for longer than this is no way out at the moment; its messages take another.
SHORT_WAIT = timedelta(seconds=60)
BREAKER_AFTER = 3
BREAKER_FIRST = timedelta(seconds=30)
BREAKER_LONGEST = timedelta(minutes=10)


def pause(attempts: int, chance: float) -> float:
    """Seconds until the next attempt after ``attempts`` failed ones: full jitter, ``chance`` in [0, 1)."""
    ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(max(attempts - 1, 0), 16))
    return ceiling * chance


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt makes of a delivery.

    ``again_at``: when the same channel may try again; for a failed one only if there is no other way left.
    """

    state: DeliveryState
    outcome: str
    code: str = ""
    reason: str = ""
    provider_id: str = ""
    again_at: datetime | None = None
    may_have_arrived: bool = False

    @property
    def fell_through(self) -> bool:
        """True when this channel will not carry it: another way is needed at once."""
        return self.state in {DeliveryState.FAILED, DeliveryState.DEAD}


def judge(outcome: Outcome, attempts: int, now: datetime, chance: float) -> Verdict:
    """Judge the outcome of attempt number ``attempts`` (counted from one)."""
    match outcome:
        case Accepted(provider_id):
            return Verdict(DeliveryState.SENT, "accepted", provider_id=provider_id)
        case Partial(refused, reason):
            told = reason or said("未送达：%(refused)s", refused=listed(refused))
            return Verdict(DeliveryState.PARTIAL, "partial", reason=told)
        case RateLimited(until, code):
            return _judge_limited(until, code, attempts, now)
        case Permanent(reason, code):
            return Verdict(DeliveryState.FAILED, "permanent", code, reason)
        case Transient():
            return _judge_transient(outcome, attempts, now, chance)


def _judge_limited(until: datetime, code: str, attempts: int, now: datetime) -> Verdict:
    """A short wait is waited out; for a long one another way is taken at once."""
    reason = "渠道被对方限流"
    again = min(until, now + timedelta(seconds=LONGEST_WISH))
    if attempts >= MOST_ATTEMPTS:
        return Verdict(DeliveryState.DEAD, "rate_limited", code, reason)
    state = DeliveryState.PENDING if again - now <= SHORT_WAIT else DeliveryState.FAILED
    return Verdict(state, "rate_limited", code, reason, again_at=again)


def _judge_transient(outcome: Transient, attempts: int, now: datetime, chance: float) -> Verdict:
    limit = MOST_BROKEN_ATTEMPTS if outcome.code == BROKEN else MOST_ATTEMPTS
    name = "ambiguous" if outcome.ambiguous else "transient"
    if attempts >= limit:
        return Verdict(DeliveryState.DEAD, name, outcome.code, outcome.reason, may_have_arrived=outcome.ambiguous)
    wait = pause(attempts, chance)
    if outcome.retry_after is not None:
        wait = max(wait, min(outcome.retry_after, LONGEST_WISH))
    again = now + timedelta(seconds=wait)
    return Verdict(
        DeliveryState.PENDING,
        name,
        outcome.code,
        outcome.reason,
        again_at=again,
        may_have_arrived=outcome.ambiguous,
    )


@dataclass(frozen=True, slots=True)
class Breaker:
    """A channel's recent failures; parked while ``parked_until`` lies ahead."""

    failures: int = 0
    parked_until: datetime | None = None
    reason: str = ""

    def is_parked(self, now: datetime) -> bool:
        """True while nobody may use the channel."""
        return self.parked_until is not None and now < self.parked_until


def after_attempt(breaker: Breaker, outcome: Outcome, started_at: datetime, now: datetime) -> Breaker:
    """The breaker after one attempt; attempts begun before the last parking say nothing new."""
    match outcome:
        case Accepted() | Partial():
            return Breaker()
        case RateLimited(until):
            latest = min(until, now + timedelta(seconds=LONGEST_WISH))
            return Breaker(max(breaker.failures, BREAKER_AFTER), latest, "对方限流")
        case Transient(code=code) if code != BROKEN:
            if breaker.parked_until is not None and started_at < breaker.parked_until:
                return breaker
            return _count(breaker, now, outcome.reason)
        case _:
            return breaker


def _count(breaker: Breaker, now: datetime, reason: str) -> Breaker:
    failures = breaker.failures + 1
    if failures < BREAKER_AFTER:
        return Breaker(failures, breaker.parked_until, reason)
    doubled = BREAKER_FIRST * 2 ** min(failures - BREAKER_AFTER, 10)
    return Breaker(failures, now + min(doubled, BREAKER_LONGEST), reason)
