"""All tables. The database is the only truth: what is due, who holds it, what was sent.

Names: instants end in ``_at``; ``visible_at`` is the first moment at which anybody may claim a delivery.
Ids of people, units and channels are short texts chosen by the operator; incidents have a number ``no`` (2026-0001).
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from huiying.store.types import Instant, Json

#: Version of the schema; a process refuses to dispatch on a newer one.
SCHEMA_VERSION = 2

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Id = sa.BigInteger().with_variant(Integer, "sqlite")


def _bool(name: str, *, default: bool = False) -> Column[bool]:
    return Column(name, Boolean(), nullable=False, default=default, server_default=sa.true() if default else sa.false())


def _text(name: str, length: int = 0) -> Column[str]:
    return Column(name, String(length) if length else Text(), nullable=False, default="", server_default="")


def _int(name: str, default: int = 0) -> Column[int]:
    return Column(name, Integer, nullable=False, default=default, server_default=str(default))


# -- settings, counters, idempotency ---------------------------------------------------------------------------------
setting = Table(
    "setting",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Json),
    Column("updated_at", Instant, nullable=False),
)
counter = Table(
    "counter", metadata, Column("name", String(64), primary_key=True), Column("value", sa.BigInteger, nullable=False)
)
idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", String(80), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("answer", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# -- people, units, roster, channels -----------------------------------------------------------------------------------
unit = Table(
    "unit",
    metadata,
    Column("id", String(64), primary_key=True),
    _text("name", 200),
    Column("parent_id", ForeignKey("unit.id")),
    _text("region_code", 12),
    _text("kind", 32),
    _text("pack_id", 80),  # a department pack that binds this very body
    _bool("active", default=True),
)
person = Table(
    "person",
    metadata,
    Column("id", String(64), primary_key=True),
    _text("name", 80),
    Column("unit_id", ForeignKey("unit.id"), nullable=False),
    _text("mobile_sealed"),
    _text("email_sealed"),
    Column("im_sealed", Json, nullable=False, default=dict, server_default="{}"),  # channel id -> sealed user id
    _bool("active", default=True),
    Column("created_at", Instant, nullable=False),
)
duty = Table(  # standing duties; a shift of the same role and unit comes first
    "duty",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("role", String(32), nullable=False),
    Column("unit_id", ForeignKey("unit.id"), nullable=False),
    UniqueConstraint("person_id", "role", "unit_id"),
)
access = Table(  # who may do what (huiying.domain.access)
    "access",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("role", String(32), nullable=False),
    Column("unit_id", ForeignKey("unit.id"), nullable=False),
    UniqueConstraint("person_id", "role", "unit_id"),
)
shift = Table(
    "shift",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("unit_id", ForeignKey("unit.id"), nullable=False),
    Column("role", String(32), nullable=False),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("starts_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("cancelled_at", Instant),
    Index(None, "unit_id", "role", "ends_at"),
)
channel = Table(
    "channel",
    metadata,
    Column("id", String(64), primary_key=True),
    _text("name", 120),
    Column("kind", String(32), nullable=False),
    Column("audience", String(16), nullable=False),
    Column("unit_id", ForeignKey("unit.id")),  # serves this unit and those below it; null serves everybody
    Column("settings", Json, nullable=False, default=dict, server_default="{}"),
    Column("secrets_sealed", Json, nullable=False, default=dict, server_default="{}"),  # key -> sealed or reference
    _int("rank", 100),
    _bool("enabled", default=True),
    Column("parked_until", Instant),
    _text("parked_reason"),
    _int("failures"),  # consecutive, for the breaker
)
channel_send = Table(  # ledger of the sliding rate window, shared by every sender
    "channel_send",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("channel_id", ForeignKey("channel.id"), nullable=False),
    Column("sent_at", Instant, nullable=False),
    Index(None, "channel_id", "sent_at"),
)
token = Table(
    "token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    _text("name", 80),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
)
one_time_password = Table(
    "one_time_password",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    _int("failures"),
)

# -- signing in on the desk --------------------------------------------------------------------------------------------
account = Table(  # what a person signs in with; made at the first sign-in
    "account",
    metadata,
    Column("person_id", ForeignKey("person.id"), primary_key=True),
    _text("password_hash"),  # "": no password yet, only a one-time password opens
    _bool("must_change"),
    Column("changed_at", Instant),
    Column("history", Json, nullable=False, default=list, server_default="[]"),  # hashes, the present one first
    _text("totp_sealed"),
    Column("totp_since", Instant),  # null: the secret was shown and not yet confirmed
    Column("totp_step", sa.BigInteger, nullable=False, default=0, server_default="0"),  # the last step that was used
    _text("language", 8),
    Column("oidc_subject", String(200), unique=True),
    Column("last_login_at", Instant),
    _text("last_login_from", 64),
)
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("code_hash", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant),
    Index(None, "person_id"),
)
# "name:<hash of what was typed>", "desk:<session>", "client:<address>"; unknown names count like known ones.
login_failure = Table(
    "login_failure",
    metadata,
    Column("key", String(80), primary_key=True),
    Column("last_at", Instant, nullable=False),
    _int("failures"),
    Column("locked_until", Instant),
)
session = Table(
    "session",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("stage", String(16), nullable=False),
    _text("kind", 8),  # desk, wall
    Column("one_time_id", ForeignKey("one_time_password.id")),  # came in by this one-time password
    Column("token_id", ForeignKey("token.id")),  # a wall lives as long as its token
    _bool("second_done"),
    Column("opened_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("locked_at", Instant),
    _text("client", 64),
    _text("agent", 200),
    Column("previous_at", Instant),  # the sign-in before this one
    _text("previous_from", 64),
    Column("revoked_at", Instant),
    _text("revoked_by", 80),
    _text("browser_id", 32),  # the browser it was opened in, where that one is marked
    Index(None, "person_id", "revoked_at"),
)
device_mark = Table(  # browsers in which a person has signed in before; one secret for everybody who uses the browser
    "device_mark",
    metadata,
    Column("browser_id", String(32), primary_key=True),
    Column("person_id", ForeignKey("person.id"), primary_key=True),
    Column("secret_hash", String(64), nullable=False, index=True),
    _int("failures"),  # wrong answers since the last complete sign-in
    Column("used_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# -- rules, calendars, policies: frozen copies -------------------------------------------------------------------------
pack = Table(
    "pack",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("body", Json, nullable=False),
    Column("loaded_at", Instant, nullable=False),
    _bool("current", default=True),
)
pack_confirmation = Table(
    "pack_confirmation",
    metadata,
    Column("pack_id", String(80), primary_key=True),
    Column("year", Integer, primary_key=True),
    Column("confirmed_by", String(80), nullable=False),
    Column("confirmed_at", Instant, nullable=False),
)
policy = Table(
    "policy",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("id", String(80), nullable=False),
    Column("body", Json, nullable=False),
    Column("loaded_at", Instant, nullable=False),
    _bool("current", default=True),
)
calendar = Table(
    "calendar",
    metadata,
    Column("year", Integer, primary_key=True),
    Column("version", String(64), primary_key=True),
    _text("source_notice"),
    Column("body", Json, nullable=False),
    Column("imported_at", Instant, nullable=False),
    Column("imported_by", String(80), nullable=False),
    _bool("current", default=True),
)
obligation_due = Table(  # computed due dates of the documents' other duties, old values kept
    "obligation_due",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("pack_id", String(80), nullable=False),
    Column("obligation_id", String(32), nullable=False),
    Column("period", String(40), nullable=False),
    Column("due_at", Instant, nullable=False),
    _bool("provisional"),
    Column("calendar", Json, nullable=False),
    Column("computed_at", Instant, nullable=False),
    Column("replaced_at", Instant),
    Index(None, "obligation_id", "period"),
)

# -- the incident ------------------------------------------------------------------------------------------------------
incident = Table(
    "incident",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("no", String(20), nullable=False, unique=True),
    _int("cycle", 1),
    _text("title", 200),
    _text("notice_title", 60),
    _text("body"),
    Column("kind", String(16), nullable=False),
    Column("severity", String(16)),
    Column("state", String(16), nullable=False),
    _text("source", 40),
    Column("source_detail", Json, nullable=False, default=dict, server_default="{}"),
    Column("unit_id", ForeignKey("unit.id"), nullable=False),
    Column("co_units", Json, nullable=False, default=list, server_default="[]"),
    _text("region_code", 12),
    _text("category", 40),
    Column("registered_at", Instant, nullable=False),
    Column("registered_by", String(80), nullable=False),
    Column("merged_into", ForeignKey("incident.id")),
    Column("merged_at", Instant),
    Column("ended_at", Instant),  # voided, waived, handed over or closed
    _text("ended_reason"),
    _int("version", 1),
    _bool("drill"),
    Index(None, "state", "registered_at"),
    Index(None, "merged_into"),
)
incident_pack = Table(
    "incident_pack",
    metadata,
    Column("incident_id", ForeignKey("incident.id"), primary_key=True),
    Column("cycle", Integer, primary_key=True),
    Column("pack_id", String(80), primary_key=True),
    Column("pack_version", String(64), nullable=False),
)
history = Table(  # the ordered facts of an incident; clocks are a pure function of them
    "history",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("what", String(32), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("approved_by", String(80)),
    Column("detail", Json, nullable=False),
    UniqueConstraint("incident_id", "seq"),
)
publication = Table(
    "publication",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("published_at", Instant, nullable=False),
    _text("title", 200),
    _text("url"),
    _text("text"),
    _text("channel", 120),
    Column("content_kind", String(32), nullable=False),
    Column("content_hash", String(64), nullable=False),
    _bool("leader_voice"),
    Column("confidentiality", Json),
    Column("entered_at", Instant, nullable=False),
    Column("entered_by", String(80), nullable=False),
    Column("review", String(16), nullable=False),
    Column("reviewed_by", String(80)),
    Column("reviewed_at", Instant),
    Column("substantive", Boolean),
    _bool("credited"),
    Column("confirmed_by", String(80)),  # second person for an on-time publication entered after the limit
    Column("withdrawn_at", Instant),
    Index(None, "incident_id"),
)
stage_log = Table(
    "stage_log",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), nullable=False),
    Column("stage", String(40), nullable=False),
    Column("entered_at", Instant, nullable=False),
    Column("left_at", Instant),
    _text("note"),
    Column("recorded_by", String(80), nullable=False),
    Index(None, "incident_id"),
)
change_request = Table(  # what waits for a second person
    "change_request",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), nullable=False),
    Column("command", String(32), nullable=False),
    Column("payload", Json, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("requested_by", String(80), nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("state", String(16), nullable=False),  # pending, approved, rejected, withdrawn, lapsed
    Column("decided_by", String(80)),
    Column("decided_at", Instant),
    _text("decision_note"),
    Index(None, "incident_id", "state"),
)
clock = Table(
    "clock",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("key", String(160), nullable=False),  # "<pack>:<rule>" or "action:<rule>", "task:<n>" …
    Column("origin", String(16), nullable=False),
    Column("pack_id", String(80)),
    Column("pack_version", String(64)),
    Column("rule_id", String(60), nullable=False),
    Column("name", String(80), nullable=False),
    Column("status", String(16), nullable=False),
    Column("unit_id", ForeignKey("unit.id")),
    Column("anchor_field", String(32), nullable=False),
    _bool("anchor_stated"),
    _bool("anchor_estimated"),
    Column("started_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("state", String(16), nullable=False),
    _bool("binding"),
    _bool("provisional"),  # 待定级
    _bool("on_receipt"),  # 接报时已逾期
    Column("attribution", String(32)),
    Column("attribution_confirmed_by", String(80)),
    Column("fulfilled_at", Instant),
    Column("publication_id", ForeignKey("publication.id")),
    Column("noticed_at", Instant),  # when the breach was noticed; set once
    Column("ended_at", Instant),
    _text("ended_reason"),
    _text("superseded_by", 160),
    Column("policy_hash", String(64)),
    _int("generation", 1),
    Column("detail", Json, nullable=False, default=dict, server_default="{}"),
    UniqueConstraint("incident_id", "cycle", "key"),
    Index("ix_clock_state_due", "state", "due_at"),
)
clock_event = Table(  # append-only: every value a clock ever had
    "clock_event",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("clock_id", ForeignKey("clock.id"), nullable=False),
    Column("incident_id", ForeignKey("incident.id"), nullable=False),
    Column("at", Instant, nullable=False),
    Column("what", String(32), nullable=False),
    Column("state_from", String(16)),
    Column("state_to", String(16), nullable=False),
    Column("due_from", Instant),
    Column("due_to", Instant, nullable=False),
    Column("detail", Json, nullable=False),
    Index(None, "incident_id"),
)
acknowledgement = Table(
    "acknowledgement",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("incident_id", ForeignKey("incident.id"), nullable=False),
    Column("clock_id", ForeignKey("clock.id")),  # null: the incident's start message
    Column("step_id", String(60), nullable=False),
    Column("person_id", String(80), nullable=False),
    Column("at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("via", String(16), nullable=False),
    Column("notice_no", String(40)),
    _text("note", 500),
    Index(None, "incident_id"),
)
acknowledged_notice = Table(  # once for each person: the key makes a second press, in whatever process, find the first
    "acknowledged_notice",
    metadata,
    Column("notice_no", String(40), primary_key=True),
    Column("person_id", String(80), primary_key=True),
    Column("at", Instant, nullable=False),
)
handover = Table(  # one shift hands over to the next: both sign the same snapshot
    "handover",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("unit_id", ForeignKey("unit.id"), nullable=False),
    Column("from_person", ForeignKey("person.id"), nullable=False),
    Column("to_person", ForeignKey("person.id"), nullable=False),
    Column("state", String(12), nullable=False),  # prepared, offered, taken, withdrawn
    Column("at", Instant, nullable=False),  # of the snapshot
    Column("snapshot", Json, nullable=False),
    Column("snapshot_hash", String(64), nullable=False),
    _text("notes"),
    Column("signed_out_at", Instant),
    Column("signed_in_at", Instant),
    _text("remark", 500),  # of the person who takes over
    Index(None, "unit_id", "at"),
    Index(None, "to_person", "state"),
)

# -- timed actions and deliveries --------------------------------------------------------------------------------------
timed_action = Table(
    "timed_action",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("dedup_key", String(64), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
    Column("incident_id", ForeignKey("incident.id")),
    Column("clock_id", ForeignKey("clock.id")),
    _text("step_id", 60),
    _int("generation", 1),
    _int("repetition"),
    _int("urgency", 2),
    Column("due_at", Instant, nullable=False),
    Column("state", String(12), nullable=False),
    Column("detail", Json, nullable=False, default=dict, server_default="{}"),
    Column("created_at", Instant, nullable=False),
    Column("claimed_at", Instant),
    Column("done_at", Instant),
    _text("mode", 12),  # prefect, direct
    _text("owner", 80),
    Column("flow_run_id", String(40)),
    _text("history", 12),  # how the run reached Prefect: "" not yet, prefect, owed, backfilled
    Index(
        "ix_timed_action_pending",
        "due_at",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
    Index(
        "ix_timed_action_owed",
        "id",
        sqlite_where=sa.text("history = 'owed'"),
        postgresql_where=sa.text("history = 'owed'"),
    ),
    Index(None, "incident_id", "state"),
    Index(None, "clock_id", "state"),
)
delivery = Table(
    "delivery",
    metadata,
    Column("notice_no", String(40), primary_key=True),  # 通知号: the idempotency key a receiver sees
    Column("action_id", ForeignKey("timed_action.id"), nullable=False),
    Column("incident_id", ForeignKey("incident.id")),
    Column("clock_id", ForeignKey("clock.id")),
    Column("person_id", String(80), nullable=False, server_default=""),  # "" for a group robot
    Column("channel_id", ForeignKey("channel.id"), nullable=False),
    _text("role", 32),
    Column("band", String(12), nullable=False),
    _int("urgency", 2),
    Column("state", String(12), nullable=False),
    Column("visible_at", Instant, nullable=False),
    _text("owner", 80),
    _int("token"),
    _int("attempts"),
    _text("outcome", 20),
    _text("reason"),
    _text("provider_id", 200),
    Column("created_at", Instant, nullable=False),
    Column("first_sent_at", Instant),
    Column("sent_at", Instant),
    Column("bundle_no", String(40)),
    Column("ack_hash", String(64), unique=True),
    Column("fallback_of", String(40)),
    _int("ordinal", 1),
    Column("detail", Json, nullable=False, default=dict, server_default="{}"),
    Index(
        "ix_delivery_visible",
        "visible_at",
        sqlite_where=sa.text("state IN ('pending','sending')"),
        postgresql_where=sa.text("state IN ('pending','sending')"),
    ),
    Index(None, "action_id"),
    Index(None, "incident_id"),
    Index(None, "person_id", "state"),
)
delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("notice_no", ForeignKey("delivery.notice_no"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("outcome", String(20), nullable=False),
    _text("code", 60),
    _text("reason"),
    _text("mode", 12),
    Index(None, "notice_no"),
)
inbox_message = Table(
    "inbox_message",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("notice_no", String(40), nullable=False, unique=True),
    Column("person_id", String(80), nullable=False, server_default=""),
    _text("subject", 200),
    _text("text"),
    Column("created_at", Instant, nullable=False),
    Column("read_at", Instant),
    _bool("drill"),
    Index(None, "person_id", "created_at"),
)
heartbeat = Table(
    "heartbeat",
    metadata,
    Column("process", String(80), primary_key=True),  # "<node>/<engine|runner|web|sender>"
    Column("boot_id", String(40), nullable=False),
    Column("at", Instant, nullable=False),
    Column("detail", Json, nullable=False, default=dict, server_default="{}"),
)

# -- audit -------------------------------------------------------------------------------------------------------------
audit = Table(
    "audit",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("actor", String(120), nullable=False),
    Column("action", String(60), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("payload", Text, nullable=False),  # canonical JSON, the very bytes that were hashed
    Column("payload_hash", String(64), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "subject"),
)
audit_head = Table(
    "audit_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("seq", sa.BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
