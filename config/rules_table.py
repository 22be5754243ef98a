"""Write ``docs/rules.md`` from the packs and policies in ``config``: ``python -m config.rules_table``.

A test compares the committed file with what this module would write, so the table cannot grow old.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from config.loader import COMPUTED_KINDS, load_packs
from config.policy_loader import load_policies
from huiying.domain.iso_duration import format_duration
from huiying.domain.policy import Policy, Step
from huiying.domain.rules import CONTENT_RULES, MEASURES, Applicability, ClockRule, RulePack, Selector

RULES_DOCUMENT = Path(__file__).parents[1] / "docs" / "rules.md"

INTRODUCTION = """\
# Rules

<!-- Written by `python -m config.rules_table`; edit config/rules or config/rules_table.py, not this file. -->

Every clock and every other time rule that Huiying knows, from clause to rule id. The packs lie in `config/rules/`, the
escalation policies in `config/policies/`; `huiying rules lint FILE…` explains what is wrong with a file, and nothing of
a bad file is ever loaded. What the documents leave open, and what we chose, stands in [readings.md](readings.md).

Status of a limit: `statutory` law or regulation · `stipulated` the document's own figure · `by_reference` taken from a
document it refers to · `internal` a house target · `untimed` a duty without a figure: shown, never a clock.
Anchor: **stated** where the document says when the time starts, *reading* where the start is ours.
"""

FORMAT = """\
## Format of a pack (schema 1)

UTF-8 YAML, at most 512 KB, without anchors, aliases, tags or a second document. Text that looks like a number needs
quotes (`clause: '68'`). Unknown keys are refused: a misspelt key would silently lose a rule.

| key | content |
|---|---|
| `schema` | 1 |
| `id` | lower-case letters, digits, hyphens; unique over all files |
| `title`, `title_basis` | `verbatim`, `inferred` or `cited` |
| `issuer`, `doc_no.number`, `doc_no.basis` | basis `verbatim`, `restored`, `inferred`, `cited`; `unknown` without a number |
| `jurisdiction` | `code` (six digits; national `'000000'`), `name`, `level` (`national`, `province`, `prefecture`, `county`, `department`) |
| `effective` | `issued`, `published`, `to`, `nominal_year`, `yearly`, `basis`; in force from `issued`, else `published`, else 1 January of the nominal year |
| `source` | `file`, `sha256` of the source document, `truncated` |
| `stages` | the document's own stages, in order |
| `policy` | what happens where the document is silent; `basis` is `our_reading` or `stated` |
| `unverified` | sentences on what has not been confirmed |
| `incident_clocks[]` | `id`, `name`, `status`, `clause`, `quote`, `applies_to`, `anchor`, `limit` (`PT5H`), `limit_from`, `repeats`, `responsible`, `satisfied_by`, `satisfied_basis`, `content_rules`, `on_breach`, `rows`, `escalation`, `note` |
| `applies_to` | `kind`, `severity`, `source`, or `except` with the same keys and a `basis` |
| `anchor` | `field`, `stated`, `basis` |
| `responsible` | `body`, `stated` |
| `on_breach` | `measures`, `basis`; a person decides, never the system |
| `obligations[]` | `id`, `clause`, `kind`, `quote`, `anchor`, `limit`, `unit`, `who`, `done` as in the document; `parsed` carries the machine's values |

