"""The seven packs as they are shipped: figures, status, anchors, bodies and which of them bind whom."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta

import pytest

from config.loader import load_packs
from huiying.domain.kinds import Kind, LimitStatus, Severity
from huiying.domain.rules import RulePack, packs_in_force
from huiying.domain.rules_codec import pack_from_dict, pack_to_dict, pack_version

PACKS = {pack.id: pack for pack in load_packs().packs}
ALL = tuple(PACKS.values())
DAQING, LIUPANSHUI, GUIYANG = "230600", "520200", "520100"
GY_PACK = "cn-520100-guiyang-eco-2017"


def figures(pack: RulePack, kind: Kind, severity: Severity | None) -> dict[str, int]:
    return {
        clock.rule_id: int(clock.limit.total_seconds() // 3600)
        for clock in pack.clocks
        if clock.limit is not None and clock.applies_to.covers(kind, severity, "monitoring")
    }


def ids(region: str, day: date, org: str = "") -> list[str]:
    return [pack.id for pack in packs_in_force(ALL, region, org, day)]


def test_all_seven_packs_load_without_a_finding():
    assert load_packs().findings == ()
    assert set(PACKS) == {
        "cn-520200-liupanshui-2017",
        "cn-230600-daqing-2016",
        "cn-530600-zhaotong-2017",
        "cn-520100-guiyang-eco-2017",
        "cn-321300-suqian-2017",
        "cn-gbf-2016-61",
        "cn-gbf-2016-80",
    }


@pytest.mark.parametrize("severity", [Severity.EXTRA_MAJOR, Severity.MAJOR])
@pytest.mark.parametrize(
    ("pack_id", "expected"),
    [
        ("cn-520200-liupanshui-2017", {"authoritative_release": 5, "press_conference": 24}),
        ("cn-520100-guiyang-eco-2017", {"authoritative_release": 5, "press_conference": 24}),
        ("cn-321300-suqian-2017", {"authoritative_release": 5, "press_conference": 24}),
        ("cn-530600-zhaotong-2017", {"authoritative_release": 5, "press_conference": 24}),
        ("cn-230600-daqing-2016", {"press_conference": 24}),
        ("cn-gbf-2016-61", {"press_conference": 24}),
        ("cn-gbf-2016-80", {"authoritative_release": 5, "press_conference": 24}),
    ],
)
def test_clocks_of_a_grave_emergency(pack_id, expected, severity):
    assert figures(PACKS[pack_id], Kind.EMERGENCY, severity) == expected


@pytest.mark.parametrize("pack_id", sorted(PACKS))
@pytest.mark.parametrize(
    ("kind", "severity"),
    [(Kind.OPINION, None), (Kind.EMERGENCY, Severity.CONSIDERABLE), (Kind.EMERGENCY, Severity.GENERAL)],
)
def test_everything_else_has_the_48_hours_where_the_document_has_them(pack_id, kind, severity):
    without = {"cn-230600-daqing-2016", "cn-gbf-2016-80"}
    expected = {} if pack_id in without else {"authoritative_response": 48}
    assert figures(PACKS[pack_id], kind, severity) == expected


def test_case_34_daqing_alone_has_a_24_hour_clock_for_major_and_none_for_general():
    daqing = PACKS["cn-230600-daqing-2016"]
    assert figures(daqing, Kind.EMERGENCY, Severity.MAJOR) == {"press_conference": 24}
    assert figures(daqing, Kind.EMERGENCY, Severity.GENERAL) == {}


def test_case_35_the_pack_is_chosen_by_the_day_of_the_incident():
    assert ids(DAQING, date(2016, 6, 26)) == []
    assert ids(DAQING, date(2016, 7, 1)) == ["cn-230600-daqing-2016"]
    assert ids(DAQING, date(2016, 7, 30)) == ["cn-gbf-2016-61", "cn-230600-daqing-2016"]
    assert ids(DAQING, date(2016, 11, 10)) == ["cn-gbf-2016-61", "cn-gbf-2016-80", "cn-230600-daqing-2016"]


def test_case_35_a_later_pack_does_not_change_the_one_an_earlier_incident_was_judged_by():
    daqing = PACKS["cn-230600-daqing-2016"]
    later = replace(daqing, id="cn-230600-daqing-2018", issued=date(2018, 5, 1), nominal_year=2018, version="another")
    ended = replace(daqing, effective_to=date(2018, 4, 30))
    both = (ended, later)
    assert packs_in_force(both, DAQING, "", date(2016, 7, 1)) == (ended,)
    assert packs_in_force(both, DAQING, "", date(2018, 5, 1)) == (later,)
    # What an incident froze is a value of its own and stays as it was.
    frozen = json.loads(json.dumps(pack_to_dict(daqing)))
    assert pack_from_dict(frozen) == daqing


def test_case_36_the_48_hours_of_zhaotong_are_by_reference_and_not_counted_as_stipulated():
    clocks = {clock.rule_id: clock for clock in PACKS["cn-530600-zhaotong-2017"].clocks}
    assert clocks["authoritative_response"].status is LimitStatus.BY_REFERENCE
    assert clocks["authoritative_response"].limit == timedelta(hours=48)
    stipulated = [c for pack in ALL for c in pack.clocks if c.status is LimitStatus.STIPULATED and pack.source_file]
    assert len(stipulated) == 12  # the incident clocks of the five documents, no more
    assert clocks["authoritative_response"] not in stipulated


def test_only_daqing_states_when_the_time_starts():
    stated = [
        (pack.id, clock.rule_id)
        for pack in ALL
        for clock in pack.clocks
        if clock.limit is not None and clock.anchor is not None and clock.anchor.stated
    ]
    assert stated == [("cn-230600-daqing-2016", "press_conference")]


def test_anchors_are_occurrence_for_the_grave_and_knowledge_for_the_rest():
    anchors = {(c.rule_id, c.anchor.field) for p in ALL for c in p.clocks if c.limit is not None and c.anchor}
    assert anchors == {
        ("authoritative_release", "occurred_at"),
        ("press_conference", "occurred_at"),
        ("authoritative_response", "first_known_at"),
    }


def test_no_limit_is_called_statutory():
    assert all(clock.status is not LimitStatus.STATUTORY for pack in ALL for clock in pack.clocks)


def test_every_clock_carries_clause_quote_body_and_basis():
    for pack in ALL:
        for clock in pack.clocks:
            assert clock.clause
            assert clock.quote
            assert clock.responsible
            assert clock.anchor is None or clock.anchor.basis
            assert bool(clock.on_breach.measures) <= bool(clock.on_breach.basis)


def test_duties_without_a_figure_are_untimed_and_have_no_limit():
    untimed = {(pack.id, clock.rule_id) for pack in ALL for clock in pack.clocks if clock.status is LimitStatus.UNTIMED}
    assert untimed == {
        ("cn-230600-daqing-2016", "first_spokesperson"),
        ("cn-230600-daqing-2016", "prompt_intervention"),
        ("cn-530600-zhaotong-2017", "continuous_release"),
        ("cn-530600-zhaotong-2017", "leader_voice"),
        ("cn-530600-zhaotong-2017", "state_council_transfer"),
        ("cn-gbf-2016-61", "continuous_release"),
        ("cn-gbf-2016-80", "continuous_release"),
        ("cn-gbf-2016-80", "leader_voice"),
    }
    assert all(c.limit is None for p in ALL for c in p.clocks if c.status is LimitStatus.UNTIMED)


def test_a_transferred_notice_brings_its_own_due_time_or_none():
    clock = next(c for c in PACKS["cn-530600-zhaotong-2017"].clocks if c.rule_id == "state_council_transfer")
    assert (clock.limit, clock.limit_from) == (None, "notice.due_at")
    assert clock.applies_to.covers(Kind.OPINION, None, "state_council_transfer")
    assert not clock.applies_to.covers(Kind.OPINION, None, "monitoring")


def test_the_bureaus_pack_binds_the_bureau_and_not_its_city():
    assert GY_PACK not in ids(GUIYANG, date(2017, 8, 1))
    assert ids(GUIYANG, date(2017, 8, 1), org=GY_PACK) == ["cn-gbf-2016-61", "cn-gbf-2016-80", GY_PACK]


def test_a_prefectures_pack_binds_its_counties_and_nobody_elses():
    assert "cn-520200-liupanshui-2017" in ids("520221", date(2017, 3, 1))
    assert "cn-520200-liupanshui-2017" not in ids("520300", date(2017, 3, 1))


def test_a_yearly_document_stays_in_use_and_awaits_confirmation():
    pack = PACKS["cn-520200-liupanshui-2017"]
    assert pack.effective_from == date(2017, 1, 1)
    assert pack.in_force(date(2026, 1, 1))
    assert (pack.awaits_confirmation(date(2017, 12, 31)), pack.awaits_confirmation(date(2018, 1, 1))) == (False, True)
    assert not PACKS["cn-gbf-2016-61"].awaits_confirmation(date(2026, 1, 1))


def test_what_is_not_verified_in_the_national_packs_is_said():
    assert PACKS["cn-gbf-2016-61"].unverified
    assert PACKS["cn-gbf-2016-80"].unverified
    assert PACKS["cn-gbf-2016-61"].title_basis == "cited"


@pytest.mark.parametrize("pack", ALL, ids=lambda pack: pack.id)
def test_a_pack_survives_json_and_its_version_is_the_hash_of_its_content(pack: RulePack):
    assert pack_from_dict(json.loads(json.dumps(pack_to_dict(pack), ensure_ascii=False))) == pack
    again = pack_from_dict(json.loads(json.dumps(pack_to_dict(pack))))
    assert [item.parsed for item in again.obligations] == [item.parsed for item in pack.obligations]
    assert pack.version == pack_version(pack)
    assert len(pack.version) == 64


def test_the_version_changes_with_every_figure_and_not_with_a_comment(tmp_path):
    from config.loader import RULES_DIRECTORY, load_pack

    text = (RULES_DIRECTORY / "cn-gbf-2016-80.yaml").read_text(encoding="utf-8")
    path = tmp_path / "pack.yaml"
    path.write_text("# another comment\n" + text, encoding="utf-8")
    assert load_pack(path).version == PACKS["cn-gbf-2016-80"].version
    path.write_text(text.replace("PT5H", "PT4H"), encoding="utf-8")
    assert load_pack(path).version != PACKS["cn-gbf-2016-80"].version


def test_responsible_bodies_that_are_only_inferred_say_so():
    inferred = {pack.id for pack in ALL for clock in pack.clocks if not clock.responsible_stated}
    assert inferred == {"cn-321300-suqian-2017"}
