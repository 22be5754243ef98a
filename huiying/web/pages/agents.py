"""What a browser calls itself, in words a person recognises: "Chrome 88 · Windows"."""

from __future__ import annotations

import re

#: The order decides: Edge also calls itself Chrome, Chrome also calls itself Safari.
_BROWSERS = (
    ("DingTalk", r"DingTalk/([\d]+)"),
    ("WeCom", r"wxwork/([\d]+)"),
    ("WeChat", r"MicroMessenger/([\d]+)"),
    ("Edge", r"Edg[A-Z]*/([\d]+)"),
    ("Opera", r"OPR/([\d]+)"),
    ("Firefox", r"Firefox/([\d]+)"),
    ("Chrome", r"(?:Chrome|HeadlessChrome|Chromium)/([\d]+)"),
    ("Safari", r"Version/([\d]+)[\d.]* (?:Mobile/\S+ )?Safari"),
)
_SYSTEMS = (
    ("HarmonyOS", r"HarmonyOS|OpenHarmony"),
    ("Android", r"Android"),
    ("iOS", r"iPhone|iPad"),
    ("Windows", r"Windows"),
    ("UOS", r"UOS"),
    ("macOS", r"Mac OS X"),
    ("Linux", r"Linux"),
)
_LONGEST = 60


def short_agent(agent: str) -> str:
    """Browser and system; the beginning of what was sent where neither is known."""
    browser = next((f"{name} {found[1]}" for name, form in _BROWSERS if (found := re.search(form, agent))), "")
    system = next((name for name, form in _SYSTEMS if re.search(form, agent)), "")
    return " · ".join(part for part in (browser, system) if part) or agent[:_LONGEST]
