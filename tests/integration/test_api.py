"""The JSON API as a program meets it: words, limits, refusals, and one effect for one request."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from loguru import logger
from starlette.testclient import TestClient

from config.settings import load_settings
from huiying import bootstrap
from huiying.domain.errors import InvalidInput
from huiying.domain.kinds import Kind
from huiying.service import incidents, people, roster_admin, tokens
from huiying.service.requests import RegisterRequest
from huiying.store import heartbeats
from huiying.store import tables as t
from huiying.web.app import create_app
from huiying.web.guard import LARGEST_BODY
from tests.fakes.house import OPERATOR, House, cheap_passwords, house, house_template, open_house

__all__ = ["cheap_passwords", "house", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")

INCIDENTS = "/api/v1/incidents"


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def lent_house(house_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all tests that leave nothing behind."""
    made = open_house(house_template, tmp_path_factory.mktemp("lent") / "house")
    yield made
    made.services.store.close()


@pytest.fixture(scope="module")
def lent(lent_house: House) -> Iterator[TestClient]:
    with TestClient(create_app(lent_house.services), raise_server_exceptions=False) as made:
        yield made


def incident(**more: Any) -> dict[str, Any]:
    return {
        "title": "示例路段积水",
        "kind": "emergency",
        "severity": "major",
        "criterion": "对照示例市分级标准",
        "unit_id": "office",
        "times": {"occurred_at": {"value": "2025-06-02T08:00:00+08:00", "source": "现场报告"}},
        **more,
    }


def register(client: TestClient, house: House, person: str = "zhang", key: str = "", **more: Any) -> httpx.Response:
    headers = house.bearer(person)
    if key:
        headers["Idempotency-Key"] = key
    response: httpx.Response = client.post(INCIDENTS, json=incident(**more), headers=headers)
    return response


def rows(house: House, table: sa.Table) -> int:
    with house.services.store.reading() as tx:
        return int(tx.value(sa.select(sa.func.count()).select_from(table)))


# -- the life of an incident ---------------------------------------------------------------------------------------


def test_an_incident_is_registered_and_its_clocks_run(client: TestClient, house: House):
    response = register(client, house)
    view = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"{INCIDENTS}/{view['no']}"
    due = {clock["rule"]: clock["due_at"] for clock in view["clocks"] if clock["binding"]}
    assert due["authoritative_release"] == "2025-06-02T13:00:00+08:00"
    assert due["press_conference"] == "2025-06-03T08:00:00+08:00"
    shown = client.get(f"{INCIDENTS}/{view['no']}/clocks", headers=house.bearer("zhang")).json()
    assert {clock["key"] for clock in shown["clocks"]} == {clock["key"] for clock in view["clocks"]}
    desk = client.get("/api/v1/clocks?state=running", headers=house.bearer("zhang")).json()
    assert [clock["incident"] for clock in desk["clocks"]] == [view["no"]] * len(desk["clocks"])


def test_a_release_stops_the_clock_through_the_api(client: TestClient, house: House):
    no = register(client, house).json()["no"]
    house.clock.advance(timedelta(hours=1))
    body = {"kind": "release", "published_at": "2025-06-02T09:30:00+08:00", "url": "https://example.cn/1"}
    view = client.post(f"{INCIDENTS}/{no}/releases", json=body, headers=house.bearer("zhang")).json()
    states = {clock["rule"]: clock["state"] for clock in view["clocks"] if clock["binding"]}
    assert states["authoritative_release"] == "satisfied"
    assert states["press_conference"] == "running"


def test_what_needs_two_people_is_kept_and_done_by_the_second_ones_own_account(client: TestClient, house: House):
    no = register(client, house).json()["no"]
    asked = client.post(f"{INCIDENTS}/{no}/void", json={"reason": "核实为旧闻"}, headers=house.bearer("zhang"))
    problem = asked.json()
    assert (asked.status_code, problem["code"]) == (409, "needs_second_person")
    request = problem["request_id"]
    for person in ("zhang", "boss", "li"):
        url = f"/api/v1/requests/{request}/approve"
        assert client.post(url, json={}, headers=house.bearer(person)).status_code == 403
    done = client.post(f"/api/v1/requests/{request}/approve", json={"note": "同意"}, headers=house.bearer("wang"))
    assert done.status_code == 200
    assert done.json()["state"] == "voided"


