"""A tour of the whole desk in one language: every page for every role, every form refused, and what is said after it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pyotp
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.plan import SHANGHAI
from huiying.domain.signing import Stage
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.web.pages import page_routes
from huiying.web.pages.incident_actions import ACTIONS
from huiying.web.pages.policy import COOKIE
from huiying.web.pages.shell import FLASH_COOKIE
from huiying.web.pages.words import LANGUAGE_COOKIE, LANGUAGES
from tests import languages
from tests.browser import documents
from tests.browser.stage import PEOPLE
from tests.browser.states import COMING
from tests.fakes.desk import Seat, take_seat

#: A stream has no end, pictures and styles have no words, and the identity provider is elsewhere.
ELSEWHERE = {"/static/{name:path}", "/live", "/live/state", "/login/oidc", "/login/oidc/back", "/enrol/qr.svg"}
PARTS = {
    "pack": ["cn-gbf-2016-61", "nope"], "policy": ["release-5h", "conference-24h", "nope"],
    "person": ["weijian", "guanli", "nope"], "unit": ["main", "nope"], "channel": ["inbox", "nope"],
    "word": ["approve"], "number": ["999"], "handover_id": ["1", "999"],
}  # fmt: skip
#: Who looks at every incident; the others look at two, and at one that does not exist.
THOROUGH = {"duty", "head"}
_CSV = "单位,职责,人员,开始,结束\nmain,没有,zhiban1,2026-13-01,x\n"


@dataclass(frozen=True, slots=True)
class Screen:
    """What somebody saw."""

    role: str
    url: str
    status: int
    page: languages.Page

    @property
    def name(self) -> str:
        return f"{self.role or 'nobody'} {self.url} {self.status}"


@dataclass
class Tour:
    """One language, one house; ``seats`` are those of everybody who has a role in it."""

    services: Services
    client: TestClient
    language: str
    seen: list[Screen] = field(default_factory=list)
    visited: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.seats = {role: self.seat(person) for role, person in PEOPLE.items()}
        with self.services.store.reading() as tx:
            self.numbers = [row.no for row in tx.all(sa.select(t.incident.c.no).order_by(t.incident.c.id))]

    def seat(self, person: str, stage: Stage = Stage.OPEN) -> Seat:
        seat = take_seat(self.services, self.client, person, stage)
        seat.post("/language", {"language": self.language})
        return seat

    # -- looking -------------------------------------------------------------------------------------------------------

    def look(self, role: str, url: str, data: Mapping[str, Any] | None = None, **more: Any) -> httpx.Response:
        """Ask for a page, or send a form; what is said after it on the next page is looked at, too."""
        return self.look_from(self.seats[role], role, url, data, **more)

    def look_from(
        self, seat: Seat, role: str, url: str, data: Mapping[str, Any] | None = None, **more: Any
    ) -> httpx.Response:
        self.visited.add((role, url.partition("?")[0]))
        headers = {**more.pop("headers", {}), "cookie": f"{COOKIE}={seat.cookie}; {LANGUAGE_COOKIE}={self.language}"}
        answer = (
            seat.get(url, headers=headers, **more) if data is None else seat.post(url, data, headers=headers, **more)
        )
        self.take(role, url if data is None else f"POST {url}", answer)
        if answer.status_code == 303 and FLASH_COOKIE in answer.cookies:
            headers["cookie"] += f"; {FLASH_COOKIE}={answer.cookies[FLASH_COOKIE]}"
            where = answer.headers["location"]
            self.take(role, f"{where} after {url}", seat.get(where, headers=headers))
        return answer

    def take(self, role: str, url: str, answer: httpx.Response) -> None:
        assert answer.status_code < 500, f"{url}: {answer.status_code}"
        if answer.headers.get("content-type", "").startswith("text/html"):
            page = languages.read(answer.text, LANGUAGES[self.language])
            assert page.stated in {"", LANGUAGES[self.language]}, f"{url} is in {page.stated}"
            assert page.stated in {"", LANGUAGES[self.language]}, f"{url}: {page.stated}"
            self.seen.append(Screen(role, url, answer.status_code, page))

    def everything(self) -> list[Screen]:
        """The whole way; what it changes it changes at the end."""
        self.pages()
        self.questions()
        self.refusals()
        self.doors()
        self.deeds()
        return self.seen

    # -- stations ------------------------------------------------------------------------------------------------------

    def pages(self) -> None:
        """Every address of the desk, for everybody."""
        for route in page_routes():
            if "GET" in (route.methods or ()) and route.path not in ELSEWHERE:
                for role in self.seats:
                    for url in self._urls(route.path, role):
                        self.look(role, url)
        self.look_from(self.seat(COMING), COMING, "/handover/1")
        self.look("assessor", f"/incidents/{self.numbers[9]}")

    def _urls(self, path: str, role: str) -> Iterator[str]:
        numbers = [*(self.numbers if role in THOROUGH else self.numbers[:2]), "2026-9999"]
        found = [path]
        for name in re.findall(r"\{([^}]+)\}", path):
            values = numbers if name == "no" else PARTS.get(name, ["0"])
            found = [url.replace(f"{{{name}}}", value) for url in found for value in values]
        yield from found

    def questions(self) -> None:
        """Searches, filters, parts that htmx asks for, what-ifs and previews."""
        no = self.numbers[-1]
        for url in (
            "/?q=示例", "/?q=nothing+at+all", "/?state=overdue", f"/?incident={no}", "/incidents?text=示例", "/incidents?text=none",
            "/desk/feed", "/desk/queue?auto=1", f"/runs?incident={no}", "/runs?incident=2026-9999", "/runs?day=2001-01-01",
            "/inbox?only=unread", "/rules/whatif?kind=opinion&detected_at=2026-03-10T08:40",
            "/rules/whatif?severity=major&occurred_at=2026-03-10T08:40&unit=chengbei", "/rules/whatif?occurred_at=tomorrow",
            "/rules/whatif?kind=opinion&severity=major", "/?page=0", "/runs?after=-1", f"/?q={'x' * 300}", "/rules/calendar?year=2024", "/nowhere", "/desk/panel/2026-9999",
        ):  # fmt: skip
            self.look("duty", url)
        for url in ("/audit?who=示例", "/audit?what=none", "/audit/chain"):
            self.look("auditor", url)
        for kind in ("email", "dingtalk", "wecom", "feishu", "webhook", "inbox", "console", "nope"):
            self.look("administrator", f"/admin/channels/new?kind={kind}")
        for data in (
            {"title": "示例", "grade": "emergency:major", "occurred_at": "2026-11-30T08:40", "unit_id": "main"},
            {"title": "示例化工园区储罐泄漏", "grade": "emergency:", "unit_id": "chengbei", "late_exposure": "1"},
            {
                "title": "x",
                "grade": "opinion:",
                "unit_id": "main",
                "detected_at": "soon",
                "transfer_no": "示例转〔2026〕1号",
            },
            {},
        ):
            self.look("duty", "/incidents/preview", data)
            self.look("duty", "/incidents/preview", data, headers={"hx-request": "true"})
            self.look("duty", "/incidents", {**data, "occurred_at": "2099-01-01T00:00"})

    def refusals(self) -> None:
        """Every form of every page sent empty, in Chinese, and from elsewhere."""
        for role in ("head", "approver", "duty"):
            for no in (self.numbers[5], self.numbers[9], self.numbers[-1]):
                for name in ACTIONS:
                    if name not in {"acknowledge", "late-exposure"}:
                        self.look(role, f"/incidents/{no}/{name}", {"version": "0", "reason": "", "note": ""})
        for path in sorted({route.path for route in page_routes() if "POST" in (route.methods or ())}):
            if path in {"/logout", "/lock", "/language", "/login"} or "{no}" in path:
                continue
            role = "administrator" if path.startswith(("/admin", "/roster", "/rules")) else "head"
            url = re.sub(r"\{([^}]+)\}", lambda found: PARTS.get(found.group(1), ["0"])[0], path)
            self.look(role, url, {"name": "示例"})
            self.look("assessor", url, {"reason": "示例"})
            self.look("assessor", url, {"csrf": "0", "reason": "示例"}, headers={"hx-request": "true"})
        self.look("administrator", "/roster/import", {"roster_text": _CSV})
        for text in ("schema: 1\nid: Bad Id\n", documents.changed_pack(), documents.faulty_pack()):
            self.look("administrator", "/rules/upload", {"pack_text": text, "do": "check"})
        for text in (documents.changed_policy(), documents.faulty_policy()):
            self.look("administrator", "/rules/policies/upload", {"policy_text": text, "do": "check"})
        self.look(
            "administrator", "/rules/calendar", {"calendar_text": "date,kind\n2031-02-30,holiday\n", "do": "check"}
        )
        self.look(
            "administrator", "/rules/calendar", {"calendar_text": "date,kind\n2027-01-01,holiday\n", "do": "check"}
        )

    def doors(self) -> None:
        """Signing in, step by step, and the locked desk."""
        outside = Seat(self.client, "", "")
        for url, data in (
            ("/login", None),
            ("/login", {"name": "lianluo", "password": "示例"}),
            ("/login/wall", {"token": "x"}),
        ):
            self.look_from(outside, "", url, data)
        for stage, url in ((Stage.SECOND_FACTOR, "/second"), (Stage.PASSWORD, "/password"), (Stage.ENROL, "/enrol")):
            seat = self.seat("fenguan", stage)
            self.look_from(seat, stage.value, url)
            self.look_from(seat, stage.value, url, {"code": "000000", "new_password": "x", "again_password": "x"})
        # Setting up codes happens once in a life: somebody else in each language.
        seat = self.seat({"zh": "daiban1", "en": "daiban2"}[self.language], Stage.ENROL)
        secret = re.search(r'class="typed-secret">([A-Z2-7 ]+)<', self.look_from(seat, "enrol", "/enrol").text)
        assert secret is not None
        code = pyotp.TOTP(secret.group(1).replace(" ", "")).at(self.services.store.now())
        done = self.look_from(seat, "enrol", "/enrol", {"code": code})
        assert done.status_code == 200
        locked = self.seat("zhiban1")
        self.look_from(locked, "locked", "/lock", {})
        for url in ("/", "/unlock", "/desk/queue"):
            self.look_from(locked, "locked", url)
        self.look_from(locked, "locked", "/unlock", {"password": "x"})
        self.look_from(locked, "locked", "/inbox/read", {})

    def deeds(self) -> None:
        """What changes something: and is told on the next page."""
        self.look("duty", "/inbox/read", {})
        self.look("auditor", "/audit/verify", {})
        self.client.app.state.chain_check._ended.wait(60)  # type: ignore[attr-defined]
        self.look("auditor", "/audit")
        self.look("auditor", "/audit/chain")
        self.look("head", f"/incidents/{self.numbers[9]}/acknowledge", {"note": "示例"})
        self.look("administrator", "/admin/people/weijian/password", {})
        self.look("administrator", "/admin/tokens", {"name": "看板", "days": "30"})
        self.look("administrator", "/admin/dispatch/hold", {"reason": "示例演练"})
        for role, url in (("administrator", "/admin/dispatch"), ("administrator", "/admin"), ("duty", "/")):
            self.look(role, url)
        self.look("administrator", "/admin/dispatch/release", {"sent": "everything", "note": "示例"})
        self.work()
        made = self.look("duty", "/handover", {"unit": "main", "to": "zhiban2", "notes": "等水务局回电"})
        if made.status_code == 303 and made.headers["location"] != "/handover":
            sheet = made.headers["location"]
            digest = re.search(r'name="hash" value="(\w+)"', self.look("duty", sheet).text)
            self.look("duty", f"{sheet}/sign-out", {"hash": digest.group(1) if digest else ""})
            for url in (sheet, "/handover", "/"):
                self.look_from(self.seat("zhiban2"), "next shift", url)
            self.look("duty", f"{sheet}/withdraw", {})

    def work(self) -> None:
        """An incident from its registration to its end, and what waits for a second person meanwhile."""
        now = self.services.store.now().astimezone(SHANGHAI)

        def at(hours: float) -> str:
            return f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M}"

        why = {"reason": "示例核对"}
        new = {
            "title": "示例巡查中发现险情",
            "grade": "emergency:major",
            "criterion": "示例标准",
            "unit_id": "main",
        }
        made = self.look("head", "/incidents", {**new, "occurred_at": at(-1), "notified_at": at(-0.5)})
        place = made.headers["location"]
        for name, typed in (
            ("acknowledge", {"note": "示例"}), ("stage", {"stage": "研判"}), ("task", {"unit_id": "water", "name": "示例任务", "due_at": at(4)}),
            ("task-done", {"task": "1", "at": at(-0.1)}), ("transfer", {"notice_no": "示例1号", "received_at": at(-0.4), "due_at": at(5)}),
            ("feedback", {"transfer": "1", "at": at(-0.1)}), ("continuous", {"every_hours": "6"}),
            ("details", {"title": "示例新标题", "body": "", "notice_title": "", "category": "内涝", **why}),
            ("correct", {"kind": "occurred_at", "value": at(-1.5), **why}), ("late-exposure", {"confirmed": "yes", **why}),
            ("grade", {"grade": "emergency:extra_major", "basis": "correction", "criterion": "示例更正"}),
            ("release", {"kind": "release", "content_kind": "original", "published_at": at(-0.2), "text": "示例通报"}),
            ("review", {"review": "accepted", "note": "属实"}), ("void", why), ("waive", why), ("hand-over", why),
            ("reassign", {"unit_id": "water", **why}), ("merge", {"into": self.numbers[9], **why}), ("unmerge", why), ("close", why),
            ("reopen", why),
        ):  # fmt: skip
            page = self.look("head", place).text
            version = re.search(r'name="version" value="(\d+)"', page)
            key = {"key": f"{self.language}-{name}", "version": version.group(1) if version else ""}
            if name == "review":
                key["publication"] = re.findall(r'id="publication-(\d+)"', page)[-1]
            self.look("head", f"{place}/{name}", {**typed, **key})
        waiting = re.findall(r'id="request-(\d+)"', self.look("approver", "/requests").text)
        for number, word in zip(waiting, ("approve", "reject", "reject"), strict=False):
            self.look("approver", f"/requests/{number}/{word}", {"note": "示例意见"})
        for number in waiting:
            self.look("head", f"/requests/{number}/withdraw", {})
        self.look("head", place)
