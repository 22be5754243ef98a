"""Escalation policies as values: who is told when, and what stops the telling.

A policy is frozen into a clock with its ``hash`` when the clock starts (domain.md §7.8); only an audited ``replan``
puts another one in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Any, Literal, cast

from huiying.domain.iso_duration import format_duration, parse_duration
from huiying.domain.kinds import Audience, Band, Role
from huiying.domain.rules_codec import canonical_hash

Trigger = Literal["start", "after", "share", "left", "breach"]
When = Literal["always", "unacknowledged"]

#: What a policy can apply to besides the rule ids of clocks.
INTERNAL = "internal"
TASK = "task"
WORKDAYS = "workdays"
#: For timed rules that no other policy applies to, such as those of a new pack.
OTHER = "other"

#: Clocks of the house; they never reach the principal or the supervision office.
HOUSE_CLOCKS = frozenset({INTERNAL, TASK})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a policy.

    ``trigger`` says what ``value`` means: ``start`` (None: one message per incident, not per clock), time ``after`` the
    start, ``share`` of the limit gone (0 to 1), time ``left``, and time past a ``breach`` (zero: at once).
    ``when: unacknowledged`` stops at an acknowledgement of the step ``of`` ("" = this step itself), until that
    acknowledgement is ``ack_expires`` old. ``repeat_every`` None: said once.
    """

    id: str
    trigger: Trigger
    value: float | timedelta | None
    to: tuple[Role, ...]
    audience: tuple[Audience, ...]
    when: When
    of: str
    band: Band
    repeat_every: timedelta | None
    repeat_times: int
    ack_expires: timedelta


@dataclass(frozen=True, slots=True)
class WorkdayStep:
    """A reminder of a working-day due: ``days_before`` working days before it, at a Shanghai wall-clock time."""

    id: str
    days_before: int
    at: time
    to: tuple[Role, ...]
    audience: tuple[Audience, ...]
    band: Band


@dataclass(frozen=True, slots=True)
class Policy:
    """An escalation policy; ``hash`` is the SHA-256 of its canonical content.

    ``designed_for`` is the limit its steps were laid out for (None: any); a step that falls outside the actual limit
    is left out by the plan. ``workday_steps`` are only for ``applies: workdays``.
    """

    id: str
    name: str
    hash: str
    applies: tuple[str, ...]
    steps: tuple[Step, ...]
    after_breach_hourly: int
    after_breach_daily_at: tuple[time, ...]
    basis: str
    designed_for: timedelta | None = None
    workday_steps: tuple[WorkdayStep, ...] = ()


def policy_for(policies: Iterable[Policy], rule_id: str, named: str = "") -> Policy | None:
    """The policy of a clock: the one its pack names, else one that applies to its rule id, else the one for others."""
    ordered = sorted(policies, key=lambda policy: policy.id)
    if named:
        return next((policy for policy in ordered if policy.id == named), None)
    wanted = (rule_id, INTERNAL) if rule_id in HOUSE_CLOCKS else (rule_id, OTHER)
    return next((policy for word in wanted for policy in ordered if word in policy.applies), None)


def policy_hash(policy: Policy) -> str:
    """The hash a policy must carry: over all its content except the hash itself."""
    return canonical_hash(_content(policy))


def policy_to_dict(policy: Policy) -> dict[str, Any]:
    """Write a policy with nothing but what JSON knows."""
    return {**_content(policy), "hash": policy.hash}


def policy_from_dict(data: Mapping[str, Any]) -> Policy:
    """Read what ``policy_to_dict`` wrote."""
    return Policy(
        id=data["id"],
        name=data["name"],
        hash=data["hash"],
        applies=tuple(data["applies"]),
        steps=tuple(_step_from_dict(step) for step in data["steps"]),
        after_breach_hourly=data["after_breach_hourly"],
        after_breach_daily_at=tuple(time.fromisoformat(at) for at in data["after_breach_daily_at"]),
        basis=data["basis"],
        designed_for=_duration(data["designed_for"]),
        workday_steps=tuple(_workday_step_from_dict(step) for step in data["workday_steps"]),
    )


def _content(policy: Policy) -> dict[str, Any]:
    return {
        "id": policy.id,
        "name": policy.name,
        "applies": list(policy.applies),
        "steps": [_step_to_dict(step) for step in policy.steps],
        "after_breach_hourly": policy.after_breach_hourly,
        "after_breach_daily_at": [f"{at:%H:%M}" for at in policy.after_breach_daily_at],
        "basis": policy.basis,
        "designed_for": None if policy.designed_for is None else format_duration(policy.designed_for),
        "workday_steps": [_workday_step_to_dict(step) for step in policy.workday_steps],
    }


def _step_to_dict(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "trigger": step.trigger,
        "value": format_duration(step.value) if isinstance(step.value, timedelta) else step.value,
        "to": [role.value for role in step.to],
        "audience": [audience.value for audience in step.audience],
        "when": step.when,
        "of": step.of,
        "band": step.band.value,
        "repeat_every": None if step.repeat_every is None else format_duration(step.repeat_every),
        "repeat_times": step.repeat_times,
        "ack_expires": format_duration(step.ack_expires),
    }


def _step_from_dict(data: Mapping[str, Any]) -> Step:
    value = data["value"]
    return Step(
        id=data["id"],
        trigger=cast("Trigger", data["trigger"]),
        value=_duration(value) if isinstance(value, str) else value,
        to=tuple(Role(role) for role in data["to"]),
        audience=tuple(Audience(audience) for audience in data["audience"]),
        when=cast("When", data["when"]),
        of=data["of"],
        band=Band(data["band"]),
        repeat_every=_duration(data["repeat_every"]),
        repeat_times=data["repeat_times"],
        ack_expires=_duration(data["ack_expires"]) or timedelta(0),
    )


def _workday_step_to_dict(step: WorkdayStep) -> dict[str, Any]:
    return {
        "id": step.id,
        "days_before": step.days_before,
        "at": f"{step.at:%H:%M}",
        "to": [role.value for role in step.to],
        "audience": [audience.value for audience in step.audience],
        "band": step.band.value,
    }


def _workday_step_from_dict(data: Mapping[str, Any]) -> WorkdayStep:
    return WorkdayStep(
        id=data["id"],
        days_before=data["days_before"],
        at=time.fromisoformat(data["at"]),
        to=tuple(Role(role) for role in data["to"]),
        audience=tuple(Audience(audience) for audience in data["audience"]),
        band=Band(data["band"]),
    )


def _duration(text: str | None) -> timedelta | None:
    # PT0S is a breach step's "at once", which parse_duration refuses as a limit.
    if text is None or text == "PT0S":
        return None if text is None else timedelta(0)
    return parse_duration(text)
