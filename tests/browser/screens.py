"""Every screen of the desk that a person can see, in one place: for pictures, for accessibility, for errors."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, ViewportSize

from huiying.domain.signing import Stage
from tests.browser.browsers import DESK, PHONE, WALL
from tests.browser.documents import changed_pack, changed_policy, faulty_pack, faulty_policy
from tests.browser.states import COMING, LEAVING


@dataclass(frozen=True, slots=True)
class Screen:
    """``path`` may name an incident of the sample city by its title: ``/incidents/{示例化工园区储罐泄漏}``.

    ``role`` is one of ``tests.browser.stage.PEOPLE`` or a person, empty for nobody, and ``at`` is how far the sign-in
    has come. ``sizes`` are those of its pictures. ``status`` is what the screen answers with in the end.
    """

    name: str
    path: str
    role: str = "duty"
    sizes: tuple[tuple[str, ViewportSize], ...] = (("desk", DESK), ("phone", PHONE))
    english_picture: bool = False
    typed: tuple[str, str] | None = None  # the field that is filled and with what, …
    pressed: str = ""  # … what is clicked then, …
    shown: str = ""  # … and what is there in the end
    status: int = 200
    at: Stage = Stage.OPEN


_BIG = (("wall", WALL),)
_DESK_ONLY = (("desk", DESK),)
_GRAVE = "input[value='emergency:major']"
_SHEET = "交接单"
_CHECK = "button[value='check']"


def _checked(name: str, path: str, typed: tuple[str, str], status: int = 200) -> Screen:
    """What is said of an uploaded document."""
    return Screen(name, path, "administrator", typed=typed, pressed=_CHECK, shown="section[aria-live]", status=status)


SCREENS = (
    Screen("login", "/login", "", english_picture=True),
    Screen("second", "/second", "approver", at=Stage.SECOND_FACTOR),
    Screen("locked", "/", at=Stage.LOCKED, shown="form.lock"),
    Screen("unlock", "/unlock", "administrator", at=Stage.LOCKED),
    Screen("desk", "/", english_picture=True),
    Screen("desk-leader", "/", "approver", _DESK_ONLY),
    Screen("register", "/incidents/new", english_picture=True, pressed=_GRAVE, shown="#preview .soon"),
    Screen("incidents", "/incidents"),
    Screen("incident-overdue", "/incidents/{示例化工园区储罐泄漏}", english_picture=True),
    Screen("incident-answered", "/incidents/{示例水库下游出现管涌}", "head"),
    Screen("incident-opinion", "/incidents/{示例片区供暖温度不达标}"),
    Screen("incident-ungraded", "/incidents/{示例农贸市场火情}"),
    Screen("incident-merged", "/incidents/{示例片区业主集中反映暖气不热}"),
    Screen("incident-ended", "/incidents/{示例公园喷泉夜间噪声引发讨论}"),
    Screen("second-person", "/requests", "approver"),
    Screen("runs", "/runs", english_picture=True, pressed="details.run summary", shown="details.run[open]"),
    Screen("incident-runs", "/incidents/{示例化工园区储罐泄漏}/runs"),
    Screen("assessor-incidents", "/incidents", "assessor"),
    Screen("assessor-incident", "/incidents/{示例化工园区储罐泄漏}", "assessor"),
    Screen("assessor-runs", "/runs", "assessor"),
    Screen("handover", "/handover"),
    Screen("handover-sheet", f"/handover/{{{_SHEET}}}", COMING),
    Screen("inbox", "/inbox"),
    Screen("rules", "/rules"),
    Screen("rule-pack", "/rules/cn-gbf-2016-61"),
    Screen("rule-diff", "/rules/cn-gbf-2016-61/diff"),
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
    _checked("rules-checked", "/rules/upload", ("#pack_text", changed_pack())),
    _checked("rules-faulty", "/rules/upload", ("#pack_text", faulty_pack()), 422),
    Screen("policy", "/rules/policies/release-5h"),
    Screen("policy-upload", "/rules/policies/upload", "administrator"),
    _checked("policy-checked", "/rules/policies/upload", ("#policy_text", changed_policy())),
    _checked("policy-faulty", "/rules/policies/upload", ("#policy_text", faulty_policy()), 422),
    Screen("contacts", "/incidents/{示例化工园区储罐泄漏}/contacts"),
    Screen("release-form", "/incidents/{示例化工园区储罐泄漏}?open=release"),
    Screen("grade-form", "/incidents/{示例农贸市场火情}?open=grade"),
    Screen("merge-form", "/incidents/{示例化工园区储罐泄漏}?open=merge", "head"),
    Screen("not-found", "/incidents/2026-9999", status=404),
    Screen("forbidden", "/admin/people", status=403),
    Screen("devices", "/devices"),
    Screen("enrol", "/enrol", "approver", _DESK_ONLY),
    Screen("password", "/password", sizes=_DESK_ONLY),
    Screen("wall", "/wall", sizes=_BIG, english_picture=True),
)


def numbers(folder: Path) -> dict[str, str]:
    """The number of each sample incident by its title, and of the hand-over sheet, read from the demo's database."""
    address = f"file:{folder / 'huiying.db'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
        sheets = connection.execute("SELECT ?, CAST(id AS TEXT) FROM handover WHERE from_person = ?", (_SHEET, LEAVING))
        return {**dict(sheets.fetchall()), **dict(connection.execute("SELECT title, no FROM incident"))}


def act(page: Page, screen: Screen) -> None:
    """What is done on a page before it is the screen, and what tells that it is."""
    if screen.typed:
        page.fill(*screen.typed)
    if screen.pressed:
        page.locator(screen.pressed).first.click()
    if screen.shown:
        page.wait_for_selector(screen.shown)


def status_of(page: Page) -> int:
    """What the server answered with when it sent this page."""
    return int(page.evaluate("performance.getEntriesByType('navigation')[0].responseStatus"))


def path_of(screen: Screen, known: dict[str, str]) -> str:
    """The address on this demo."""
    head, brace, rest = screen.path.partition("{")
    title, _, tail = rest.partition("}")
    return f"{head}{known[title]}{tail}" if brace else head
