"""Every screen of the desk that a person can open, in one place: for pictures, for accessibility, for errors."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import ViewportSize

from tests.browser.browsers import DESK, PHONE, WALL


@dataclass(frozen=True, slots=True)
class Screen:
    """``path`` may name an incident of the sample city by its title: ``/incidents/{示例化工园区储罐泄漏}``.

    ``role`` is one of ``tests.browser.stage.PEOPLE``, empty for nobody. ``sizes`` are those of its pictures.
    """

    name: str
    path: str
    role: str = "duty"
    sizes: tuple[tuple[str, ViewportSize], ...] = (("desk", DESK), ("phone", PHONE))
    english_picture: bool = False
    pressed: str = ""  # what is clicked before its picture is taken, …
    shown: str = ""  # … and what appears then


_BIG = (("wall", WALL),)
_DESK_ONLY = (("desk", DESK),)
_GRAVE = "input[value='emergency:major']"

SCREENS = (
    Screen("login", "/login", "", english_picture=True),
    Screen("desk", "/", english_picture=True),
    Screen("desk-leader", "/", "approver", _DESK_ONLY),
    Screen("register", "/incidents/new", english_picture=True, pressed=_GRAVE, shown="#preview .soon"),
    Screen("incidents", "/incidents"),
    Screen("incident-overdue", "/incidents/{示例化工园区储罐泄漏}", english_picture=True),
    Screen("incident-answered", "/incidents/{示例水库下游出现管涌}", "head"),
    Screen("incident-opinion", "/incidents/{示例片区供暖温度不达标}"),
    Screen("incident-ungraded", "/incidents/{示例农贸市场火情}"),
    Screen("second-person", "/requests", "approver"),
    Screen("runs", "/runs", english_picture=True, pressed="details.run summary", shown="details.run[open]"),
    Screen("incident-runs", "/incidents/{示例化工园区储罐泄漏}/runs"),
    Screen("handover", "/handover"),
    Screen("inbox", "/inbox"),
    Screen("rules", "/rules"),
    Screen("rule-pack", "/rules/cn-gbf-2016-61"),
    Screen("policies", "/rules/policies"),
    Screen("calendar", "/rules/calendar"),
    Screen("what-if", "/rules/whatif"),
    Screen("audit", "/audit", "auditor"),
    Screen("admin", "/admin", "administrator"),
    Screen("admin-people", "/admin/people", "administrator"),
    Screen("admin-person", "/admin/people/guanli", "administrator"),
    Screen("admin-units", "/admin/units", "administrator"),
    Screen("admin-unit", "/admin/units/main", "administrator"),
    Screen("admin-channels", "/admin/channels", "administrator"),
    Screen("admin-channel-new", "/admin/channels/new", "administrator"),
    Screen("admin-tokens", "/admin/tokens", "administrator"),
    Screen("admin-sessions", "/admin/sessions", "administrator"),
    Screen("admin-dispatch", "/admin/dispatch", "administrator"),
    Screen("admin-runs", "/admin/runs", "administrator"),
    Screen("roster", "/roster", "administrator"),
    Screen("rules-upload", "/rules/upload", "administrator"),
    Screen("policy", "/rules/policies/release-5h"),
    Screen("policy-upload", "/rules/policies/upload", "administrator"),
    Screen("contacts", "/incidents/{示例化工园区储罐泄漏}/contacts"),
    Screen("release-form", "/incidents/{示例化工园区储罐泄漏}/release"),
    Screen("grade-form", "/incidents/{示例农贸市场火情}/grade"),
    Screen("merge-form", "/incidents/{示例化工园区储罐泄漏}/merge", "head"),
    Screen("devices", "/devices"),
    Screen("enrol", "/enrol", "approver", _DESK_ONLY),
    Screen("password", "/password", sizes=_DESK_ONLY),
    Screen("wall", "/wall", sizes=_BIG, english_picture=True),
)


def numbers(folder: Path) -> dict[str, str]:
    """The number of each sample incident by its title, read from the demo's database."""
    address = f"file:{folder / 'huiying.db'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
        return dict(connection.execute("SELECT title, no FROM incident"))


def path_of(screen: Screen, known: dict[str, str]) -> str:
    """The address on this demo."""
    head, brace, rest = screen.path.partition("{")
    title, _, tail = rest.partition("}")
    return f"{head}{known[title]}{tail}" if brace else head