`parsed` by kind: `recurring` `every` (list), `times`, `by`, `after` · `fixed_date` `date` · `yearly_date` `date` (MM-DD) ·
`window` `from`, `to` · `quota` `at_least`, `per`, `weeks_without_workdays` · `workdays` `n`, `anchor`, `anchor_date`,
`first_day_counts`, `all_of`; each with an optional `note`.
"""


def render(packs: Iterable[RulePack], policies: Iterable[Policy]) -> str:
    """The whole document."""
    parts = [INTRODUCTION]
    parts += [_pack(pack) for pack in packs]
    parts += ["## Escalation policies\n", *(_policy(policy) for policy in policies), FORMAT]
    return "\n".join(parts)


def _pack(pack: RulePack) -> str:
    lines = [f"## {pack.id}", "", f"{pack.title} · {pack.issuer} · {pack.doc_no or '文号不详'} · {_effect(pack)}", ""]
    lines += ["| clause | rule id | status | limit | starts at | applies to | satisfied by | rows |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [_clock(clock) for clock in pack.clocks]
    lines += ["", *_consequences(pack.clocks)]
    if pack.obligations:
        lines += ["", "| clause | row | kind | limit | machine's value |", "|---|---|---|---|---|"]
        lines += [
            f"| {item.clause} | {item.id} | {item.kind} | {_cell(item.limit)} | {_parsed(item.parsed, item.kind)} |"
            for item in pack.obligations
        ]
    lines += ["", *(f"- unverified: {sentence}" for sentence in pack.unverified)]
    return "\n".join(lines).rstrip() + "\n"


def _effect(pack: RulePack) -> str:
    until = f" to {pack.effective_to}" if pack.effective_to else ""
    return f"in force from {pack.effective_from}{until}" + (", yearly" if pack.yearly else "")


def _clock(clock: ClockRule) -> str:
    limit = clock.limit_from if clock.limit is None else format_duration(clock.limit)
    anchor = "—"
    if clock.anchor is not None:
        anchor = f"`{clock.anchor.field}` " + ("**stated**" if clock.anchor.stated else "*reading*")
    cells = [
        clock.clause,
        f"`{clock.rule_id}` {clock.name}",
        clock.status.value,
        limit or "—",
        anchor,
        _applies(clock.applies_to),
        ", ".join(clock.satisfied_by) or "—",
        ", ".join(clock.rows) or "—",
    ]
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _applies(applies: Applicability) -> str:
    return _selector(applies.include) if applies.exclude is None else f"all but {_selector(applies.exclude)}"


def _selector(selector: Selector) -> str:
    levels = sorted(selector.severity, key=lambda level: -level.rank)
    words = [selector.kind.value if selector.kind else "", *(level.value for level in levels), selector.source or ""]
    return " ".join(word for word in words if word)


def _consequences(clocks: Iterable[ClockRule]) -> list[str]:
    """Quotes, content rules and consequences, which would make the table too wide."""
    lines = []
    for clock in clocks:
        words = [f"“{clock.quote}”", f"责任：{clock.responsible}{'' if clock.responsible_stated else '(推断)'}"]
        words += (
            ["内容：" + ";".join(CONTENT_RULES[rule] for rule in clock.content_rules)] if clock.content_rules else []
        )
        measures = "、".join(MEASURES[name] for name in clock.on_breach.measures)
        words += [f"后果：{measures}"] if measures else []
        words += [clock.note] if clock.note else []
        lines.append(f"- `{clock.rule_id}` " + " · ".join(words))
    return lines


def _parsed(parsed: dict[str, object], kind: str) -> str:
    if kind not in COMPUTED_KINDS:
        return "—"
    shown = {name: value for name, value in parsed.items() if name != "note"}
    return _cell("; ".join(f"{name} {_value(value)}" for name, value in shown.items()))


def _value(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _policy(policy: Policy) -> str:
    lines = [f"### {policy.id} ({', '.join(policy.applies)})", ""]
    lines += [f"- {_moment(step)}: {_names(step)}" for step in policy.steps]
    lines += [
        f"- N{f'−{step.days_before}' if step.days_before else ''} {step.at:%H:%M}: {', '.join(role.value for role in step.to)}"
        for step in policy.workday_steps
    ]
    if policy.after_breach_daily_at:
        times = ", ".join(f"{at:%H:%M}" for at in policy.after_breach_daily_at)
        lines += [f"- overdue: hourly {policy.after_breach_hourly} times, then daily at {times}"]
    return "\n".join([*lines, ""])


def _moment(step: Step) -> str:
    value = format_duration(step.value) if isinstance(step.value, timedelta) and step.value else step.value
    if step.trigger == "share" and isinstance(value, float):
        return f"{value:.0%}"
    return f"{step.trigger} {value}" if value else step.trigger


def _names(step: Step) -> str:
    condition = f", unless `{step.of or step.id}` is acknowledged" if step.when == "unacknowledged" else ""
    audience = ", ".join(kind.value for kind in step.audience)
    return f"{', '.join(role.value for role in step.to)} by {audience}{condition}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the document from what lies in ``config``; nothing is written while a file there is bad."""
    packs, policies = load_packs(), load_policies()
    for finding in (*packs.findings, *policies.findings):
        sys.stderr.write(f"{finding}\n")
    if packs.findings or policies.findings:
        return 1
    RULES_DOCUMENT.write_text(render(packs.packs, policies.policies), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
