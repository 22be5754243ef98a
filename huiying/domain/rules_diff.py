"""What differs between two versions of a rule pack, field by field, for two columns side by side.

Works on packs as ``rules_codec.pack_to_dict`` writes them, so that versions of any age can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from huiying.domain.rules_words import field_words, value_words

Part = Literal["pack", "clock", "obligation"]
Change = Literal["added", "removed", "changed"]

#: Says nothing by itself: the version is the hash of all the rest, and a row's pack is the pack.
_SILENT = frozenset({"version", "id", "pack_id", "rule_id"})
_LISTS: tuple[tuple[str, Part, str], ...] = (("clocks", "clock", "rule_id"), ("obligations", "obligation", "id"))


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field before and after; an empty side was not there."""

    field: str
    field_zh: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One clock, duty or the pack's head with everything that changed in it; ``name`` is what the newer one is called."""

    part: Part
    key: str
    name: str
    change: Change
    fields: tuple[FieldChange, ...]


def diff_packs(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """All differences: the head first, then clocks and duties in the order of the newer pack, what is gone at the end."""
    head = _fields(_head(before), _head(after), duty=False)
    found = [Difference("pack", "", str(after["title"]), "changed", head)] if head else []
    for name, part, key in _LISTS:
        found += _items(part, _by_key(before[name], key), _by_key(after[name], key))
    return tuple(found)


def _head(pack: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in pack.items() if name not in {"clocks", "obligations"}}


def _by_key(items: list[Mapping[str, Any]], key: str) -> dict[str, Mapping[str, Any]]:
    """Items by their id; a second clock of the same rule (another clause) gets a number."""
    found: dict[str, Mapping[str, Any]] = {}
    for item in items:
        name, number = str(item[key]), 1
        while name in found:
            number += 1
            name = f"{item[key]}#{number}"
        found[name] = item
    return found


def _items(
    part: Part, before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> Iterator[Difference]:
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key), after.get(key)
        fields = _fields(old or {}, new or {}, duty=part == "obligation")
        change: Change = "added" if old is None else "removed" if new is None else "changed"
        if fields or change != "changed":
            item = new or old or {}
            yield Difference(part, key, str(item.get("name") or item.get("quote") or key), change, fields)


def _fields(before: Mapping[str, Any], after: Mapping[str, Any], *, duty: bool) -> tuple[FieldChange, ...]:
    old, new = dict(_flat(before)), dict(_flat(after))
    paths = [*new, *(path for path in old if path not in new)]
    changes = (
        FieldChange(
            path,
            field_words(path),
            value_words(path, old.get(path), duty=duty),
            value_words(path, new.get(path), duty=duty),
        )
        for path in paths
        if old.get(path) != new.get(path)
    )
    # An empty list and a missing one, or false that was not written, look alike: nothing to show.
    return tuple(change for change in changes if change.before != change.after)


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        path = f"{above}{name}"
        if path in _SILENT:
            continue
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{path}.")
        else:
            yield path, inner