def test_a_preview_writes_nothing(client: TestClient, house: House):
    before = rows(house, t.audit)
    body = {"severity": "major", "times": {"occurred_at": {"value": "2025-06-02T08:00:00+08:00"}}}
    answer = client.post("/api/v1/preview", json=body, headers=house.bearer("zhang")).json()
    assert {clock["rule"] for clock in answer["clocks"]} == {"authoritative_release", "press_conference"}
    assert rows(house, t.incident) == 0
    assert rows(house, t.audit) == before


def test_working_days_over_http(lent: TestClient, lent_house: House):
    answer = lent.get("/api/v1/workdays?from=2026-02-13&add=3", headers=lent_house.bearer("zhang")).json()
    assert answer["due_date"] == "2026-02-25"


# -- one request, one effect ---------------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_incident_and_another_content_is_refused(client: TestClient, house: House):
    first = register(client, house, key="k-1").json()
    again = register(client, house, key="k-1")
    assert (again.status_code, again.json()["no"]) == (201, first["no"])
    other = register(client, house, key="k-1", title="另一件事")
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert rows(house, t.incident) == 1


@pytest.mark.slow
def test_fifty_parallel_identical_posts_make_one_incident(tmp_path: Path):
    services = bootstrap.build(load_settings(data_dir=tmp_path / "data", node="test"))
    people.add_person(services, OPERATOR, "zhang", name="张一", unit_id="main")
    roster_admin.grant_access(services, OPERATOR, "zhang", "duty", "main")
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    token = tokens.exchange_password(services, "zhang", password)["token"]
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "same"}
    body = {"title": "示例", "kind": "opinion", "unit_id": "main"}
    server = uvicorn.Server(uvicorn.Config(create_app(services), host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]

    def post(_: int) -> tuple[int, str]:
        with httpx.Client(timeout=30, trust_env=False) as one:
            answer = one.post(f"http://127.0.0.1:{port}{INCIDENTS}", json=body, headers=headers)
        return answer.status_code, answer.json().get("no", answer.text)

    with ThreadPoolExecutor(50) as pool:
        answers = set(pool.map(post, range(50)))
    with services.store.reading() as tx:
        count = tx.value(sa.select(sa.func.count()).select_from(t.incident))
    server.should_exit = True
    thread.join(5)
    assert not thread.is_alive()
    assert len(answers) == 1
    assert next(iter(answers))[0] == 201
    assert count == 1


# -- what is refused -----------------------------------------------------------------------------------------------


def post_raw(client: TestClient, house: House, content: bytes) -> httpx.Response:
    headers = house.bearer("zhang", **{"Content-Type": "application/json"})
    response: httpx.Response = client.post(INCIDENTS, content=content, headers=headers)
    return response


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": "示" * 201}, "title"),
        ({"title": ""}, "title"),
        ({"title": "含\x00空"}, "title"),
        ({"body": "长" * 20_001}, "body"),
        ({"body": "含\x00空"}, "body"),
        ({"notice_title": "外" * 61}, "notice_title"),
        ({"kind": "fire"}, "kind"),
        ({"severity": "huge"}, "severity"),
        ({"kind": "opinion"}, "severity"),
        ({"criterion": ""}, "criterion"),
        ({"unit_id": "nowhere"}, "unit_id"),
        ({"unknown": 1}, "unknown"),
        ({"title": 7}, "title"),
        ({"times": {"occurred_at": {"value": "2025-06-02T08:00:00", "source": "x"}}}, "times.occurred_at.value"),
        ({"times": {"occurred_at": {"value": 1748822400, "source": "x"}}}, "times.occurred_at.value"),
        ({"times": {"occurred_at": {"value": "0001-01-01T00:00:00+23:59", "source": "x"}}}, "times.occurred_at.value"),
        ({"times": {"occurred_at": {"value": "9999-12-31T23:59:59-23:59", "source": "x"}}}, "times.occurred_at.value"),
        ({"times": {"yesterday": {"value": "2025-06-02T08:00:00+08:00"}}}, "times.yesterday"),
        ({"times": {"occurred_at": {"value": "2025-06-02T20:00:00+08:00", "source": "x"}}}, "occurred_at"),
        ({"source_detail": {str(n): "x" for n in range(21)}}, "source_detail"),
        ({"co_units": ["x" * 65]}, "co_units.0"),
    ],
)
def test_what_cannot_be_taken_is_named_by_field_and_leaves_nothing(
    lent: TestClient, lent_house: House, change: dict[str, Any], field: str
):
    before = rows(lent_house, t.audit)
    response = lent.post(INCIDENTS, json=incident(**change), headers=lent_house.bearer("zhang"))
    problem = response.json()
    assert (response.status_code, problem.get("field")) == (422, field)
    assert response.headers["content-type"] == "application/problem+json"
    assert re.search(r"[\u4e00-\u9fff]", problem["title"] + problem["detail"])
    assert "内容未登记" in problem["detail"]
    assert (rows(lent_house, t.incident), rows(lent_house, t.audit)) == (0, before)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"title":"\\ud800","kind":"opinion","unit_id":"office"}', 422),
        (b'{"\\ud800":1}', 422),
        (b"{broken", 422),
        (b"\xff\xfe", 422),
        (b"", 422),
        (b"null", 422),
        (b"[" * 100_000, 400),
        (b'{"title":1e999}', 422),
        (b"x" * (LARGEST_BODY + 1), 413),
    ],
)
def test_whatever_bytes_come_the_answer_is_a_problem_in_chinese(
    lent: TestClient, lent_house: House, content: bytes, status: int
):
    response = post_raw(lent, lent_house, content)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert re.search(r"[\u4e00-\u9fff]", response.json()["title"])
    assert rows(lent_house, t.incident) == 0


