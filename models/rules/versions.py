"""What leads from one publication to the next: which states a new version carries on, and who stays behind."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from models.rules.goals import Publication, Publications, Rulebook
from models.rules.graph import NEVER, Guest, Network, Node, Parent, compile_network
from models.rules.rule import COMPOSITES
from models.rules.succession import can_keep


def compile_all(publications: Publications, lateness_us: int) -> list[Network]:
    """The networks of all publications, in their order, with what leads from one version to another."""
    items = publications.items
    networks: list[Network] = []
    for place, item in enumerate(items):
        ends = {}
        for goal in item.rulebook.goals:
            later = (i for i in items[place + 1 :] if _version(i.rulebook, goal.goal_id) != goal.version)
            ends[goal.goal_id] = next((i.active_from for i in later), NEVER)
        networks.append(compile_network(item.rulebook, ends_at=ends))
    for place, network in enumerate(networks):
        for node in network.by_id.values():
            _link_versions(node, networks[:place], networks[place + 1 :])
            if node.rule.last is not None:
                windows = -(-lateness_us // node.rule.last) + 2
                node.kept_times = max(1, int(node.rule.target - 1) * windows)
        network.guests = _guests(networks, items, place, lateness_us)
    return networks


def _version(rulebook: Rulebook, goal_id: str) -> int | None:
    goal = rulebook.by_id.get(goal_id)
    return goal.version if goal else None


def _link_versions(node: Node, earlier: list[Network], later: list[Network]) -> None:
    before = list(_others(node, reversed(earlier)))
    after = list(_others(node, later))
    newer = node
    for older in before:
        if newer.goal.on_change != "keep" or not can_keep(older.rule, newer.rule):
            break
        node.keeps_from, newer = older.version, older
    node.staying = tuple(_staying([*reversed(before), node, *after]))
    node.carries = list(_carries(node, later))
    node.parents += _later_parents(node, later)


def _staying(versions: list[Node]) -> Iterator[int]:
    """Of a node's versions, oldest first, those after which every one left the users in progress where they were."""
    for place, version in enumerate(versions[:-1]):
        if all(later.goal.on_change == "grandfather" for later in versions[place + 1 :]):
            yield version.version


def _others(node: Node, networks: Iterable[Network]) -> Iterator[Node]:
    """The node under other versions, nearest first, each version once."""
    seen = node.version
    for network in networks:
        other = network.by_id.get(node.node_id)
        if other is not None and other.version != seen:
            seen = other.version
            yield other


def _carries(node: Node, later: list[Network]) -> Iterator[Node]:
    """The node under later versions, as long as each keeps what was made under the one before."""
    before = node
    for network in later:
        after = network.by_id.get(node.node_id)
        if after is None:
            return
        if after.version != before.version:
            if after.goal.on_change != "keep" or not can_keep(before.rule, after.rule):
                return
            if after.rule.op not in COMPOSITES:
                yield after
        before = after


def _later_parents(node: Node, later: list[Network]) -> list[Parent]:
    """Composites of later versions that the node is a part of."""
    known = {(parent.node.node_id, parent.node.version) for parent in node.parents}
    found = []
    for network in later:
        after = network.by_id.get(node.node_id)
        for parent in after.parents if after else []:
            key = (parent.node.node_id, parent.node.version)
            if parent.own and key not in known:
                known.add(key)
                found.append(parent._replace(own=False))
    return found


def _guests(
    networks: list[Network], items: tuple[Publication, ...], place: int, lateness_us: int
) -> dict[str, tuple[Guest, ...]]:
    """The versions before that some users are still on, for every event type that moves them."""
    found: defaultdict[str, list[Guest]] = defaultdict(list)
    for node in networks[place].by_id.values():
        for guest in _versions_before(node, networks, items, place, lateness_us):
            for event in dict.fromkeys(guest.node.rule.events):
                found[event].append(guest)
    return {event: tuple(guests) for event, guests in found.items()}


def _versions_before(
    node: Node, networks: list[Network], items: tuple[Publication, ...], place: int, lateness_us: int
) -> Iterator[Guest]:
    """From version to version back, as long as each left the users in progress where they were."""
    for earlier in range(place - 1, -1, -1):
        if node.goal.on_change != "grandfather":
            return
        before = networks[earlier].by_id.get(node.node_id)
        if before is None:
            return
        if before.version != node.version:
            yield Guest(before, items[earlier + 1].active_from + lateness_us)
            node = before
