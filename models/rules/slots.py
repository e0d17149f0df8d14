"""States of one row under several versions of its goal, while late events may still move them.

A row under one version has no slots. Once it is under several, ``slots`` has an entry for each, and the row shows
one of them, its main one. So the row is a function of the set of events although each is measured by the version it
falls under.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from models.rules.matching import OWN
from models.rules.nodes import Node
from models.rules.rows import Row

VERSION, IS_OWN, STAYS, STATE, OPERATOR = 0, 1, 2, 3, 4
"""Places in a slot: the version; whether an event fell under it; whether users on it stay there although there is a
later version; the state, and the operator it is of."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The state that a step moves."""

    state: list[Any]
    own: bool


def find_slot(row: Row, version: int) -> list[Any] | None:
    """The slot of a version."""
    return next((slot for slot in row.slots if slot[VERSION] == version), None)


def open_slot(
    row: Row, node: Node, mode: int, *, create: bool, empty: Callable[[], list[Any]]
) -> tuple[Row, Slot | None]:
    """The state under a node's version, made where ``create`` says so; None where there is none to move."""
    if not row.slots and row.rule_version == node.version:
        return row, Slot(row.state, own=True)
    if not row.slots:
        if not create:
            return row, None
        row = row._replace(slots=[[row.rule_version, True, False, row.state, row.operator]])
    slot = find_slot(row, node.version)
    if slot is None:
        if not create:
            return row, None
        slot = [node.version, mode == OWN, node.stays, _begin(row, node, empty), node.rule.op]
        row = row._replace(slots=sorted([*row.slots, slot], key=lambda one: int(one[VERSION])))
    elif mode == OWN:
        slot[IS_OWN] = True
    elif not slot[IS_OWN] and not create:
        return row, None
    slot[STAYS] = node.stays
    if mode == OWN and node.moves_all:
        for lower in row.slots:
            lower[STAYS] = lower[STAYS] and lower[VERSION] >= node.version
    return row, Slot(slot[STATE], slot[IS_OWN])


def main_slot(row: Row) -> Row:
    """The row showing its main state: the newest, or the oldest that its users stay on."""
    own = [slot for slot in row.slots if slot[IS_OWN]]
    if not own:
        return row
    main = next((slot for slot in own if slot[STAYS]), own[-1])
    return row._replace(rule_version=main[VERSION], state=main[STATE], operator=main[OPERATOR])


def _begin(row: Row, node: Node, empty: Callable[[], list[Any]]) -> list[Any]:
    lower = [slot for slot in row.slots if slot[IS_OWN] and slot[VERSION] < node.version]
    return deepcopy(lower[-1][STATE]) if lower and node.keeps else empty()
