"""States of one row under several versions of its goal.

A row under one version has none. Once it is under several, ``version_states`` has an entry for each, and the row
shows one of them, its main one. So the row is a function of the set of events although each is measured by the version
it falls under.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from models.rules.graph import Node
from models.rules.rows import Row
from models.wire import Mode, VersionState


@dataclass(frozen=True, slots=True)
class OpenState:
    """The state that a step moves."""

    state: list[Any]
    is_current: bool


def find_version_state(row: Row, version: int) -> list[Any] | None:
    """The state under a version."""
    return next(
        (version_state for version_state in row.version_states if version_state[VersionState.VERSION] == version), None
    )


def open_version_state(
    row: Row, node: Node, mode: Mode, *, create: bool, empty: Callable[[], list[Any]]
) -> tuple[Row, OpenState | None]:
    """The state under a node's version, made where ``create`` says so; None where there is none to move."""
    if not row.version_states and row.rule_version == node.version:
        return row, OpenState(row.state, is_current=True)
    if not row.version_states:
        if not create:
            return row, None
        row = row._replace(version_states=[[row.rule_version, True, row.state, row.operator]])
    version_state = find_version_state(row, node.version)
    if version_state is None:
        if not create:
            return row, None
        kept = _kept(row, node)
        state = deepcopy(kept[VersionState.STATE]) if kept else empty()
        version_state = [node.version, mode == Mode.CURRENT or kept is not None, state, node.rule.op]
        row = row._replace(
            version_states=sorted([*row.version_states, version_state], key=lambda one: int(one[VersionState.VERSION]))
        )
    elif mode in (Mode.CURRENT, Mode.MIGRATED):  # what is carried on shows as well that the user came to it
        version_state[VersionState.IS_CURRENT] = True
    elif not version_state[VersionState.IS_CURRENT] and not create:
        return row, None
    return row, OpenState(version_state[VersionState.STATE], version_state[VersionState.IS_CURRENT])


def show_main_state(row: Row, node: Node) -> Row:
    """The row showing its main state: the newest, or the oldest that its users stay on."""
    current = [version_state for version_state in row.version_states if version_state[VersionState.IS_CURRENT]]
    if not current:
        return row
    main = next(
        (
            version_state
            for version_state in current
            if version_state[VersionState.VERSION] in node.grandfathered_versions
        ),
        current[-1],
    )
    version, _, state, operator = main
    return row._replace(rule_version=version, state=state, operator=operator)


def _kept(row: Row, node: Node) -> list[Any] | None:
    """The state under an earlier version that a new one goes on from."""
    known = range(node.keeps_from, node.version) if node.keeps_from else ()
    current = (
        version_state for version_state in reversed(row.version_states) if version_state[VersionState.IS_CURRENT]
    )
    return next((version_state for version_state in current if version_state[VersionState.VERSION] in known), None)
