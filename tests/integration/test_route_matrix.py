"""Every route × every role × own and other unit: what each is given, and a new route without a line here fails.

The tables below say what is right; nothing of them is read from the code under test. A line is: method, address,
what is needed, and marks:

- ``public`` nobody need be signed in; ``signed`` anybody who is (a wall is nobody); ``loopback`` machines of this house;
  otherwise permissions by name, joined with ``+``
- ``unit`` the object belongs to 水务局: who holds the permission elsewhere gets nothing of it
- ``mine`` the object is one person's own, of whichever unit: another's is out of reach, unless it is ``managed`` and the
  asker manages that person; ``acting`` not for who may do no more than look
- ``table`` what is sent is refused line by line (422), all of it
- ``house`` it concerns every unit: for somebody of one unit it is refused
- ``form`` shows a form or leads to the incident's page; ``wall`` a wall may look at it; ``stream`` never ends
- a number: the answer to somebody who may (200 for looking, anything but a refusal for acting, unless given here)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from huiying.domain import handover as paper
from huiying.domain.kinds import Kind
from huiying.service import incidents as matters
from huiying.service import people, roster_admin, sessions, tokens
from huiying.service.changes import keep_request
from huiying.service.requests import RegisterRequest
from huiying.store import tables as t
from huiying.web import ack, desk, incidents, probes
from huiying.web.app import create_app
from huiying.web.pages import page_routes
from tests.fakes.clock import START
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, house_template, open_house
from tests.fakes.sessions import session_of

__all__ = ["house_template"]

MAY = {
    "duty": "read register grade release acknowledge correct merge end assign call",
    "handler": "read acknowledge release",
    "head": "read register grade release acknowledge correct merge end assign call review attribute replan approve"
    " roster evaluate",
    "approver": "read acknowledge review attribute approve call evaluate",
    "auditor": "read audit evaluate",
    "administrator": "people roster channels rules operate",
    "assessor": "read evaluate",
}

PAGES = """
GET  /static/{name:path}                      public
POST /language                                public
GET  /login                                   public 303
POST /login                                   public
POST /login/wall                              public
GET  /login/oidc                              public any
GET  /login/oidc/back                         public any
GET  /second                                  public 303
POST /second                                  public
GET  /enrol                                   public 303
GET  /enrol/qr.svg                            public 404
POST /enrol                                   public
GET  /password                                public any
POST /password                                public
POST /lock                                    public
GET  /unlock                                  public 303
POST /unlock                                  public
POST /logout                                  public
POST /kept                                    signed
POST /kept/again                              signed
GET  /devices                                 signed
POST /devices/{session_id}/revoke             signed mine managed 303
POST /devices/forget                          signed
POST /devices/wall-tokens                     read
POST /devices/tokens/{token}/revoke           signed mine 303
GET  /                                        signed any wall
GET  /desk/queue                              read
GET  /desk/panel/{no}                         read unit
GET  /desk/feed                               read
POST /acknowledge                             acknowledge
GET  /live                                    read stream
GET  /live/state                              signed wall
POST /live/awake                              signed
GET  /incidents/new                           register
POST /incidents/preview                       register
POST /incidents                               register
GET  /incidents                               read
GET  /incidents/{no}                          read unit
GET  /incidents/{no}/runs                     read unit
GET  /incidents/{no}/news                     read unit
POST /incidents/{no}/acknowledge              acknowledge unit
GET  /incidents/{no}/acknowledge              read form
POST /incidents/{no}/release                  release unit
GET  /incidents/{no}/release                  read form
POST /incidents/{no}/review                   review unit
GET  /incidents/{no}/review                   read form
POST /incidents/{no}/stage                    assign unit
GET  /incidents/{no}/stage                    read form
POST /incidents/{no}/grade                    grade unit
GET  /incidents/{no}/grade                    read form
POST /incidents/{no}/correct                  correct unit
GET  /incidents/{no}/correct                  read form
POST /incidents/{no}/late-exposure            correct unit
GET  /incidents/{no}/late-exposure            read form
POST /incidents/{no}/details                  correct unit
GET  /incidents/{no}/details                  read form
POST /incidents/{no}/task                     assign unit
GET  /incidents/{no}/task                     read form
POST /incidents/{no}/task-done                acknowledge unit
GET  /incidents/{no}/task-done                read form
POST /incidents/{no}/transfer                 register unit
GET  /incidents/{no}/transfer                 read form
POST /incidents/{no}/feedback                 release unit
GET  /incidents/{no}/feedback                 read form
POST /incidents/{no}/continuous               assign unit
GET  /incidents/{no}/continuous               read form
POST /incidents/{no}/reassign                 assign unit
GET  /incidents/{no}/reassign                 read form
POST /incidents/{no}/attribution              attribute unit
GET  /incidents/{no}/attribution              read form
POST /incidents/{no}/replan                   replan unit
GET  /incidents/{no}/replan                   read form
POST /incidents/{no}/merge                    merge unit
GET  /incidents/{no}/merge                    read form
POST /incidents/{no}/unmerge                  merge unit
GET  /incidents/{no}/unmerge                  read form
POST /incidents/{no}/close                    end unit
GET  /incidents/{no}/close                    read form
POST /incidents/{no}/void                     end unit
GET  /incidents/{no}/void                     read form
POST /incidents/{no}/waive                    end unit
GET  /incidents/{no}/waive                    read form
POST /incidents/{no}/hand-over                end unit
GET  /incidents/{no}/hand-over                read form
POST /incidents/{no}/reopen                   end unit
GET  /incidents/{no}/reopen                   read form
GET  /incidents/{no}/contacts                 call unit
POST /incidents/{no}/contacts                 call unit
GET  /requests                                read
POST /requests/{number}/approve               approve unit 303
POST /requests/{number}/reject                approve unit 303
POST /requests/{number}/withdraw              read mine acting 303
GET  /requests/{number}/{word}                read 303
GET  /runs                                    read
GET  /admin/runs                              operate
GET  /handover                                read
POST /handover                                read+acknowledge unit 303
GET  /handover/{handover_id}                  read unit
POST /handover/{handover_id}/sign-out         read+acknowledge mine 303
POST /handover/{handover_id}/take             read+acknowledge mine 303
POST /handover/{handover_id}/withdraw         read+acknowledge mine 303
GET  /inbox                                   signed
POST /inbox/read                              signed
POST /inbox/{notice_no}/read                  signed mine 303
POST /inbox/{notice_no}/ack                   acknowledge mine 303
GET  /audit                                   audit
GET  /audit/chain                             audit
POST /audit/verify                            audit
POST /audit/export                            audit house
GET  /wall                                    read wall
GET  /wall/cards                              read wall
GET  /rules                                   signed
GET  /rules/calendar                          signed
POST /rules/calendar                          rules
GET  /rules/policies                          signed
GET  /rules/policies/upload                   rules
POST /rules/policies/upload                   rules
GET  /rules/policies/{policy}                 signed
POST /rules/policies/{policy}/reset           rules house
GET  /rules/whatif                            signed
GET  /rules/upload                            rules
POST /rules/upload                            rules
GET  /rules/{pack}                            signed
GET  /rules/{pack}/diff                       signed
POST /rules/{pack}/confirm                    rules house
POST /rules/{pack}/reset                      rules house
GET  /admin                                   operate
GET  /admin/dispatch                          operate
POST /admin/dispatch/hold                     operate
POST /admin/dispatch/release                  operate
GET  /admin/people                            people
POST /admin/people                            people
GET  /admin/people/{person}                   people unit
POST /admin/people/{person}                   people unit
POST /admin/people/{person}/end               people unit
POST /admin/people/{person}/return            people unit
POST /admin/people/{person}/password          people unit
POST /admin/people/{person}/account/password  people unit
POST /admin/people/{person}/account/unlock    people unit
POST /admin/people/{person}/account/code      people unit
POST /admin/people/{person}/account/subject   people unit
POST /admin/people/{person}/access            people unit
POST /admin/people/{person}/access/remove     people unit
POST /admin/people/{person}/duties            people unit
POST /admin/people/{person}/duties/remove     people unit
GET  /admin/units                             people
POST /admin/units                             people
GET  /admin/units/{unit}                      people
POST /admin/units/{unit}                      people unit
GET  /admin/channels                          channels
GET  /admin/channels/new                      channels
POST /admin/channels                          channels
GET  /admin/channels/{channel}                channels
POST /admin/channels/{channel}                channels house
POST /admin/channels/{channel}/test           channels
GET  /admin/tokens                            people
POST /admin/tokens                            people
POST /admin/tokens/{token}/revoke             people unit 303
GET  /admin/sessions                          people
POST /admin/sessions/{signed_in}/revoke       people unit 303
GET  /roster                                  roster
POST /roster/shifts                           roster unit 303
POST /roster/shifts/{shift}/cancel            roster unit 303
POST /roster/import                           roster unit table 303
POST /roster/duties                           roster unit 303
POST /roster/duties/remove                    roster unit 303
"""

API = """
POST   /api/v1/incidents                                         register unit
GET    /api/v1/incidents                                         read
GET    /api/v1/incidents/{no}                                    read unit
GET    /api/v1/incidents/{no}/clocks                             read unit
GET    /api/v1/incidents/{no}/timeline                           read unit
GET    /api/v1/incidents/{no}/runs                               read unit
POST   /api/v1/incidents/{no}/gradings                           grade unit
POST   /api/v1/incidents/{no}/releases                           release unit
POST   /api/v1/incidents/{no}/releases/{publication}/reviews     review unit
POST   /api/v1/incidents/{no}/acknowledgements                   acknowledge unit
POST   /api/v1/incidents/{no}/corrections                        correct unit
POST   /api/v1/incidents/{no}/merge                              merge unit
POST   /api/v1/incidents/{no}/unmerge                            merge unit
POST   /api/v1/incidents/{no}/void                               end unit
POST   /api/v1/incidents/{no}/waive                              end unit
POST   /api/v1/incidents/{no}/hand-over                          end unit
POST   /api/v1/incidents/{no}/close                              end unit
POST   /api/v1/incidents/{no}/reopen                             end unit
PATCH  /api/v1/incidents/{no}                                    correct unit
POST   /api/v1/incidents/{no}/assignments                        assign unit
POST   /api/v1/incidents/{no}/tasks                              assign unit
POST   /api/v1/incidents/{no}/tasks/{task}/done                  acknowledge unit
POST   /api/v1/incidents/{no}/transfers                          register unit
POST   /api/v1/incidents/{no}/transfers/{transfer}/feedback      release unit
POST   /api/v1/incidents/{no}/continuous                         assign unit
POST   /api/v1/incidents/{no}/stages                             assign unit
POST   /api/v1/incidents/{no}/attributions                       attribute unit
POST   /api/v1/incidents/{no}/replans                            replan unit
GET    /api/v1/clocks                                            read
GET    /api/v1/notifications                                     read
GET    /api/v1/runs                                              read
GET    /api/v1/duty/now                                          read
GET    /api/v1/inbox                                             signed
GET    /api/v1/requests                                          read
GET    /api/v1/requests/{request_id}                             read unit
POST   /api/v1/requests/{request_id}/withdraw                    signed mine acting 200
POST   /api/v1/requests/{request_id}/approve                     approve unit 200
POST   /api/v1/requests/{request_id}/reject                      approve unit 200
POST   /api/v1/preview                                           signed
GET    /api/v1/workdays                                          signed
GET    /api/v1/rules                                             signed
GET    /api/v1/rules/{pack}                                      signed
GET    /api/v1/obligations                                       signed
GET    /api/v1/me                                                signed
POST   /api/v1/tokens/exchange                                   public
GET    /api/v1/tokens                                            signed
POST   /api/v1/tokens                                            signed
DELETE /api/v1/tokens/{token_id}                                 signed mine managed 200
GET    /api/v1/audit                                             audit
GET    /a/{token}                                                public any
POST   /a/{token}                                                public
GET    /livez                                                    public
GET    /readyz                                                   public any
GET    /metrics                                                  loopback
GET    /docs                                                     public
"""

#: What every hand-over of the test is about, and a roster of 水务局 to be taken in.
PAPER = paper.snapshot(paper.Facts(unit="示例市水务局"), "", START)
ROSTER = "单位,职责,人员,开始,结束\nwater,duty_officer,victim,2025-06-05 08:00,2025-06-05 20:00"

#: What the JSON API needs to be sent so that the question of permission is reached at all.
_TIME = "2025-06-02T08:30:00+08:00"
_REASON = {"reason": "核对"}
BODIES: dict[str, dict[str, Any]] = {
    "/incidents": {"title": "示例", "kind": "opinion", "unit_id": "water"},
    "/gradings": {"kind": "opinion", "basis": "correction", "criterion": "对照标准"},
    "/releases": {"kind": "release", "published_at": _TIME, "url": "https://www.example.gov.cn/1"},
    "/reviews": {"review": "accepted"},
    "/corrections": {**_REASON, "kind": "occurred_at", "time": {"value": _TIME}},
    "/merge": {**_REASON, "into": "2025-9999"},
    "/assignments": {**_REASON, "unit_id": "water"},
    "/tasks": {"unit_id": "water", "name": "任务", "due_at": "2025-06-03T08:30:00+08:00"},
    "/done": {"at": _TIME},
    "/transfers": {"notice_no": "转办1号", "received_at": _TIME},
    "/feedback": {"at": _TIME},
    "/continuous": {"every_hours": 24},
    "/stages": {"stage": "收集"},
    "/attributions": {"clock_key": "x", "attribution": "late_report", "note": "核对"},
    "/replans": {**_REASON, "clock_key": "x", "policy_id": "other"},
    "/exchange": {"person_id": "nobody", "password": "x"},
    "/api/v1/tokens": {"name": "看板", "scopes": ["nonsense"]},
    **dict.fromkeys(("/unmerge", "/void", "/waive", "/hand-over", "/close", "/reopen"), _REASON),
}
QUERIES = {
    "/api/v1/workdays": "?from=2025-06-02&add=3",
    "/api/v1/obligations": "?pack=cn-gbf-2016-61&year=2025",
}
#: Forms that name a unit or a paper, or without which the question of whose it is would not be reached.
FORMS: dict[str, dict[str, str]] = {
    "/handover": {"unit": "water", "to": "zhao"},
    "/handover/{handover_id}/sign-out": {"hash": paper.digest(PAPER)},
    "/handover/{handover_id}/take": {"hash": paper.digest(PAPER)},
    "/roster/shifts": {
        "unit_id": "water", "role": "duty_officer", "person_id": "victim",
        "starts_at": "2025-06-04T08:00", "ends_at": "2025-06-04T20:00",
    },
    "/roster/import": {"roster_text": ROSTER},
    "/roster/duties": {"unit_id": "water", "role": "liaison", "person_id": "victim"},
    "/roster/duties/remove": {"unit_id": "water", "role": "liaison", "person_id": "victim"},
}  # fmt: skip
#: Of an object that is not made for the question; those that are, stand in ``FRESH``.
PARTS = {
    "name:path": "desk.css",
    "session_id": "0000",
    "signed_in": "0000",
    "number": "999",
    "word": "approve",
    "pack": "cn-gbf-2016-61",
    "policy": "release-5h",
    "person": "victim",
    "unit": "water",
    "channel": "inbox",
    "token": "0000",
    "token_id": "0000",
    "shift": "999",
    "handover_id": "999",
    "notice_no": "T-0000",
    "publication": "999",
    "task": "k99",
    "transfer": "t99",
    "request_id": "999",
}


@dataclass(frozen=True)
class Line:
    """One route with what is right for it."""

    method: str
    path: str
    needs: frozenset[str]
    marks: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def part(self) -> str:
        """The part of the address whose object is made anew for every question; empty where there is none."""
        return next((part for part in FRESH if f"{{{part}}}" in self.path and "public" not in self.needs), "")


def read(table: str) -> list[Line]:
    """The lines of a table."""
    found = []
    for text in table.strip().splitlines():
        method, path, needs, *marks = text.split()
        found.append(Line(method, path, frozenset(needs.split("+")), frozenset(marks)))
    return found


ALL = [*read(PAGES), *read(API)]


def real_routes() -> list[tuple[str, str]]:
    """What the application answers to, apart from HEAD beside GET."""
    others = [route for module in (incidents, desk, ack, probes) for route in module.router.routes]
    routes = [route for route in [*page_routes(), *others] if isinstance(route, APIRoute)]
    return [(method, route.path) for route in routes for method in sorted((route.methods or set()) - {"HEAD"})]


def test_every_route_has_a_line_and_every_line_a_route():
    real, written = set(real_routes()), {(line.method, line.path) for line in ALL}
    assert real - written == set(), "routes without a line in the tables above"
    assert written - real == set(), "lines without a route"
    assert len(ALL) == len(written)


def test_the_application_answers_to_nothing_else(stage: Stage):
    beside = {"/openapi.json"}
    app: Any = stage.client.app
    served = {path for route in app.routes if (path := getattr(route, "path", ""))}
    listed = set(app.openapi()["paths"]) | served
    assert listed - {line.path for line in ALL} - beside == set()


# -- who asks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Who:
    """Somebody who asks; ``own`` tells whether the objects' unit is theirs."""

    name: str
    may: frozenset[str]
    own: bool
    seat: Seat | None = None
    bearer: str = ""

    @property
    def is_wall(self) -> bool:
        return self.name == "wall"


