"""Whatever is done to a pack: no crash, and either a whole pack without findings or findings and no pack."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from config.calendar_loader import CALENDARS_DIRECTORY, parse_calendar_file
from config.loader import RULES_DIRECTORY, parse_pack
from config.policy_loader import POLICIES_DIRECTORY, parse_policy
from huiying.domain.rules_codec import pack_from_dict, pack_to_dict

PACKS = {path.stem: path.read_bytes() for path in sorted(RULES_DIRECTORY.glob("*.yaml"))}
OTHER_FILES = [
    path.read_bytes()
    for folder in (POLICIES_DIRECTORY, CALENDARS_DIRECTORY)
    for path in sorted(folder.glob("*.yaml"))[:7]
]

#: What a value is replaced by: every type, and the values that break careless readers.
STRANGERS: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    0.5,
    "",
    " ",
    "\u0000x",
    "x" * 5_000,
    [],
    {},
    ["x", 1, None],
    {"x": {"y": []}},
)


def whole_or_nothing(data: bytes) -> None:
    pack, findings = parse_pack("pack.yaml", data)
    assert (pack is None) == bool(findings)
    assert all(finding.line >= 1 and finding.message_zh for finding in findings)
    if pack is not None:
        assert pack_from_dict(pack_to_dict(pack)) == pack


def dump(content: Any) -> bytes:
    # The C dumper is some ten times faster, and there are thousands of mutants.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(content, Dumper=dumper, allow_unicode=True).encode("utf-8", "surrogatepass")


def paths(node: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a document."""
    children = list(node.items()) if isinstance(node, dict) else []
    if isinstance(node, list):
        children = list(enumerate(node))
    for key, child in children:
        yield (*before, key)
        yield from paths(child, (*before, key))


def parent_of(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def mutants(name: str) -> list[tuple[str, bytes]]:
    """Every value of a pack once removed and once replaced by each stranger, and a strange key in every mapping."""
    tree = yaml.safe_load(PACKS[name])
    tree["obligations"] = tree["obligations"][:3]
    made = []
    for turn, path in enumerate(list(paths(tree))):
        label = ".".join(map(str, path))
        without = copy.deepcopy(tree)
        del parent_of(without, path)[path[-1]]
        made.append((f"{label} removed", without))
        # Each value meets a third of the strangers, in turn: together they have met them all many times.
        for number, stranger in list(enumerate(STRANGERS))[turn % 3 :: 3]:
            changed = copy.deepcopy(tree)
            parent_of(changed, path)[path[-1]] = stranger
            made.append((f"{label} <- stranger {number}", changed))
        if isinstance(path[-1], str):
            extended = copy.deepcopy(tree)
            parent_of(extended, path)[path[-1] + "_"] = "x"
            made.append((f"{label} misspelt beside", extended))
    return [(label, dump(content)) for label, content in made]


@pytest.mark.parametrize("name", ["cn-gbf-2016-80", "cn-230600-daqing-2016"])
def test_every_structural_mutant_is_whole_or_nothing(name):
    made = mutants(name)
    assert len(made) >= 60
    for label, data in made:
        try:
            whole_or_nothing(data)
        except Exception as error:
            raise AssertionError(label) from error


def test_a_misspelt_key_beside_any_key_refuses_the_pack():
    for label, data in mutants("cn-gbf-2016-61"):
        if label.endswith("misspelt beside"):
            assert parse_pack("pack.yaml", data)[0] is None, label


@given(st.sampled_from(sorted(PACKS)), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_are_whole_or_nothing(name, data):
    original = PACKS[name]
    at = data.draw(st.integers(0, len(original)))
    cut = data.draw(st.integers(0, 40))
    put = data.draw(
        st.one_of(
            st.binary(max_size=12), st.sampled_from([b"\n", b"  ", b": ", b"- ", b"&a ", b"*a", b"[", b"}", b"|\n"])
        )
    )
    whole_or_nothing(original[:at] + put + original[at + cut :])


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_at_all_are_answered_with_findings(data):
    assert parse_pack("pack.yaml", data)[0] is None
    assert parse_policy("policy.yaml", data)[0] is None
    assert parse_calendar_file("calendar", data).years == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(sorted(yaml.safe_load(PACKS["cn-gbf-2016-80"]))), JSON))
@settings(max_examples=150, deadline=None)
def test_the_right_keys_with_any_content_are_whole_or_nothing(content):
    whole_or_nothing(dump(content))


@given(st.sampled_from(OTHER_FILES), st.integers(0, 4_000), st.binary(max_size=8), st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_damaged_policies_and_calendars_are_whole_or_nothing(original, at, put, cut):
    damaged = original[:at] + put + original[at + cut :]
    policy, findings = parse_policy("policy.yaml", damaged)
    assert (policy is None) == bool(findings)
    parsed = parse_calendar_file("calendar.yaml", damaged)
    assert (parsed.years == ()) == bool(parsed.findings)
