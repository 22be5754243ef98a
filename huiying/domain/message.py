"""What a message says, before any channel's format: decided here, rendered by ``notifiers.templates``.

No free-text title ever leaves for an outside service: ``subject`` is the number plus the separate ``notice_title``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from huiying.domain.kinds import Band


@dataclass(frozen=True, slots=True)
class Notice:
    """Everything a reader must know in five seconds. Texts are Chinese; instants are aware UTC.

    ``remaining_seconds`` is due minus the moment of composing (negative when overdue; None without a due time).
    ``next_step`` says who hears next and when. ``ack_url`` and ``detail_url`` are empty when no public address is set.
    ``lines`` is used by digests (one line per clock, most urgent first); ``drill`` marks 【演练】, ``resend`` （重发）.
    ``layout`` is "" (decided by the band), "digest" or "brief".
    ``mentions`` are the mobiles of people to mention in a group robot (never printed for others).
    """

    notice_no: str
    band: Band
    incident_no: str
    notice_title: str
    grade_text: str
    clock_name: str
    status_text: str
    due_at: datetime | None
    remaining_seconds: int | None
    share_used: int | None
    responsible: str
    state_text: str
    must_do: tuple[str, ...]
    next_step: str
    basis: str
    ordinal: int
    composed_at: datetime
    content_rule: str = ""
    ack_url: str = ""
    detail_url: str = ""
    headline: str = ""
    lines: tuple[str, ...] = ()
    hidden_lines: int = 0
    mentions: tuple[str, ...] = ()
    drill: bool = False
    resend: bool = False
    previous_failed: str = ""
    layout: str = ""
    extra: dict[str, str] = field(default_factory=dict, compare=False)
