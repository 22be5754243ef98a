"""The entries of the navigation: what exists in this application and what the person may open."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from huiying.domain.access import Permission
from huiying.service.sessions import Session


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; ``permissions``: any of them opens it, none means everybody. ``home``: where its people begin."""

    path: str
    text: str
    permissions: frozenset[Permission] = frozenset()
    home: bool = False


def _(text: str) -> str:
    """Mark a text for the catalogue; the template translates it."""
    return text


_P = Permission
ENTRIES = (
    Entry("/", _("值班台"), frozenset({_P.READ})),
    Entry("/incidents/new", _("登记事件"), frozenset({_P.REGISTER})),
    Entry("/incidents", _("事件"), frozenset({_P.READ})),
    Entry("/requests", _("待确认"), frozenset({_P.READ})),
    Entry("/runs", _("运行记录"), frozenset({_P.READ})),
    Entry("/handover", _("交接班"), frozenset({_P.READ})),
    Entry("/inbox", _("收件箱")),
    Entry("/rules", _("规则与日历"), frozenset({_P.READ, _P.RULES})),
    Entry("/audit", _("审计"), frozenset({_P.AUDIT})),
    Entry("/roster", _("排班"), frozenset({_P.ROSTER})),
    Entry("/admin", _("系统管理"), frozenset({_P.PEOPLE, _P.CHANNELS, _P.OPERATE}), home=True),
)
#: A form that is shown again, with what is wrong with it, still belongs to the entry that it was opened from.
_SENT_TO = {"/incidents": "/incidents/new", "/incidents/preview": "/incidents/new"}


def entries_for(request: Request, session: Session | None) -> list[tuple[Entry, bool]]:
    """Entries with whether the present page lies below them (the longest match is the present one)."""
    if session is None or session.stage != "open":
        return []
    exists: frozenset[str] = request.app.state.page_paths
    held = session.actor.permissions
    shown = [e for e in ENTRIES if e.path in exists and (not e.permissions or held & {p.value for p in e.permissions})]
    path = request.url.path
    here = _present(_SENT_TO.get(path, path) if request.method == "POST" else path, shown)
    return [(entry, entry is here) for entry in shown]


def home(request: Request, session: Session | None) -> str:
    """Where somebody who may not look at incidents begins: what the role is for, before what everybody may open."""
    shown = [entry for entry, _ in entries_for(request, session)]
    # Administrators may look at rules as others may; what they are there for is the administration.
    first = min(shown, key=lambda entry: (not entry.home, not entry.permissions), default=None)
    return first.path if first else "/devices"


def _present(path: str, shown: list[Entry]) -> Entry | None:
    below = [e for e in shown if path == e.path or (e.path != "/" and path.startswith(f"{e.path}/"))]
    return max(below, key=lambda e: len(e.path), default=None)
