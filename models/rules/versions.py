"""Links between publications: migrated states, and grandfathered users."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from models.rules.goals import Publication, Publications, Rulebook
from models.rules.graph import NEVER, DependencyGraph, GrandfatheredNode, Node, Parent, compile_graph


def compile_all(publications: Publications, lateness_us: int) -> list[DependencyGraph]:
    """The networks of all publications, in their order, with what leads from one version to another."""
    items = publications.items
    graphs: list[DependencyGraph] = []
    for index, item in enumerate(items):
        ends = {}
        for goal in item.rulebook.goals:
            later = (i for i in items[index + 1 :] if _version(i.rulebook, goal.goal_id) != goal.version)
            ends[goal.goal_id] = next((i.active_from for i in later), NEVER)
        graphs.append(compile_graph(item.rulebook, ends_at=ends))
    for index, graph in enumerate(graphs):
        for node in graph.by_id.values():
            _link_versions(node, graphs[:index], graphs[index + 1 :])
            node.kept_times = node.rule.kept_times(lateness_us)
        graph.grandfathered = _grandfathered(graphs, items, index, lateness_us)
    return graphs


def _version(rulebook: Rulebook, goal_id: str) -> int | None:
    goal = rulebook.by_id.get(goal_id)
    return goal.version if goal else None


def _link_versions(node: Node, earlier: list[DependencyGraph], later: list[DependencyGraph]) -> None:
    before = list(_others(node, reversed(earlier)))
    after = list(_others(node, later))
    newer = node
    for older in before:
        if newer.goal.on_change != "keep" or not newer.rule.can_keep(older.rule):
            break
        node.keeps_from, newer = older.version, older
    node.grandfathered_versions = tuple(_staying([*reversed(before), node, *after]))
    node.migrates_to = list(_migrations(node, later))
    node.parents += _later_parents(node, later)


def _staying(versions: list[Node]) -> Iterator[int]:
    """Of a node's versions, oldest first, those after which every one left the users in progress where they were."""
    for index, version in enumerate(versions[:-1]):
        if all(later.goal.on_change == "grandfather" for later in versions[index + 1 :]):
            yield version.version


def _others(node: Node, graphs: Iterable[DependencyGraph]) -> Iterator[Node]:
    """The node under other versions, nearest first, each version once."""
    seen = node.version
    for graph in graphs:
        other = graph.by_id.get(node.node_id)
        if other is not None and other.version != seen:
            seen = other.version
            yield other


def _migrations(node: Node, later: list[DependencyGraph]) -> Iterator[Node]:
    """The node under later versions, as long as each keeps what was made under the one before."""
    before = node
    for graph in later:
        after = graph.by_id.get(node.node_id)
        if after is None:
            return
        if after.version != before.version:
            if after.goal.on_change != "keep" or not after.rule.can_keep(before.rule):
                return
            if not after.rule.is_composite:
                yield after
        before = after


def _later_parents(node: Node, later: list[DependencyGraph]) -> list[Parent]:
    """Composites of later versions that the node is a part of."""
    known = {(parent.node.node_id, parent.node.version) for parent in node.parents}
    found = []
    for graph in later:
        after = graph.by_id.get(node.node_id)
        for parent in after.parents if after else []:
            key = (parent.node.node_id, parent.node.version)
            if parent.is_current and key not in known:
                known.add(key)
                found.append(parent._replace(is_current=False))
    return found


def _grandfathered(
    graphs: list[DependencyGraph], items: tuple[Publication, ...], index: int, lateness_us: int
) -> dict[str, tuple[GrandfatheredNode, ...]]:
    """The versions before that some users are still on, for every event type that moves them."""
    found: defaultdict[str, list[GrandfatheredNode]] = defaultdict(list)
    for node in graphs[index].by_id.values():
        for older in _versions_before(node, graphs, items, index, lateness_us):
            for event in dict.fromkeys(older.node.rule.events):
                found[event].append(older)
    return {event: tuple(grandfathered) for event, grandfathered in found.items()}


def _versions_before(
    node: Node, graphs: list[DependencyGraph], items: tuple[Publication, ...], index: int, lateness_us: int
) -> Iterator[GrandfatheredNode]:
    """From version to version back, as long as each left the users in progress where they were."""
    for earlier in range(index - 1, -1, -1):
        if node.goal.on_change != "grandfather":
            return
        before = graphs[earlier].by_id.get(node.node_id)
        if before is None:
            return
        if before.version != node.version:
            yield GrandfatheredNode(before, items[earlier + 1].active_from + lateness_us)
            node = before