def test_a_body_that_grows_while_it_arrives_is_cut_off(lent: TestClient, lent_house: House):
    headers = lent_house.bearer("zhang", **{"Content-Type": "application/json"})
    response = lent.post(INCIDENTS, content=(b"x" * 4096 for _ in range(100)), headers=headers)
    assert response.status_code == 413


def test_only_json_is_taken(lent: TestClient, lent_house: House):
    response = lent.post(INCIDENTS, data={"title": "x"}, headers=lent_house.bearer("zhang"))
    assert response.status_code == 415


def test_unknown_addresses_and_methods_are_problems_too(lent: TestClient):
    assert lent.get("/nowhere").json()["code"] == "not_found"
    assert lent.put(INCIDENTS, json={}).json()["code"] == "method_not_allowed"
    assert lent.get(f"{INCIDENTS}/").status_code == 404


def test_a_fault_of_ours_is_a_problem_with_a_number_and_no_insides(
    client: TestClient, house: House, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("secret insides 13912345678")

    monkeypatch.setattr("huiying.service.queries.duty_now", fail)
    response = client.get("/api/v1/duty/now", headers=house.bearer("zhang"))
    assert response.status_code == 500
    assert response.json()["trace"]
    assert "insides" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


# -- who may -------------------------------------------------------------------------------------------------------

READS = ("/incidents", "/clocks", "/notifications", "/runs", "/duty/now", "/requests")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer hy_wrong", "Basic YTpi", "Bearer " + "x" * 5000, "Bearer \xff"]
)
def test_without_a_valid_token_nothing_is_shown(lent: TestClient, authorization: str):
    headers = [(b"authorization", authorization.encode("latin-1"))] if authorization else []
    for path in (*READS, "/inbox", "/me", "/rules", "/tokens", "/audit"):
        response = lent.get(f"/api/v1{path}", headers=headers)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("body", ["{", '{"nonsense": 1}', '{"title": 5}', "[]"])
@pytest.mark.parametrize("authorization", ["", "Bearer hy_wrong"])
def test_whoever_may_not_come_in_is_not_told_what_is_wrong_with_their_request(
    lent: TestClient, lent_house: House, body: str, authorization: str
):
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    assert lent.post(INCIDENTS, content=body, headers=headers).status_code == 401
    assert lent.get("/api/v1/clocks?limit=0", headers=headers).status_code == 401
    known = {**lent_house.bearer("zhang"), "Content-Type": "application/json"}
    assert lent.post(INCIDENTS, content=body, headers=known).status_code == 422
    assert lent.post("/api/v1/tokens/exchange", content=body, headers=headers).status_code == 422


