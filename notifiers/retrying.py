"""Second attempts inside one call, only where they fit into its deadline.

Longer retries are rows of the engine's (they survive a restart), so there are few here, at most two attempts by default.
An ambiguous result (the message may have arrived) is repeated only when asked for, once, under the same 通知号.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_any, stop_before_delay
from tenacity.wait import wait_random_exponential

from huiying.domain.outcome import Outcome, Transient

_backoff = wait_random_exponential(multiplier=0.25, max=2.0)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often one call may try. ``attempts=1`` leaves all retrying to the engine."""

    attempts: int = 2
    retry_ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt is told: the wall clock moved on with the call, what is left, whether it may be a second copy."""

    now: datetime
    seconds: float
    resend: bool


def attempt_within(seconds: float, now: datetime, policy: RetryPolicy, once: Callable[[Attempt], Outcome]) -> Outcome:
    """Call ``once`` until its outcome is final or no further attempt fits into ``seconds``."""
    start = monotonic()
    ambiguous = 0

    def next_attempt() -> Outcome:
        nonlocal ambiguous
        elapsed = monotonic() - start
        outcome = once(Attempt(now + timedelta(seconds=elapsed), seconds - elapsed, resend=ambiguous > 0))
        ambiguous += isinstance(outcome, Transient) and outcome.ambiguous
        return outcome

    def is_worth_repeating(outcome: Outcome) -> bool:
        if not isinstance(outcome, Transient):
            return False
        return not ambiguous or (policy.retry_ambiguous and ambiguous == 1)

    first = next_attempt()
    if policy.attempts <= 1 or not is_worth_repeating(first):
        # Nearly every post ends here; setting tenacity up would cost a fifth of it.
        return first
    made = [first]
    retrying = Retrying(
        retry=retry_if_result(is_worth_repeating),
        wait=_wait,
        stop=stop_any(stop_after_attempt(policy.attempts), stop_before_delay(seconds - (monotonic() - start))),
        retry_error_callback=_last_outcome,
    )
    return retrying(lambda: made.pop() if made else next_attempt())


def _wait(state: RetryCallState) -> float:
    outcome = _last_outcome(state)
    if isinstance(outcome, Transient) and outcome.retry_after is not None:
        return outcome.retry_after
    return _backoff(state)


def _last_outcome(state: RetryCallState) -> Any:
    assert state.outcome is not None  # tenacity asks only after an attempt
    return state.outcome.result()
