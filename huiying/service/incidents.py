"""The use cases of an incident under one roof: every command a face may call, and nothing else.

Importing this module registers all commands, so that a pending request can be carried out by name.
"""

from __future__ import annotations

from huiying.service.acknowledging import acknowledge
from huiying.service.assigning import (
    add_task,
    add_transfer,
    confirm_attribution,
    enter_stage,
    reassign,
    replan,
    set_continuous,
    task_done,
    transfer_feedback,
)
from huiying.service.changes import approve, in_scope, reject
from huiying.service.correcting import correct, update_details
from huiying.service.ending import close, hand_over, reopen, void, waive
from huiying.service.grading import grade
from huiying.service.merging import merge, unmerge
from huiying.service.publications import record_release, review
from huiying.service.registering import register

__all__ = [
    "acknowledge",
    "add_task",
    "add_transfer",
    "approve",
    "close",
    "confirm_attribution",
    "correct",
    "enter_stage",
    "grade",
    "hand_over",
    "in_scope",
    "merge",
    "reassign",
    "record_release",
    "register",
    "reject",
    "reopen",
    "replan",
    "review",
    "set_continuous",
    "task_done",
    "transfer_feedback",
    "unmerge",
    "update_details",
    "void",
    "waive",
]
