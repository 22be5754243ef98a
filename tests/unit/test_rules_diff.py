"""Two versions of a pack side by side: every change is shown once, in words, and nothing else is."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from huiying.domain.rules_codec import pack_to_dict
from huiying.domain.rules_diff import Difference, diff_packs
from huiying.domain.rules_words import field_words, limit_words, value_words
from tests.builders import all_packs, pack

OLD = pack_to_dict(pack("cn-520200-liupanshui-2017"))


def changed(**head: Any) -> dict[str, Any]:
    return {**copy.deepcopy(OLD), **head}


def rows(found: tuple[Difference, ...]) -> set[tuple[str, str, str, str, str]]:
    return {(d.change, d.key, f.field, f.before, f.after) for d in found for f in d.fields}


@pytest.mark.parametrize("pack_id", sorted(all_packs()))
def test_a_pack_does_not_differ_from_itself_nor_from_its_json(pack_id: str):
    written = pack_to_dict(pack(pack_id))
    assert diff_packs(written, json.loads(json.dumps(written))) == ()


def test_the_version_alone_is_no_difference():
    assert diff_packs(OLD, changed(version="0" * 64)) == ()


def test_a_changed_limit_and_title_are_shown_in_words_and_nothing_else():
    new = changed(title="新名称")
    clock = next(clock for clock in new["clocks"] if clock["limit"] == "PT5H")
    clock["limit"] = "PT4H30M"
    found = rows(diff_packs(OLD, new))
    assert found == {
        ("changed", "", "title", OLD["title"], "新名称"),
        ("changed", clock["rule_id"], "limit", "5 小时", "4 小时 30 分"),
    }


def test_nested_fields_have_their_path_and_name():
    new = changed()
    clock = next(clock for clock in new["clocks"] if clock["anchor"])
    clock["anchor"]["stated"] = not clock["anchor"]["stated"]
    clock["anchor"]["field"] = "notified_at"
    (difference,) = diff_packs(OLD, new)
    assert {f.field: (f.field_zh, f.after) for f in difference.fields} == {
        "anchor.stated": ("起算点为原文写明", "是" if clock["anchor"]["stated"] else "否"),
        "anchor.field": ("起算点", "接报时间"),
    }


def test_a_new_and_a_lost_clock_are_shown_whole():
    new = changed()
    gone = new["clocks"].pop(0)
    added = {**copy.deepcopy(gone), "rule_id": "first_report", "name": "首报"}
    new["clocks"].append(added)
    found = {d.key: d for d in diff_packs(OLD, new)}
    assert {key: d.change for key, d in found.items()} == {"first_report": "added", gone["rule_id"]: "removed"}
    assert found["first_report"].name == "首报"
    assert all(f.before == "" and f.after for f in found["first_report"].fields)
    assert all(f.after == "" and f.before for f in found[gone["rule_id"]].fields)
    assert {f.field for f in found[gone["rule_id"]].fields} >= {"quote", "clause", "status"}


def test_two_clocks_of_one_rule_do_not_hide_each_other():
    old, new = changed(), changed()
    for written in (old, new):
        written["clocks"].append(copy.deepcopy(written["clocks"][0]))
    new["clocks"][-1]["clause"] = "第九条"
    (difference,) = diff_packs(old, new)
    assert difference.key.endswith("#2")
    assert [(f.field, f.after) for f in difference.fields] == [("clause", "第九条")]


def test_a_diff_backwards_exchanges_the_columns():
    new = changed(issuer="另一机关")
    new["obligations"] = new["obligations"][1:]
    there, back = rows(diff_packs(OLD, new)), rows(diff_packs(new, OLD))
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {(turned[c], key, field, after, before) for c, key, field, before, after in there} == back


def test_every_field_of_the_shipped_packs_has_a_chinese_name_and_readable_values():
    for written in map(pack_to_dict, all_packs().values()):
        empty = {**written, "clocks": [], "obligations": []}
        for difference in diff_packs(empty, written):
            for field in difference.fields:
                if not field.field.startswith("parsed."):
                    assert field.field_zh != field.field, field.field
                    assert "None" not in field.after


def test_words_of_limits_and_values():
    assert limit_words("PT5H") == "5 小时"
    assert limit_words("PT90M") == "1 小时 30 分"
    assert limit_words("bald") == "bald"
    assert value_words("satisfied_by", ["press_conference", "unknown_word"]) == "新闻发布会、unknown_word"
    assert value_words("repeats", value=False) == "否"
    assert value_words("kind", "quota", duty=True) == "定量"
    assert value_words("issued", None) == ""
    assert field_words("never.heard") == "never.heard"