@dataclass
class Stage:
    """One application with everybody's sessions and tokens."""

    house: House
    client: TestClient
    no: str
    people: dict[str, Who] = field(default_factory=dict)


NAMES = [*(f"{role}@{unit}" for role in MAY for unit in ("water", "health")), "wall", "nobody"]


@pytest.fixture(scope="module")
def stage(house_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    house = open_house(house_template, tmp_path_factory.mktemp("matrix") / "house")
    with TestClient(create_app(house.services), raise_server_exceptions=False) as client:
        yield furnish(house, client)
    house.services.store.close()


def furnish(house: House, client: TestClient) -> Stage:
    """An incident of 水务局, a person to be managed there, an owner, and somebody of each role there and at 卫健委."""
    services = house.services
    people.add_person(services, OPERATOR, "victim", name="某人", unit_id="water")
    people.add_person(services, OPERATOR, OWNER, name="某甲", unit_id="water")
    made = Stage(house, client, "")
    for role, may in MAY.items():
        for unit in ("water", "health"):
            person = f"{role}-{unit}"
            people.add_person(services, OPERATOR, person, name=person, unit_id=unit)
            roster_admin.grant_access(services, OPERATOR, person, role, unit)
            made.people[f"{role}@{unit}"] = Who(
                person,
                frozenset(may.split()),
                unit == "water",
                take_seat(services, client, person),
                token(house, person),
            )
    made.people["nobody"] = Who("nobody", frozenset(), own=False)
    made.people["wall"] = wall(house, client)
    body = {"title": "示例路段积水", "kind": "opinion", "unit_id": "water", "times": {}}
    headers = {"Authorization": f"Bearer {made.people['duty@water'].bearer}"}
    made.no = client.post("/api/v1/incidents", json=body, headers=headers).json()["no"]
    return made


def token(house: House, person: str, *scopes: str) -> str:
    """A token without the way through a one-time password."""
    with house.services.store.transaction(f"person:{person}") as tx:
        made = tokens._make(tx, person, "测试", list(scopes), tokens._days(30))
    return str(made["token"])


def wall(house: House, client: TestClient) -> Who:
    """A screen on the wall of 水务局, signed in with a token that may only look."""
    secret = token(house, "duty-water", "read")
    cookie, session = sessions.wall_session(house.services, secret, "127.0.0.1", "wall")
    return Who("wall", frozenset({"read"}), own=True, seat=Seat(client, cookie, session.csrf), bearer=secret)


# -- the objects -------------------------------------------------------------------------------------------------------
#: Whose the objects are that are nobody's who asks: somebody of 水务局.
OWNER = "somebody"


def unit_of(person: str) -> str:
    return "health" if person.endswith("-health") else "water"


def make_request(stage: Stage, _line: Line | None, owner: str) -> str:
    """Something of an incident of its own that waits for a second person."""
    services = stage.house.services
    wanted = RegisterRequest(title="示例路段积水", kind=Kind.OPINION, unit_id=unit_of(owner))
    no = matters.register(services, OPERATOR, wanted)["no"]
    with services.store.transaction("test") as tx:
        row = tx.one(sa.select(t.incident).where(t.incident.c.no == no))
        return str(keep_request(tx, row, "void", {"reason": "误报"}, f"person:{owner}", ["撤销"]))


def make_paper(stage: Stage, line: Line | None, owner: str) -> str:
    """A hand-over that the owner is to sign or may take back; one to look at is signed by both."""
    todo = line.path.rpartition("/")[2] if line is not None else ""
    state = {"sign-out": "prepared", "take": "offered", "withdraw": "offered"}.get(todo, "taken")
    pair = ("zhang", owner) if todo == "take" else (owner, "zhang")
    with stage.house.services.store.transaction("test") as tx:
        row = {
            "unit_id": unit_of(owner), "from_person": pair[0], "to_person": pair[1], "state": state, "at": tx.now,
            "snapshot": PAPER, "snapshot_hash": paper.digest(PAPER),
            "signed_out_at": None if state == "prepared" else tx.now,
            "signed_in_at": tx.now if state == "taken" else None,
        }  # fmt: skip
        return str(tx.run(t.handover.insert().values(**row).returning(t.handover.c.id)).scalar_one())


def make_token(stage: Stage, _line: Line | None, owner: str) -> str:
    with stage.house.services.store.transaction(f"person:{owner}") as tx:
        return str(tokens._make(tx, owner, "测试", ["read"], tokens._days(30))["id"])


def make_session(stage: Stage, _line: Line | None, owner: str) -> str:
    secret, _ = session_of(stage.house.services, owner)
    session = sessions.look(stage.house.services, secret)
    assert session is not None
    return session.id


def make_shift(stage: Stage, _line: Line | None, owner: str) -> str:
    with stage.house.services.store.transaction("test") as tx:
        row = {
            "unit_id": unit_of(owner), "role": "duty_officer", "person_id": owner,
            "starts_at": tx.now - timedelta(hours=1), "ends_at": tx.now + timedelta(hours=1),
        }  # fmt: skip
        return str(tx.run(t.shift.insert().values(**row).returning(t.shift.c.id)).scalar_one())


def make_notice(stage: Stage, _line: Line | None, owner: str) -> str:
    """A message to the owner about an incident of their unit, with a clock to be taken up."""
    services = stage.house.services
    wanted = RegisterRequest(title="示例路段积水", kind=Kind.OPINION, unit_id=unit_of(owner))
    matters.register(services, OPERATOR, wanted)
    with services.store.transaction("test") as tx:
        action = tx.one(sa.select(t.timed_action).order_by(t.timed_action.c.id.desc()))
        assert action is not None
        notice_no = f"T-{action.id}"
        to = {"notice_no": notice_no, "person_id": owner}
        sent = {
            "action_id": action.id, "incident_id": action.incident_id, "clock_id": action.clock_id, "state": "sent",
            "channel_id": "inbox", "band": "notice", "visible_at": tx.now, "created_at": tx.now, "sent_at": tx.now,
        }  # fmt: skip
        tx.run(t.delivery.insert().values(**to, **sent))
        tx.run(t.inbox_message.insert().values(**to, subject="示例", text="示例", created_at=tx.now))
    return notice_no


FRESH: dict[str, Callable[[Stage, Line | None, str], str]] = {
    "number": make_request,
    "request_id": make_request,
    "handover_id": make_paper,
    "token": make_token,
    "token_id": make_token,
    "session_id": make_session,
    "signed_in": make_session,
    "shift": make_shift,
    "notice_no": make_notice,
}


# -- asking ------------------------------------------------------------------------------------------------------------


def owners_for(line: Line, who: Who) -> list[str]:
    """Whose object a question is asked of: 水务局's, and one's own where that makes a difference."""
    return [OWNER, who.name] if "mine" in line.marks and who.seat is not None and not who.is_wall else [OWNER]


def url_of(stage: Stage, line: Line, owner: str = "") -> str:
    parts = {**PARTS, "no": stage.no}
    if owner and line.part:
        parts[line.part] = FRESH[line.part](stage, line, owner)
    return re.sub(r"\{([^}]+)\}", lambda found: parts[found.group(1)], line.path)


def ask_page(stage: Stage, line: Line, who: Who, owner: str) -> httpx.Response:
    url = url_of(stage, line, owner)
    seat = who.seat or Seat(stage.client, "", "")
    if "public" in line.needs and who.seat is not None and line.method == "POST":
        seat = _spare(stage, who)  # these end or change the session that asks
    return seat.get(url) if line.method == "GET" else seat.post(url, FORMS.get(line.path))


def _spare(stage: Stage, who: Who) -> Seat:
    if who.is_wall:
        return wall(stage.house, stage.client).seat or Seat(stage.client, "", "")
    return take_seat(stage.house.services, stage.client, who.name)


def ask_api(stage: Stage, line: Line, who: Who, owner: str) -> httpx.Response:
    stage.client.cookies.clear()
    headers = {"Authorization": f"Bearer {who.bearer}"} if who.bearer else {}
    url = url_of(stage, line, owner) + QUERIES.get(line.path, "")
    body = None
    if line.method in {"POST", "PATCH"} and line.path.startswith("/api/"):
        body = BODIES.get(line.path) or BODIES.get(f"/{line.path.rsplit('/', 1)[1]}", {})
        body = {**_REASON, "title": "新标题"} if line.method == "PATCH" else body
    request: Callable[..., httpx.Response] = stage.client.request
    return request(line.method, url, json=body, headers=headers)


#: Permissions with which nothing of an incident is changed.
LOOKING = frozenset(["read", "call", "audit", "evaluate"])


def reaches(line: Line, who: Who, owner: str) -> bool:
    """Whether the object is one that this person may do it to at all."""
    if "mine" in line.marks and owner != who.name:
        return "managed" in line.marks and "people" in who.may and who.own
    return who.own or "unit" not in line.marks


def complaint(line: Line, who: Who, answer: httpx.Response, owner: str, *, page: bool) -> str:
    """What is wrong with an answer; empty when it is right."""
    status, target = answer.status_code, answer.headers.get("location", "")
    got = f"{line.name} of {owner} for {who.name}: {status} {target}"
    to_sign_in = status == 303 and target.split("?")[0] == "/login"
    if status >= 500 and "any" not in line.marks:
        return f"{got} is a failure"
    if line.needs <= {"public", "loopback"}:
        # A wall stands behind the door already and has no account to do anything with.
        return f"{got}, but it is public" if status == 403 and not who.is_wall else ""
    if not who.seat:
        right = to_sign_in if page else status == 401
        return "" if right else f"{got}, but nobody is signed in"
    # A wall shows its one page; signed-in people are meant where no permission is named.
    allowed = line.needs <= who.may or line.needs == {"signed"}
    if who.is_wall and page:
        allowed = line.method == "GET" and (line.needs == {"read"} or "wall" in line.marks)
    if not allowed:
        return "" if status == 403 else f"{got}, but 403 was due"
    if "house" in line.marks:
        return "" if status == 403 else f"{got}, but it concerns every unit"
    if not reaches(line, who, owner):
        refusals = {403, 404, 422} if "table" in line.marks else {403, 404}
        return "" if status in refusals else f"{got}, but the object is another's"
    if "acting" in line.marks and who.may <= LOOKING:
        return "" if status == 403 else f"{got}, but who may only look changes nothing"
    return _for_the_entitled(line, answer, got, to_sign_in=to_sign_in)


def _for_the_entitled(line: Line, answer: httpx.Response, got: str, *, to_sign_in: bool) -> str:
    status = answer.status_code
    if status in {401, 403} or to_sign_in:
        return f"{got}, but this role may"
    given = next((int(mark) for mark in line.marks if mark.isdigit()), 0)
    if given:
        return "" if status == given else f"{got}, but {given} was due"
    if "any" in line.marks or line.method != "GET":
        return ""
    if "form" in line.marks and status == 303:  # the form stands on the incident's own page, which asks for itself
        target = answer.headers["location"].partition("#")[0]
        return "" if re.fullmatch(r"/incidents/[0-9-]+\?open=[a-z-]+", target) else got
    return "" if status == 200 else f"{got}, but 200 was due"


@pytest.mark.parametrize("name", NAMES)
def test_pages(stage: Stage, name: str):
    who = stage.people[name]
    # A stream never ends; who is let in is asked of the live channel's own tests.
    ending = [line for line in read(PAGES) if "stream" not in line.marks or not line.needs <= who.may]
    answers = ((line, owner, ask_page(stage, line, who, owner)) for line in ending for owner in owners_for(line, who))
    wrong = [found for line, owner, answer in answers if (found := complaint(line, who, answer, owner, page=True))]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_the_json_api(stage: Stage, name: str):
    who = stage.people[name]
    asked = [(line, owner) for line in read(API) for owner in owners_for(line, who)]
    answers = ((line, owner, ask_api(stage, line, who, owner)) for line, owner in asked)
    wrong = [found for line, owner, answer in answers if (found := complaint(line, who, answer, owner, page=False))]
    assert not wrong, "\n" + "\n".join(wrong)


# -- what lists show ---------------------------------------------------------------------------------------------------

#: Where objects stand in a list: what is asked for, the part it is made by, how it is recognised, what is needed, whose.
LISTS = """
/requests                number       id="request-{}"                  read   unit
/api/v1/requests         request_id   "id":{},                         read   unit
/api/v1/duty/now         request_id   "id":{},                         read   unit
/handover                handover_id  "/handover/{}"                   read   unit
/admin/tokens            token        /admin/tokens/{}/revoke          people unit
/admin/sessions          signed_in    /admin/sessions/{}/revoke        people unit
/roster                  shift        /roster/shifts/{}/cancel         roster unit
/devices                 token        /devices/tokens/{}/revoke        signed mine
/devices                 session_id   /devices/{}/revoke               signed mine
/inbox                   notice_no    {}                               signed mine
/api/v1/inbox            notice_no    "{}"                             signed mine
"""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"wall", "nobody"}])
def test_lists_show_what_is_ones_own_and_nothing_of_others(stage: Stage, name: str):
    who, wrong = stage.people[name], []
    assert who.seat is not None
    for text in LISTS.strip().splitlines():
        path, part, pattern, needs, whose = text.split()
        line = Line("GET", path, frozenset({needs}), frozenset({whose}))
        for owner in owners_for(line, who):
            made = FRESH[part](stage, None, owner)
            sign = pattern.format(made)
            if path.startswith("/api/"):
                answer = ask_api(stage, line, who, "")
            else:  # what waits is shown in pages, oldest first
                answer = who.seat.get(f"{path}?after={int(made) - 1}" if part == "number" else path)
            due = (needs in who.may or needs == "signed") and reaches(line, who, owner)
            if (sign in answer.text) != due:
                wrong.append(f"{path} for {name}: {sign} of {owner} {'is missing' if due else 'is shown'}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_tokens_is_for_who_manages_or_audits(stage: Stage, name: str):
    who = stage.people[name]
    theirs = make_token(stage, None, OWNER)
    own = make_token(stage, None, who.name) if who.seat is not None and not who.is_wall else ""
    answer = ask_api(stage, Line("GET", "/api/v1/tokens", frozenset(), frozenset()), who, "")
    assert (theirs in answer.text) == (bool({"people", "audit"} & who.may) and who.own)
    assert own in answer.text


def test_a_table_that_names_another_unit_is_not_taken_in_at_all(stage: Stage):
    def entered() -> int:
        with stage.house.services.store.reading() as tx:
            return int(tx.value(sa.select(sa.func.count()).select_from(t.shift)))

    before, seat = entered(), stage.people["head@health"].seat
    assert seat is not None
    own = "health,duty_officer,duty-health,2025-06-06 08:00,2025-06-06 20:00"
    assert seat.post("/roster/import", {"roster_text": f"{ROSTER}\n{own}"}).status_code == 422
    assert entered() == before
    assert seat.post("/roster/import", {"roster_text": f"{ROSTER.splitlines()[0]}\n{own}"}).status_code == 303
    assert entered() == before + 1


MARKS = frozenset(
    ["unit", "mine", "managed", "acting", "table", "house", "any", "form", "stream", "wall", "200", "204", "303", "404"]
)


def test_the_tables_of_the_test_are_themselves_sound():
    known = {"public", "signed", "loopback", *(word for may in MAY.values() for word in may.split())}
    for line in ALL:
        assert line.needs <= known, line
        assert line.marks <= MARKS, line
        leads_elsewhere = line.method == "GET" and "303" in line.marks
        assert not line.part or leads_elsewhere or line.marks & {"unit", "mine"}, f"{line.name}: whose is it?"
    assert "read" not in MAY["administrator"].split()
    assert not {"acknowledge", "register", "end", "approve"} & set(MAY["auditor"].split())


@pytest.mark.parametrize("path", sorted({line.path for line in read(PAGES) if line.method == "POST"}))
def test_no_form_is_taken_from_another_site_or_without_its_token(stage: Stage, path: str):
    line = next(line for line in read(PAGES) if line.path == path and line.method == "POST")
    who = stage.people["administrator@water" if line.needs <= set(MAY["administrator"].split()) else "head@water"]
    assert who.seat is not None
    url = url_of(stage, line)
    foreign = who.seat.post(url, headers={"sec-fetch-site": "cross-site"})
    unsigned = who.seat.post(url, {"csrf": "0" * 32})
    assert (foreign.status_code, unsigned.status_code) == (403, 403)
