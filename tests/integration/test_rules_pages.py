"""The screens of rules and calendars: what is shown, what a bad file says, what an import announces and does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from config.calendar_loader import CALENDARS_DIRECTORY
from config.loader import RULES_DIRECTORY
from config.policy_loader import POLICIES_DIRECTORY
from huiying.service import pack_admin, people, policies, roster_admin
from huiying.web.app import create_app
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, house, house_template

__all__ = ["house", "house_template"]

PACK = "cn-520200-liupanshui-2017"
FILE = (RULES_DIRECTORY / f"{PACK}.yaml").read_text("utf-8")
SHORTER = FILE.replace("limit: PT5H", "limit: PT4H")


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def boss(house: House, client: TestClient) -> Seat:
    return take_seat(house.services, client, "boss")


@pytest.fixture
def zhang(house: House, client: TestClient) -> Seat:
    return take_seat(house.services, client, "zhang")


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_list_shows_every_pack_with_its_state(zhang: Seat):
    page = zhang.get("/rules")
    assert page.status_code == 200
    for path in RULES_DIRECTORY.glob("*.yaml"):
        assert f'href="/rules/{path.stem}"' in page.text
    assert "待确认沿用" in page.text
    assert "有未核实之处" in page.text
    assert "/rules/upload" not in page.text  # only for who keeps the rules


def test_a_pack_shows_clause_quote_anchor_and_consequence(zhang: Seat):
    text = text_of(zhang.get("/rules/cn-gbf-2016-61").text)
    for words in (
        "最迟应在24小时内举行新闻发布会",
        "24 小时",
        "事发时间 本系统理解",
        "约谈 / 会同监察机关追责",
        "未核实之处",
    ):
        assert words in text
    assert "确认本年度继续沿用" not in text


def test_due_dates_of_a_year_can_be_asked_for(zhang: Seat):
    page = zhang.get(f"/rules/{PACK}?year=2017")
    assert "02-28" in page.text
    assert zhang.get(f"/rules/{PACK}?year=2016").status_code == 200
    assert zhang.get("/rules/no-such-pack").status_code == 404


def test_a_changed_pack_is_checked_taken_in_compared_and_given_back(boss: Seat, house: House):
    checked = boss.post("/rules/upload", {"do": "check"}, files={"pack": ("新版.yaml", SHORTER.encode())})
    assert checked.status_code == 200
    assert "<del>5 小时</del>" in checked.text
    assert "<ins>4 小时</ins>" in checked.text
    assert pack_admin.show_pack(house.services, PACK)["own"] is False
    assert "id: cn-520200-liupanshui-2017" in checked.text  # the text stands in the area for the next step

    done = boss.post("/rules/upload", {"do": "import", "pack_text": SHORTER.replace("\n", "\r\n")})
    assert (done.status_code, done.headers["location"]) == (303, f"/rules/{PACK}")
    assert pack_admin.show_pack(house.services, PACK)["own"]
    assert "<ins>4 小时</ins>" in boss.get(f"/rules/{PACK}/diff").text
    assert "<del>4 小时</del>" in boss.get(f"/rules/{PACK}/diff?{backwards(house)}").text
    assert boss.post(f"/rules/{PACK}/reset").status_code == 303
    assert pack_admin.show_pack(house.services, PACK)["own"] is False
    assert boss.post(f"/rules/{PACK}/reset").status_code == 409


def backwards(house: House) -> str:
    versions = pack_admin.show_pack(house.services, PACK)["versions"]
    old, new = sorted(versions, key=lambda row: bool(row["current"]))
    return f"before={new['version']}&after={old['version']}"


def test_a_bad_pack_shows_file_line_and_key_and_keeps_the_text(boss: Seat, house: House):
    bad = FILE.replace("limit: PT5H", "limit: 五小时")
    page = boss.post("/rules/upload", {"do": "import"}, files={"pack": ("坏.yaml", bad.encode())})
    assert page.status_code == 422
    line = 1 + bad.split("limit: 五小时")[0].count("\n")
    assert re.search(rf"坏\.yaml</.*?>{line}</td>.*?limit</code>", page.text, re.DOTALL)
    assert "limit: 五小时" in page.text
    assert pack_admin.show_pack(house.services, PACK)["own"] is False


@pytest.mark.parametrize("data", [b"\xff\xfe\x00bald", b"a: [", b"x" * (600 * 1024), b"&a [*a]"])
def test_no_bytes_whatever_break_the_upload(boss: Seat, data: bytes):
    page = boss.post("/rules/upload", {"do": "check"}, files={"pack": ("f.yaml", data)})
    assert page.status_code == 422
    assert "未采用任何内容" in page.text


def test_nothing_sent_and_too_much_sent_are_said(boss: Seat):
    empty = boss.post("/rules/upload", {"do": "check"})
    assert empty.status_code == 422
    assert "请选择文件" in empty.text
    large = boss.post("/rules/upload", {"do": "check"}, files={"pack": ("f.yaml", b"x" * (1024 * 1024 + 70_000))})
    assert large.status_code == 413
    assert "1 MB" in large.text


def test_a_yearly_pack_is_confirmed_by_a_button(boss: Seat):
    assert "确认本年度继续沿用" in boss.get(f"/rules/{PACK}").text
    assert boss.post(f"/rules/{PACK}/confirm").status_code == 303
    page = boss.get(f"/rules/{PACK}").text
    assert "确认本年度继续沿用" not in page
    assert "待确认沿用" not in page
    again = boss.post(f"/rules/{PACK}/confirm")
    assert again.status_code == 409
    assert "已经确认过" in again.text


def test_a_year_is_a_month_grid_with_days_off_and_on_marked(zhang: Seat):
    page = zhang.get("/rules/calendar?year=2026").text
    assert page.count('class="leaf"') == 12
    days_off = 3 + 9 + 3 + 5 + 3 + 3 + 7
    assert page.count('<td class="day holiday">') == days_off
    assert page.count('<td class="day makeup">') == 6
    assert "国办发明电〔2025〕7号" in page
    assert zhang.get("/rules/calendar?year=2090").status_code == 404


def test_an_import_announces_what_moves_and_then_does_it(boss: Seat):
    text = (CALENDARS_DIRECTORY / "cn-2026.yaml").read_text("utf-8").replace("2026.1", "2026.2")
    text = text.replace("'2026-10-07']", "'2026-10-07', '2026-10-08', '2026-10-09']")
    looked = boss.post("/rules/calendar", {"do": "check", "calendar_text": text})
    assert looked.status_code == 200
    assert "2026-10-08" in looked.text
    moves = int(re.search(r'将变动的到期日 <span class="num">(\d+)', looked.text).group(1))  # type: ignore[union-attr]
    assert moves > 0
    assert "2026.2" not in boss.get("/rules/calendar?year=2026").text
    done = boss.post("/rules/calendar", {"do": "import", "calendar_text": text})
    assert (done.status_code, done.headers["location"]) == (303, "/rules/calendar?year=2026")
    after = boss.get("/rules/calendar?year=2026").text
    assert "2026.2" in after
    assert "变动过的到期日" in after
    assert '管一 <code class="small muted">person:boss</code>' in after
    assert boss.get("/rules/calendar?year=2026&version=2026.1").status_code == 200


def test_a_bad_calendar_is_refused_with_its_lines(boss: Seat):
    page = boss.post("/rules/calendar", {"do": "import", "calendar_text": "date,kind\n2027-02-30,holiday\n"})
    assert page.status_code == 422
    assert "未采用任何内容" in page.text
    assert "2027-02-30,holiday" in page.text


def test_what_if_shows_the_deadlines_of_other_times_and_severities(zhang: Seat):
    base = "/rules/whatif?occurred_at=2025-06-02T08:00&severity="
    assert ">06-02 13:00<" in zhang.get(f"{base}major").text
    general = text_of(zhang.get(f"{base}general").text)
    assert "06-04" in general
    assert "06-02 13:00" not in general
    ahead = zhang.get("/rules/whatif?occurred_at=2030-01-01T08:00&severity=major")
    assert ">2030-01-01 13:00<" in ahead.text
    bad = zhang.get("/rules/whatif?occurred_at=gestern&severity=major")
    assert bad.status_code == 422
    assert 'value="gestern"' in bad.text
    wrong = zhang.get("/rules/whatif?kind=opinion&severity=major")
    assert wrong.status_code == 422


def test_what_if_says_of_the_same_due_time_that_another_document_asks_it_and_names_documents(zhang: Seat):
    page = zhang.get("/rules/whatif?occurred_at=2025-06-02T08:00&severity=major").text
    assert page.count("另一文件的同一要求") == 1  # the conference: 国办发〔2016〕61号 and 80号 alike within 24 hours
    assert "另有更紧的时限，仅供对照" not in page
    untimed = re.findall(r"<li>(持续发布权威信息.*?)</li>", page)
    assert len(untimed) > 1
    assert len({text_of(line) for line in untimed}) == len(untimed)
    assert all("国办发" in line for line in untimed)


def test_policies_are_shown_step_by_step(zhang: Seat):
    listed = zhang.get("/rules/policies").text
    assert "/rules/policies/release-5h" in listed
    assert re.search(r'<td data-label="适用">权威信息发布 <code[^>]*>authoritative_release</code></td>', listed)
    assert all(
        name in listed for name in ("内部时钟 <code", "部门任务 <code", "工作日任务 <code", "其他文件明定的时限 <code")
    )
    page = text_of(zhang.get("/rules/policies/release-5h").text)
    assert "left_10m" in page
    assert "督查室、主要负责人" in page
    assert zhang.get("/rules/policies/none").status_code == 404


# -- an office's own policy --------------------------------------------------------------------------------------------

POLICY = (POLICIES_DIRECTORY / "release-5h.yaml").read_text("utf-8")
SOONER = POLICY.replace("value: 0.5", "value: 0.4").replace("5小时权威信息发布", "本单位五小时发布")


def own(house: House) -> dict[str, bool]:
    return {row["id"]: row["own"] for row in policies.list_policies(house.services)}


def test_a_policy_is_checked_first_then_taken_in_and_given_up_again(boss: Seat, house: House):
    assert "/rules/policies/upload" in boss.get("/rules/policies").text
    looked = boss.post("/rules/policies/upload", {"policy_text": SOONER, "do": "check"})
    assert looked.status_code == 200
    words = text_of(looked.text)
    assert "检查通过" in words
    assert "采用后替换在用方案" in words
    assert "时限过去 40%" in words
    assert own(house)["release-5h"] is False

    done = boss.post("/rules/policies/upload", files={"policy": ("own.yaml", SOONER.encode())}, data={"do": "import"})
    assert (done.status_code, done.headers["location"]) == (303, "/rules/policies/release-5h")
    page = boss.get("/rules/policies/release-5h").text
    assert "本单位五小时发布" in page
    assert "本单位自备" in page
    assert boss.post("/rules/policies/release-5h/reset").status_code == 303
    assert own(house)["release-5h"] is False
    assert "时限过去 50%" in boss.get("/rules/policies/release-5h").text
    again = boss.post("/rules/policies/release-5h/reset")
    assert again.status_code == 409
    assert "不是本单位自备的方案" in again.text


def test_a_bad_policy_is_named_by_line_and_key_and_nothing_of_it_is_kept(boss: Seat, house: House):
    bad = SOONER.replace("to: [duty_officer, liaison, handler]", "to: [nobody]").replace("hourly: 6", "hourly: 99")
    page = boss.post("/rules/policies/upload", {"policy_text": bad, "do": "import"})
    assert page.status_code == 422
    words = text_of(page.text)
    assert "未采用任何内容" in words
    assert "hourly" in words
    line = next(number for number, text in enumerate(bad.splitlines(), 1) if "hourly" in text)
    assert f'<td data-label="行" class="num">{line}</td>' in page.text
    assert "本单位五小时发布" in page.text  # the text stays in the form
    assert own(house)["release-5h"] is False


def test_a_policy_for_a_rule_that_has_one_is_refused_at_the_check_already(boss: Seat):
    page = boss.post("/rules/policies/upload", {"policy_text": SOONER.replace("id: release-5h", "id: mine")})
    assert page.status_code == 409
    assert "同一规则只能有一个方案" in page.text


def test_policies_are_the_whole_houses_and_not_for_who_only_looks(zhang: Seat, house: House, client: TestClient):
    assert "/rules/policies/upload" not in zhang.get("/rules/policies").text
    assert zhang.post("/rules/policies/upload", {"policy_text": SOONER, "do": "import"}).status_code == 403
    people.add_person(house.services, OPERATOR, "unten", name="水务管理员", unit_id="water")
    roster_admin.grant_access(house.services, OPERATOR, "unten", "administrator", "water")
    below = take_seat(house.services, client, "unten")
    refused = below.post("/rules/policies/upload", {"policy_text": SOONER, "do": "import"})
    assert refused.status_code == 403
    assert "此项影响全部单位" in refused.text
    assert own(house)["release-5h"] is False


# -- working days ------------------------------------------------------------------------------------------------------


def test_working_days_are_counted_on_the_calendar_page(zhang: Seat):
    page = zhang.get("/rules/calendar?from=2025-06-02&add=3")
    assert page.status_code == 200
    words = text_of(page.text)
    assert "截止 2025-06-05 24:00" in words
    assert "依据日历" in words
    assert "暂定：所需年份" not in words
    assert "暂定：所需年份" in text_of(zhang.get("/rules/calendar?from=2033-06-02&add=3").text)


@pytest.mark.parametrize(
    "asked", ["from=&add=3", "from=2025-06-02&add=", "from=gestern&add=3", "from=2025-06-02&add=2000"]
)
def test_a_question_that_cannot_be_answered_is_said_beside_the_field(zhang: Seat, asked: str):
    page = zhang.get(f"/rules/calendar?{asked}")
    assert page.status_code == 422
    assert 'aria-invalid="true"' in page.text


def test_who_imported_a_calendar_is_said_in_words(zhang: Seat):
    assert '系统自带 <code class="small muted">system:sync</code>' in zhang.get("/rules/calendar").text
