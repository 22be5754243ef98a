"""Phone numbers and addresses as everybody may see them: enough to recognise, not enough to use."""

from __future__ import annotations

import re

_MASK = "****"


def mask_phone(number: str) -> str:
    """138****1234 for a mobile, 0858-****123 keeps the area code of a landline; short numbers are hidden whole."""
    text = number.strip()
    digits = sum(character.isdigit() for character in text)
    if not digits:
        return _MASK if text else ""
    if digits < 7:
        return _MASK
    if digits == 11 and text.isdigit() and text.startswith("1"):
        return f"{text[:3]}{_MASK}{text[-4:]}"
    match = re.fullmatch(r"(\+?\d{1,4}[- ])?(.+)", text, re.DOTALL)
    prefix, rest = (match.group(1) or "", match.group(2)) if match else ("", text)
    if len(rest) == 11 and rest.isdigit():
        return f"{prefix}{rest[:3]}{_MASK}{rest[-4:]}"
    return f"{prefix}{_MASK}{rest[-3:]}"


def mask_email(address: str) -> str:
    """z***@example.gov.cn: the domain tells the unit, the first letter tells colleagues apart."""
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return "***" if address.strip() else ""
    return f"{local[:1]}***@{domain}"
