"""The reference engine: a user's rows, computed from the accepted events.

It is what ``models/state/lua/apply_events.lua`` does to one user's record, in Python (promise P11).
"""

from collections.abc import Iterable, Iterator
from typing import Any

from models.events import Event
from models.rules.composites import add_stretch, find_completion, first_composite
from models.rules.goals import Rulebook
from models.rules.graph import Node, Parent
from models.rules.matcher import Matcher, always
from models.rules.rows import Row, Unlock
from models.rules.rule import Outcome, Step
from models.rules.version_states import open_version_state, show_main_state
from models.wire import Mode

Rows = dict[tuple[str, str], Row]
"""One user's rows by (node id, period)."""


def apply_all(rulebook: Rulebook | Matcher, events: Iterable[Event]) -> Rows:
    """The rows of one user after these events; a repeated event id counts once."""
    engine = UserEngine(rulebook if isinstance(rulebook, Matcher) else always(rulebook))
    for event in events:
        engine.apply(event)
    return engine.rows


class UserEngine:
    """One user's rows, moved event by event."""

    def __init__(self, matcher: Matcher) -> None:
        self.rows: Rows = {}
        self.unlocks: list[Unlock] = []
        self._matcher = matcher
        self._seen: set[str] = set()
        self._event: Event
        self._record_version = 0

    def apply(self, event: Event, *, revision: int | None = None) -> None:
        """Take an event; one whose id was taken before changes nothing. ``revision``: see ``Matcher.steps``."""
        if event.event_id in self._seen:
            return
        self._seen.add(event.event_id)
        self._event, self._record_version = event, self._record_version + 1
        for step in self._matcher.steps(event, revision):
            self._step(step)

    def _step(self, step: Step) -> None:
        node = step.node
        key = (node.node_id, step.period)
        row = self.rows.get(key)
        if row is None:
            if step.mode != Mode.CURRENT:  # a user is not in progress by events that would have counted before
                return
            row = self._new_row(node, step.period, node.rule.first_state())
        row, version_state = open_version_state(
            row,
            node,
            step.mode,
            create=step.mode in (Mode.CURRENT, Mode.GRANDFATHERED),
            empty=node.rule.first_state,
        )
        if version_state is None:
            return
        outcome = node.rule.advance(version_state.state, step, self._event)
        if row.version_states:
            outcome = node.rule.migrated(version_state.state, step, self._event, outcome)
            row = show_main_state(row, node)
        if not version_state.is_current:
            self.rows[key] = row
            return
        before = row.completed_at
        row = self._finish(node, row, outcome.reached_at, exact=node.is_exact and not row.version_states)
        self._tell_parents(node, row, outcome, changed=row.completed_at != before)

    def _new_row(self, node: Node, period: str, state: list[Any]) -> Row:
        now = self._event.accepted_at
        return Row(
            node.node_id,
            period,
            node.goal.challenge_id,
            node.rule.op,
            node.version,
            0,
            0,
            now,
            now,
            state,
            part=node.is_part,
        )

    def _finish(self, node: Node, row: Row, reached_at: int, *, exact: bool) -> Row:
        """Note that the target was reached, and whether that completes the row; keeps the row."""
        if reached_at and (not row.reached_at or (exact and reached_at < row.reached_at)):
            row = row._replace(reached_at=reached_at)
        if row.reached_at:
            row = self._complete(node, row)
        row = row._replace(
            challenge_id=node.goal.challenge_id, record_version=self._record_version, updated_at=self._event.accepted_at
        )
        self.rows[row.goal_id, row.period] = row
        return row

    def _complete(self, node: Node, row: Row) -> Row:
        opened_at = self._gate_opened(node) if node.gate else 0
        if opened_at is None:
            return row
        completed_at = max(row.reached_at, opened_at)
        if row.completed_at and completed_at >= row.completed_at:
            return row
        if not row.completed_at and not node.is_part:
            self.unlocks.append(
                Unlock(self._event, row.goal_id, row.period, node.goal.challenge_id, node.version, completed_at)
            )
        return row._replace(completed_at=completed_at)

    def _gate_opened(self, node: Node) -> int | None:
        """When all prerequisites were complete; None while they are not."""
        gate = node.gate
        assert gate is not None  # noqa: S101 - asked only of nodes with prerequisites
        if not gate.has_row:
            times = self._completed_parts(gate)
            return max(times) if all(times) else None
        row = self.rows.get((gate.node_id, ""))
        if row is None or row.rule_version < gate.version:
            row = self._evaluate_gate(gate, row)
        return row.completed_at or None

    def _evaluate_gate(self, gate: Node, row: Row | None) -> Row:
        row = self._under(gate, row)
        return self._finish(gate, row, find_completion(gate, row.state, self._event.occurred_at), exact=gate.is_exact)

    def _completed_parts(self, node: Node) -> list[int]:
        return [min(self._completions_of(part), default=0) for part in node.parts]

    def _completions_of(self, node_id: str) -> Iterator[int]:
        return (row.completed_at for key, row in self.rows.items() if key[0] == node_id and row.completed_at)

    def _tell_parents(self, node: Node, row: Row | None, outcome: Outcome, *, changed: bool) -> None:
        """Move the composites that a node is a part of, where its step means something to them."""
        for parent in node.parents:
            if parent.node.unlocks is not None and not parent.node.has_row:
                if changed:
                    self._unlock(parent.node.unlocks)
                continue
            known = self.rows.get((parent.node.node_id, ""))
            if changed or self._is_news(parent, known, row, outcome):
                self._move_parent(parent, known, node, row, outcome)
            elif parent.node.timed and outcome.contributes:
                self._tell_parents(parent.node, known, outcome, changed=False)

    def _is_news(self, parent: Parent, known: Row | None, row: Row | None, outcome: Outcome) -> bool:
        if parent.node.rule.within is not None and outcome.contributes and not (known and known.reached_at):
            return True
        behind = known is None or (parent.is_current and known.rule_version < parent.node.version)
        return behind and row is not None and row.completed_at > 0

    def _move_parent(self, parent: Parent, known: Row | None, node: Node, row: Row | None, outcome: Outcome) -> None:
        composite = parent.node
        if known is None or known.rule_version < composite.version:
            if not parent.is_current:
                return
            known = self._under(composite, known)
        elif known.rule_version > composite.version:
            self._move_past(composite, known)
            return
        self._note_part(parent, known.state, node, row, outcome)
        before = known.completed_at
        reached_at = find_completion(composite, known.state, self._event.occurred_at)
        known = self._finish(composite, known, reached_at, exact=composite.is_exact)
        self._after(composite, known, outcome, changed=known.completed_at != before)

    def _under(self, composite: Node, row: Row | None) -> Row:
        """A composite's row under a version it was not under before, from what its parts say now."""
        noted = [
            at if part in composite.exact_parts else min(at, 1)
            for part, at in zip(composite.parts, self._completed_parts(composite), strict=True)
        ]
        state = first_composite(composite, noted)
        if row is None:
            return self._new_row(composite, "", state)
        return row._replace(state=state, rule_version=composite.version, operator=composite.rule.op, version_states=())

    def _note_part(self, parent: Parent, state: list[Any], node: Node, row: Row | None, outcome: Outcome) -> None:
        """Write what a part says into its composite's state."""
        position, within, completed_at = parent.position, parent.node.rule.within, row.completed_at if row else 0
        if node.periodic and state[position]:
            completed_at = min(completed_at or state[position], state[position])
        state[position] = completed_at if node.node_id in parent.node.exact_parts else min(completed_at, 1)
        if within is not None and outcome.contributes:
            at = self._event.occurred_at
            add_stretch(state[len(parent.node.parts) + position], at - within, at)

    def _move_past(self, composite: Node, known: Row) -> None:
        """A late event under an earlier version: complete if its parts were, before the next version held."""
        if composite.rule.within is not None or known.reached_at:
            return
        done = [at if at < composite.ends_at else 0 for at in self._completed_parts(composite)]
        reached_at = find_completion(composite, first_composite(composite, done), self._event.occurred_at)
        if reached_at:
            known = self._finish(composite, known, reached_at, exact=True)
            self._after(composite, known, Outcome(reached_at), changed=known.completed_at > 0)

    def _after(self, composite: Node, row: Row, outcome: Outcome, *, changed: bool) -> None:
        if composite.unlocks is not None:
            if changed:
                self._unlock(composite.unlocks)
        else:
            self._tell_parents(composite, row, outcome, changed=changed)

    def _unlock(self, node: Node) -> None:
        """Complete what was reached and waited for its prerequisites."""
        for key in [key for key in self.rows if key[0] == node.node_id]:
            before = self.rows[key]
            if before.reached_at:
                row = self._finish(node, before, 0, exact=True)
                changed = row.completed_at != before.completed_at
                self._tell_parents(node, row, Outcome(0, contributes=False), changed=changed)