def test_the_unit_may_be_left_out_where_there_is_only_one_at_the_top(client: TestClient, house: House):
    body = {key: value for key, value in incident().items() if key != "unit_id"}
    made = client.post(INCIDENTS, json=body, headers=house.bearer("zhang"))
    assert (made.status_code, made.json()["unit"]["id"]) == (201, "office")
    people.add_unit(house.services, OPERATOR, "second", name="示例县政务公开办")
    again = client.post(INCIDENTS, json=body, headers=house.bearer("zhang"))
    assert again.json()["unit"]["id"] == "office"  # the only one that this account covers
    with pytest.raises(InvalidInput) as refused:
        incidents.register(house.services, OPERATOR, RegisterRequest("示例", Kind.OPINION, ""))
    assert refused.value.field == "unit_id"


def test_a_request_is_shown_and_withdrawn_over_http(client: TestClient, house: House):
    no = register(client, house).json()["no"]
    asked = client.post(f"{INCIDENTS}/{no}/void", json={"reason": "误报"}, headers=house.bearer("zhang"))
    number = asked.json()["request_id"]
    shown = client.get(f"/api/v1/requests/{number}", headers=house.bearer("zhang")).json()
    assert (shown["words"], shown["command_zh"]) == ("误报", "误报撤销")
    withdraw = f"/api/v1/requests/{number}/withdraw"
    assert client.post(withdraw, json={}, headers=house.bearer("wang")).status_code == 403
    assert client.post(withdraw, json={"note": "看错"}, headers=house.bearer("zhang")).json()["state"] == "withdrawn"
    assert client.get("/api/v1/requests", headers=house.bearer("zhang")).json()["requests"] == []


def test_the_administrator_sees_no_content_and_the_auditor_changes_none(client: TestClient, house: House):
    no = register(client, house).json()["no"]
    for path in (*READS, f"/incidents/{no}", f"/incidents/{no}/timeline", f"/incidents/{no}/runs", "/audit"):
        assert client.get(f"/api/v1{path}", headers=house.bearer("boss")).status_code == 403, path
    for path in (*READS, f"/incidents/{no}", "/audit"):
        assert client.get(f"/api/v1{path}", headers=house.bearer("li")).status_code == 200, path
    assert register(client, house, "li").status_code == 403
    assert client.get("/api/v1/audit", headers=house.bearer("zhang")).status_code == 403


def test_a_token_never_does_more_than_its_scope(client: TestClient, house: House):
    asked = {"name": "看板", "scopes": ["read"]}
    refused = client.post("/api/v1/tokens", json=asked, headers=house.bearer("zhang"))
    assert (refused.status_code, refused.json()["detail"]) == (403, tokens.NO_OFFSPRING)
    password = tokens.issue_password(house.services, OPERATOR, "zhang")["password"]
    body = {"person_id": "zhang", "password": password, "scopes": ["read", "acknowledge", "token"]}
    parent = {"Authorization": f"Bearer {client.post('/api/v1/tokens/exchange', json=body).json()['token']}"}
    made = client.post("/api/v1/tokens", json=asked, headers=parent)
    narrow = {"Authorization": f"Bearer {made.json()['token']}"}
    assert client.get("/api/v1/clocks", headers=narrow).status_code == 200
    assert client.post(INCIDENTS, json=incident(), headers=narrow).status_code == 403
    listed = client.get("/api/v1/tokens", headers=narrow).json()["tokens"]
    assert made.json()["token"] not in json.dumps(listed)
    assert client.delete(f"/api/v1/tokens/{made.json()['id']}", headers=narrow).status_code == 200
    assert client.get("/api/v1/clocks", headers=narrow).status_code == 401


def test_a_one_time_password_becomes_a_token_over_http(client: TestClient, house: House):
    password = tokens.issue_password(house.services, OPERATOR, "qian")["password"]
    body = {"person_id": "qian", "password": password}
    made = client.post("/api/v1/tokens/exchange", json=body)
    assert made.status_code == 201
    me = client.get("/api/v1/me", headers={"Authorization": f"Bearer {made.json()['token']}"}).json()
    assert me["person_id"] == "qian"
    again = client.post("/api/v1/tokens/exchange", json=body)
    assert (again.status_code, again.json()["detail"]) == (401, tokens.REFUSED_EXCHANGE)


