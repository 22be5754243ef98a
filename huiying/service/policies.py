"""Escalation policies in use: list, show, take in an office's own, go back to the one that came with the product.

A new policy holds for clocks that start from now on; running ones keep theirs until somebody replans them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from config.document import Finding
from config.policy_loader import POLICIES_DIRECTORY, lint_together, load_policies, parse_policy
from huiying.domain.access import Permission
from huiying.domain.duration import words_laid_down
from huiying.domain.errors import BadRulePack, NotFound, Refused
from huiying.domain.policy import INTERNAL, OTHER, TASK, WORKDAYS, Policy, Step, policy_to_dict
from huiying.domain.sentences import listed, said, term
from huiying.service.actor import Actor
from huiying.service.rulebook import current_packs, current_policies
from huiying.service.scope import require_house
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx

#: Setting: the office's own policies by id; they are put back whenever shipped files are taken in.
OWN = "own_policies"
#: What a policy can apply to besides the rules of packs.
BESIDES_ZH = {INTERNAL: "内部时钟", TASK: "部门任务", WORKDAYS: "工作日任务", OTHER: "其他文件明定的时限"}


def list_policies(services: Services) -> list[dict[str, Any]]:
    """Every policy in its present version."""
    with services.store.reading() as tx:
        own, names = own_policies(tx), _rule_names(tx)
        return [_summary(policy, own, names) for policy in current_policies(tx)]


def show_policy(services: Services, policy_id: str) -> dict[str, Any]:
    """One policy with its steps in words."""
    with services.store.reading() as tx:
        policy = _find(tx, policy_id)
        return {
            **_summary(policy, own_policies(tx), _rule_names(tx)),
            "steps": [_step_view(step) for step in policy.steps],
        } | {
            "basis": policy.basis,
            "after_breach": _after_breach(policy),
            "content": policy_to_dict(policy),
        }


def _find(tx: Tx, policy_id: str) -> Policy:
    for policy in current_policies(tx):
        if policy.id == policy_id:
            return policy
    raise NotFound(said("没有名为「%(policy_id)s」的升级提醒方案。", policy_id=policy_id[:80]))


def _rule_names(tx: Tx) -> dict[str, str]:
    """The Chinese name of everything that a policy can apply to, by its word."""
    return {rule.rule_id: rule.name for pack in current_packs(tx) for rule in pack.clocks} | BESIDES_ZH


def _summary(policy: Policy, own: dict[str, str], names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": policy.id,
        "name": policy.name,
        "applies": list(policy.applies),
        "applies_zh": [names.get(word, word) for word in policy.applies],
        "hash": policy.hash,
        "own": policy.id in own,
    }


def _step_view(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "when": _moment(step),
        "to": [role.value for role in step.to],
        "to_zh": listed(step.to),
        "audience": [audience.value for audience in step.audience],
        "band_zh": step.band.zh,
        "only_unacknowledged": step.when == "unacknowledged",
        "repeats": step.repeat_times if step.repeat_every else 0,
    }


def _moment(step: Step) -> str:
    """When a step falls due, in words."""
    value = step.value
    if step.trigger == "start" or value is None:
        return said("登记时")
    if step.trigger == "share":
        return said("时限过去 %(share)s", share=f"{float(value):.0%}") if isinstance(value, int | float) else ""
    if isinstance(value, int | float):
        return ""
    span = words_laid_down(int(value.total_seconds()))
    if step.trigger == "left":
        return said("剩余 %(span)s", span=span)
    if step.trigger == "after":
        return said("起算后 %(span)s", span=span)
    return said("超时后 %(span)s", span=span) if value else said("超时时")


def _after_breach(policy: Policy) -> str:
    daily = listed(f"{at:%H:%M}" for at in policy.after_breach_daily_at)
    hourly = said("每小时一次，共 %(count)s 次", count=policy.after_breach_hourly) if policy.after_breach_hourly else ""
    return listed([part for part in (hourly, said("此后每日 %(times)s", times=daily) if daily else "") if part], "；")


def import_policy(services: Services, actor: Actor, data: bytes, name: str) -> dict[str, Any]:
    """Take in an office's own policy, or refuse it whole with line and reason."""
    actor.require(Permission.RULES)
    policy, findings = parse_policy(name, data)
    if policy is None:
        raise BadRulePack(_refused(findings), findings=[finding.sentence for finding in findings])
    with services.store.transaction(actor.id) as tx:
        require_house(tx, actor)
        warnings = _admitted(tx, policy)
        _make_current(tx, policy)
        _keep_own(tx, {**own_policies(tx), policy.id: policy.hash})
        tx.audit("policy.imported", f"policy:{policy.id}", {"id": policy.id, "hash": policy.hash})
        return {**_summary(policy, {policy.id: policy.hash}, _rule_names(tx)), "warnings": warnings}


