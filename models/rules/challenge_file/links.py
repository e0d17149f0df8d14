"""Links between goals of a file: unique ids, references without cycles.

These checks look at the raw values and pass over what has the wrong shape, so that a file's wrong shapes and
wrong links are reported together.
"""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from models.rules.challenge_file.faults import Fault
from models.rules.challenge_file.json_text import Path, items
from models.rules.challenge_file.rule_parser import RuleReading
from models.rules.forms.words import named


class _Named(NamedTuple):
    """A challenge or a goal with an id."""

    path: Path
    own_id: str
    value: dict[str, Any]
    rule: RuleReading | None = None


class _Reference(NamedTuple):
    """A goal's mention of another."""

    fault: Fault
    """What is to be said of it, but for the reason."""
    needed: str
    owner: Path
    """The list that the mention is in."""


def link_faults(root: Any, rules: Mapping[Path, RuleReading]) -> list[Fault]:
    """The faults between the parts of a challenges file; ``rules`` are its goals' rules by the goals' paths."""
    challenges = list(_named(root, ("challenges",)))
    goals = [
        goal._replace(rule=rules.get(goal.path))
        for index, challenge in items(root, "challenges")
        for goal in _named(challenge, ("challenges", index, "goals"))
    ]
    return [*_repeated(challenges), *_repeated(goals), *_reference_faults(goals), *_cycles(goals)]


def _named(owner: Any, path: Path) -> Iterator[_Named]:
    for index, value in items(owner, str(path[-1])):
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            yield _Named((*path, index), value["id"], value)


def _repeated(things: list[_Named]) -> Iterator[Fault]:
    seen: set[str] = set()
    for thing in things:
        if thing.own_id in seen:
            yield Fault((*thing.path, "id"), "is used more than once in this file")
        seen.add(thing.own_id)


def _reference_faults(goals: list[_Named]) -> Iterator[Fault]:
    known = {goal.own_id for goal in goals}
    for goal in goals:
        seen: set[tuple[Path, str]] = set()
        for fault, needed, owner in _references(goal):
            if needed == goal.own_id:
                yield fault._replace(reason="is the goal itself")
            elif needed not in known:
                yield fault._replace(reason=f"names the goal {named(needed)}, which does not exist")
            elif (owner, needed) in seen:
                yield fault._replace(reason=f"names the goal {named(needed)} a second time")
            seen.add((owner, needed))


def _cycles(goals: list[_Named]) -> Iterator[Fault]:
    """Goals that wait for each other. Each circle found is cut open, so that the next one is found too."""
    path_by_id = {goal.own_id: goal.path for goal in reversed(goals)}
    links = {goal.own_id: {link.needed: link for link in reversed([*_references(goal)])} for goal in goals}
    needs = {goal: set(found) & path_by_id.keys() - {goal} for goal, found in links.items()}
    while cycle := _find_cycle(needs):
        first = min(range(len(cycle)), key=lambda position: _order(path_by_id[cycle[position]]))
        loop = [*cycle[first:], *cycle[:first], cycle[first]]
        link = links[loop[0]][loop[1]]
        circle = " needs ".join(named(goal) for goal in loop)
        if link.owner[-1] == "prerequisites":
            yield Fault(link.owner, f"form a circle: {circle}")
        else:
            yield link.fault._replace(reason=f"forms a circle: {circle}")
        needs[loop[-2]].discard(loop[-1])


def _find_cycle(needs: dict[str, set[str]]) -> list[str]:
    """Goals in a circle, each needing the next; empty where there is none."""
    try:
        TopologicalSorter({goal: sorted(needed) for goal, needed in needs.items()}).prepare()
    except CycleError as error:
        backwards: list[str] = error.args[1]
        return backwards[:0:-1]
    return []


def _order(path: Path) -> tuple[int, int]:
    return int(path[1]), int(path[3])


def _references(goal: _Named) -> Iterator[_Reference]:
    """The goals that a goal needs: its prerequisites, then the parts of its rule."""
    for index, needed in items(goal.value, "prerequisites"):
        if isinstance(needed, str):
            owner = (*goal.path, "prerequisites")
            yield _Reference(Fault((*owner, index), ""), needed, owner)
    if goal.rule is None:
        return
    for path, needed in goal.rule.names():
        fault = goal.rule.located(Fault(path, ""))
        below = (*goal.path, "rule", *path)
        yield _Reference(fault._replace(path=below), needed, below[:-1])
