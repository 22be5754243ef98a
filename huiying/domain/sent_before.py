"""After a restore: what the former system had sent already is not said again, and nothing is forgotten over it."""

from __future__ import annotations

from huiying.domain.expansion import Action, Decision, Scene, is_breach, obsolete
from huiying.domain.kinds import ActionState
from huiying.domain.plan import next_daily

#: The reason such actions and deliveries carry.
SENT_BEFORE = "sent_before_restore"


def sent_already(action: Action, scene: Scene) -> Decision:
    """The action is over without a message; a breach is recorded all the same, and a daily step goes on."""
    reason = obsolete(action, scene)
    if reason:
        return Decision(action, ActionState.SUPERSEDED, reason)
    times = action.step.daily_at
    following = next_daily(max(scene.now, action.due_at), times) if times else None
    breach = is_breach(action, scene)
    return Decision(action, ActionState.SUPERSEDED, SENT_BEFORE, breach=breach, next_at=following)