def check_policy(services: Services, data: bytes, name: str) -> dict[str, Any]:
    """Look at a policy that is not taken in yet: its faults, or its steps in words and what it would replace.

    What taking it in would be refused for is raised here, too.
    """
    policy, findings = parse_policy(name, data)
    if policy is None:
        return {"ok": False, "findings": [asdict(finding) for finding in findings]}
    with services.store.reading() as tx:
        warnings = _admitted(tx, policy)
        present = next((other for other in current_policies(tx) if other.id == policy.id), None)
    return {
        "ok": True,
        "findings": [],
        "id": policy.id,
        "name": policy.name,
        "hash": policy.hash,
        "basis": policy.basis,
        "steps": [_step_view(step) for step in policy.steps],
        "after_breach": _after_breach(policy),
        "new": present is None,
        "same": present is not None and present.hash == policy.hash,
        "warnings": warnings,
    }


def _admitted(tx: Tx, policy: Policy) -> list[str]:
    """What is remarkable beside the present packs and policies; refuses what would leave a clock with two or none."""
    others = [other for other in current_policies(tx) if other.id != policy.id]
    _refuse_clash(policy, others)
    warnings = lint_together([*others, policy], current_packs(tx))
    unserved = [sentence for sentence in warnings if "没有适用" in sentence]
    if unserved:
        raise Refused(said("采用后将有时钟没有提醒方案，未采用：%(finding)s", finding=term(unserved[0])))
    return warnings


def _refused(findings: tuple[Finding, ...]) -> str:
    return said(
        "督办方案未被采用，共 %(count)s 处问题：%(finding)s",
        count=len(findings),
        finding=findings[0].sentence if findings else "",
    )


def _refuse_clash(policy: Policy, others: list[Policy]) -> None:
    for other in others:
        shared = sorted(set(policy.applies) & set(other.applies))
        if shared:
            raise Refused(
                said(
                    "同一规则只能有一个方案：%(rules)s 已由 %(other)s 负责，未采用。如要替换，请沿用编号 %(other)s。",
                    rules=listed(shared),
                    other=other.id,
                )
            )


def reset_policy(services: Services, actor: Actor, policy_id: str) -> dict[str, Any]:
    """Go back to the policy that came with the product."""
    actor.require(Permission.RULES)
    shipped = {policy.id: policy for policy in load_policies(POLICIES_DIRECTORY).policies}
    with services.store.transaction(actor.id) as tx:
        require_house(tx, actor)
        own = own_policies(tx)
        if policy_id not in own:
            raise Refused(said("「%(policy_id)s」不是本单位自备的方案，未作改动。", policy_id=policy_id[:80]))
        if policy_id in shipped:
            _make_current(tx, shipped[policy_id])
        else:
            tx.run(t.policy.update().where(t.policy.c.id == policy_id).values(current=False))
        _keep_own(tx, {key: value for key, value in own.items() if key != policy_id})
        tx.audit("policy.reset", f"policy:{policy_id}", {"id": policy_id, "shipped": policy_id in shipped})
    return {"id": policy_id, "shipped": policy_id in shipped}


def restore_own(services: Services) -> None:
    """Put the office's own policies back in use after the shipped files were taken in."""
    with services.store.transaction("system:sync") as tx:
        for policy_id, digest in own_policies(tx).items():
            present = tx.value(sa.select(t.policy.c.hash).where(t.policy.c.id == policy_id, t.policy.c.current))
            if present == digest:
                continue
            tx.run(t.policy.update().where(t.policy.c.id == policy_id).values(current=t.policy.c.hash == digest))
            tx.audit("policy.kept", f"policy:{policy_id}", {"id": policy_id, "hash": digest})


def own_policies(tx: Tx) -> dict[str, str]:
    """The office's own policies: hash by id."""
    return dict(tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == OWN)) or {})


def _keep_own(tx: Tx, own: dict[str, str]) -> None:
    table = t.setting
    changed = tx.run(table.update().where(table.c.key == OWN).values(value=own, updated_at=tx.now)).rowcount
    if not changed:
        tx.run(table.insert().values(key=OWN, value=own, updated_at=tx.now))


def _make_current(tx: Tx, policy: Policy) -> None:
    table = t.policy
    tx.run(table.update().where(table.c.id == policy.id).values(current=False))
    if not tx.run(table.update().where(table.c.hash == policy.hash).values(current=True)).rowcount:
        values = {"hash": policy.hash, "id": policy.id, "body": policy_to_dict(policy), "loaded_at": tx.now}
        tx.run(table.insert().values(**values, current=True))
