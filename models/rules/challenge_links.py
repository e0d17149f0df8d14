"""What must hold between the challenges and goals of a file: unique ids, prerequisites that exist and end.

These checks look at the raw values and pass over what has the wrong shape, so that a file's wrong shapes and
wrong links are reported together.
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from models.rules.challenge_faults import Fault, named
from models.rules.json_text import Path


class _Named(NamedTuple):
    """A challenge or a goal with an id."""

    path: Path
    own_id: str
    value: dict[str, Any]


def link_faults(root: Any) -> list[Fault]:
    """The faults between the parts of a challenges file."""
    challenges = list(_named(root, ("challenges",)))
    goals = [goal for index, _ in _items(root, "challenges") for goal in _goals_of(root, index)]
    return [*_repeated(challenges), *_repeated(goals), *_prerequisite_faults(goals), *_cycles(goals)]


def _goals_of(root: Any, index: int) -> Iterator[_Named]:
    return _named(root["challenges"][index], ("challenges", index, "goals"))


def _named(owner: Any, path: Path) -> Iterator[_Named]:
    for index, value in _items(owner, str(path[-1])):
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            yield _Named((*path, index), value["id"], value)


def _items(owner: Any, key: str) -> Iterator[tuple[int, Any]]:
    items = owner.get(key) if isinstance(owner, dict) else None
    return enumerate(items if isinstance(items, list) else [])


def _repeated(things: list[_Named]) -> Iterator[Fault]:
    seen: set[str] = set()
    for thing in things:
        if thing.own_id in seen:
            yield Fault((*thing.path, "id"), "is used more than once in this file")
        seen.add(thing.own_id)


def _prerequisite_faults(goals: list[_Named]) -> Iterator[Fault]:
    known = {goal.own_id for goal in goals}
    for goal in goals:
        seen: set[str] = set()
        for index, needed in _needs(goal):
            path = (*goal.path, "prerequisites", index)
            if needed == goal.own_id:
                yield Fault(path, "is the goal itself")
            elif needed not in known:
                yield Fault(path, f"names the goal {named(needed)}, which does not exist")
            elif needed in seen:
                yield Fault(path, f"names the goal {named(needed)} a second time")
            seen.add(needed)


def _cycles(goals: list[_Named]) -> Iterator[Fault]:
    """Goals that wait for each other. Each circle found is cut open, so that the next one is found too."""
    place = {goal.own_id: goal.path for goal in reversed(goals)}
    needs = {goal.own_id: {needed for _, needed in _needs(goal)} & place.keys() - {goal.own_id} for goal in goals}
    while cycle := _find_cycle(needs):
        first = min(range(len(cycle)), key=lambda position: _order(place[cycle[position]]))
        loop = [*cycle[first:], *cycle[:first], cycle[first]]
        yield Fault(
            (*place[loop[0]], "prerequisites"),
            "form a circle: " + " needs ".join(named(goal) for goal in loop),
        )
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


def _needs(goal: _Named) -> Iterator[tuple[int, str]]:
    for index, needed in _items(goal.value, "prerequisites"):
        if isinstance(needed, str):
            yield index, needed
