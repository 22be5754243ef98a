"""docs/rules.md is generated; it must say what the packs say today."""

from __future__ import annotations

from config.loader import load_packs
from config.policy_loader import load_policies
from config.rules_table import RULES_DOCUMENT, render


def test_the_rules_table_is_current():
    written = RULES_DOCUMENT.read_text(encoding="utf-8")
    assert written == render(load_packs().packs, load_policies().policies), "run: python -m config.rules_table"


def test_the_table_names_every_clock_and_every_row():
    text = RULES_DOCUMENT.read_text(encoding="utf-8")
    for pack in load_packs().packs:
        assert f"## {pack.id}" in text
        for clock in pack.clocks:
            assert f"`{clock.rule_id}`" in text
        for item in pack.obligations:
            assert f"| {item.id} |" in text


def test_the_readings_are_linked_and_present():
    readings = (RULES_DOCUMENT.parent / "readings.md").read_text(encoding="utf-8")
    assert "readings.md" in RULES_DOCUMENT.read_text(encoding="utf-8")
    for subject in ("When a clock starts", "Working days", "Escalation", "What we have not verified"):
        assert subject in readings
