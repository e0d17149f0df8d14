"""States of one row under several versions of its goal, while late events may still move them.

A row under one version has no slots. Once it is under several, ``slots`` has an entry for each, and the row shows
one of them, its main one. So the row is a function of the set of events although each is measured by the version it
falls under.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from models.rules.graph import Node
from models.rules.rows import Row
from models.wire import Mode, VersionState


@dataclass(frozen=True, slots=True)
class Slot:
    """The state that a step moves."""

    state: list[Any]
    own: bool


def find_slot(row: Row, version: int) -> list[Any] | None:
    """The slot of a version."""
    return next((slot for slot in row.slots if slot[VersionState.VERSION] == version), None)


def open_slot(
    row: Row, node: Node, mode: Mode, *, create: bool, empty: Callable[[], list[Any]]
) -> tuple[Row, Slot | None]:
    """The state under a node's version, made where ``create`` says so; None where there is none to move."""
    if not row.slots and row.rule_version == node.version:
        return row, Slot(row.state, own=True)
    if not row.slots:
        if not create:
            return row, None
        row = row._replace(slots=[[row.rule_version, True, row.state, row.operator]])
    slot = find_slot(row, node.version)
    if slot is None:
        if not create:
            return row, None
        kept = _kept(row, node)
        state = deepcopy(kept[VersionState.STATE]) if kept else empty()
        slot = [node.version, mode == Mode.CURRENT or kept is not None, state, node.rule.op]
        row = row._replace(slots=sorted([*row.slots, slot], key=lambda one: int(one[VersionState.VERSION])))
    elif mode in (Mode.CURRENT, Mode.MIGRATED):  # what is carried on shows as well that the user came to it
        slot[VersionState.IS_OWN] = True
    elif not slot[VersionState.IS_OWN] and not create:
        return row, None
    return row, Slot(slot[VersionState.STATE], slot[VersionState.IS_OWN])


def main_slot(row: Row, node: Node) -> Row:
    """The row showing its main state: the newest, or the oldest that its users stay on."""
    own = [slot for slot in row.slots if slot[VersionState.IS_OWN]]
    if not own:
        return row
    main = next((slot for slot in own if slot[VersionState.VERSION] in node.staying), own[-1])
    version, _, state, operator = main
    return row._replace(rule_version=version, state=state, operator=operator)


def _kept(row: Row, node: Node) -> list[Any] | None:
    """The slot of an earlier version that a new one goes on from."""
    known = range(node.keeps_from, node.version) if node.keeps_from else ()
    own = (slot for slot in reversed(row.slots) if slot[VersionState.IS_OWN])
    return next((slot for slot in own if slot[VersionState.VERSION] in known), None)