def test_a_department_sees_its_own_incidents_only(client: TestClient, house: House):
    services = house.services
    people.add_person(services, OPERATOR, "sun", name="孙六", unit_id="water")
    roster_admin.grant_access(services, OPERATOR, "sun", "duty", "water")
    token = tokens.exchange_password(services, "sun", tokens.issue_password(services, OPERATOR, "sun")["password"])
    own = {"Authorization": f"Bearer {token['token']}"}
    theirs = register(client, house).json()["no"]
    mine = client.post(INCIDENTS, json=incident(unit_id="water"), headers=own).json()["no"]
    assert client.post(INCIDENTS, json=incident(), headers=own).status_code == 403
    assert [row["no"] for row in client.get(INCIDENTS, headers=own).json()["incidents"]] == [mine]
    for path in ("", "/clocks", "/timeline", "/runs"):
        assert client.get(f"{INCIDENTS}/{theirs}{path}", headers=own).status_code == 404
    assert {row["incident"] for row in client.get("/api/v1/clocks", headers=own).json()["clocks"]} == {mine}


# -- probes, documents, headers ------------------------------------------------------------------------------------


def beat(house: House, **detail: Any) -> None:
    with house.services.store.transaction("test") as tx:
        heartbeats.beat(tx, "test/engine", "b", {"healthy": True, **detail})


def test_ready_means_a_living_engine_and_a_database(client: TestClient, house: House):
    assert client.get("/livez").json() == {"live": True}
    missing = client.get("/readyz")
    assert missing.status_code == 503
    assert "引擎尚未启动" in missing.json()["reasons"][0]
    beat(house)
    assert client.get("/readyz").status_code == 200
    house.clock.advance(timedelta(seconds=11))
    assert "11 秒没有心跳" in client.get("/readyz").json()["reasons"][0]
    beat(house, healthy=False, fault="磁盘空间已满")
    assert client.get("/readyz").json()["reasons"] == ["磁盘空间已满"]
    assert client.head("/readyz").status_code == 503


def test_numbers_for_a_monitor_count_what_is_past_due(client: TestClient, house: House):
    register(client, house)
    house.clock.advance(timedelta(hours=4, seconds=1))
    text = client.get("/metrics").text
    assert 'huiying_clocks{state="breached"} 1' in text
    assert 'huiying_clocks{state="running"} 1' in text
    assert "huiying_incidents_open 1" in text
    assert 'huiying_http_requests_total{method="POST",status="2xx"} 1' in text
    assert "示例" not in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\})? [0-9.]+", line), (
            line
        )


def test_the_description_needs_nothing_from_outside(lent: TestClient):
    schema = lent.get("/openapi.json").json()
    paths = schema["paths"]
    for path in ("", "/{no}", "/{no}/gradings", "/{no}/releases", "/{no}/acknowledgements", "/{no}/corrections"):
        assert f"{INCIDENTS}{path}" in paths
    for path in ("/clocks", "/notifications", "/runs", "/audit"):
        assert f"/api/v1{path}" in paths
    page = lent.get("/docs").text
    assert not re.search(r"https?://|//[a-z]", page)
    assert "<script" not in page
    assert all(f"<code>{path}</code>" in page for path in paths)


@pytest.mark.parametrize("path", ["/livez", "/docs", "/openapi.json", "/nowhere", "/api/v1/me", "/a/x"])
def test_every_answer_carries_the_security_headers_and_no_cors(lent: TestClient, path: str):
    headers = lent.get(path, headers={"Origin": "https://evil.example"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_no_secret_and_no_number_stands_in_a_log_line(client: TestClient, house: House):
    lines: list[str] = []
    sink = logger.add(lines.append, level="DEBUG", diagnose=False)
    try:
        client.get("/api/v1/me", headers=house.bearer("zhang"))
        client.get("/a/abcdefghijklmnopqrstuv")
        client.post("/api/v1/tokens/exchange", json={"person_id": "zhang", "password": "canary-password"})
    finally:
        logger.remove(sink)
    text = "".join(lines)
    assert "/a/***" in text
    for canary in (house.tokens["zhang"], "abcdefghijklmnopqrstuv", "canary-password"):
        assert canary not in text
