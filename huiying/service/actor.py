"""Who acts: a person with a token, the local command line, or the system itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from huiying.domain.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change.

    ``id`` is what the audit chain names: ``person:<id>``, ``local:<system user>`` or ``system:<process>``.
    ``person_id`` is empty for the local command line and the system, which can therefore never be a second person.
    ``permissions`` are those of ``huiying.domain.access``; ``units`` limits them to these units and what lies below
    (empty: everywhere).
    """

    id: str
    person_id: str = ""
    permissions: frozenset[str] = field(default_factory=frozenset)
    units: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_person(self) -> bool:
        """True when a human being with an own account stands behind the change."""
        return bool(self.person_id)

    def require(self, permission: str) -> None:
        """Raise ``Forbidden`` unless the actor holds the permission."""
        if permission not in self.permissions:
            raise Forbidden("您的账号没有此项权限,操作未执行。如需办理,请联系管理员。", permission=permission)
