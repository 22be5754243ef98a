"""Letting time pass on a store whose clock jumps: whatever the engine has to do happens at its own instant."""

from __future__ import annotations

from datetime import datetime, timedelta

from huiying.service.breaches import sweep_breaches
from huiying.service.claims import claim_due
from huiying.service.delivery import record_outcomes, send_claimed
from huiying.service.expand import expand_due
from huiying.service.hand import Hand
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.store import outbox

_MOST_AT_ONCE = 200
_NOTHING = timedelta(0)


class JumpingClock:
    """A time of its own."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """The present moment."""
        return self.at

    def jump(self, at: datetime) -> None:
        """Go forward, never back."""
        self.at = max(self.at, at)


class Playback:
    """The engine's work on ``services``, whose store runs on ``clock``; one step after another, nothing in parallel."""

    def __init__(self, services: Services, clock: JumpingClock, name: str) -> None:
        self._services = services
        self._clock = clock
        self._senders = Senders(services)
        self._hand = Hand(f"{name}/engine", name)

    def run_until(self, end: datetime) -> None:
        """Do all that falls due before ``end``, each thing at its own instant."""
        while True:
            with self._services.store.reading() as tx:
                look = outbox.outlook(tx)
            following = min((at for at in (look.next_action_at, look.next_delivery_at) if at is not None), default=end)
            if following >= end:
                break
            self._clock.jump(following)
            self.work()
        self._clock.jump(end)
        self.work()

    def work(self) -> None:
        """Everything that is due now: breaches, messages, their sending and recording."""
        sweep_breaches(self._services, self._hand, _NOTHING)
        while self._round():
            pass

    def _round(self) -> bool:
        batch = expand_due(self._services, self._senders, self._hand, room=_room, older_than=_NOTHING)
        waiting = claim_due(self._services, self._senders, self._hand, room=_room, most=_MOST_AT_ONCE)
        claimed = [*batch.claimed, *waiting]
        if claimed:
            record_outcomes(self._services, self._hand, [send_claimed(self._senders, one) for one in claimed])
        return bool(batch.expansions or claimed)


def _room(_channel_id: str) -> int:
    return _MOST_AT_ONCE
