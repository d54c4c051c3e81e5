"""A graph of layers as a sequence of steps, some of which are joined branches.

Any graph can be read in which paths that split meet again at one layer, as in residual blocks and
branches. Any other graph is refused with the layer's name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from firstlight.errors import UserError
from firstlight.export.keras_nodes import Graph, Node

JOINS = ("Add", "Concatenate")
_MOST_DEPTH = 20
"""Deepest nesting of branches."""


@dataclass(frozen=True, kw_only=True)
class Join:
    """Branches over the same input, and the layer that joins them."""

    node: Node
    branches: "tuple[tuple[Step, ...], ...]"


Step: TypeAlias = Node | Join


def steps(path: Path, graph: Graph) -> tuple[Node, tuple[Step, ...]]:
    """Return the input layer, and the steps from it to the output.

    Raises ``UserError`` if the graph does not have this form, and ``ValueError`` if it is invalid.
    """
    order = _in_order(path, graph)
    return graph.nodes[order[0]], _Walk(path, graph, _forks(graph, order)).between(
        order[0], graph.output, 0
    )


def _in_order(path: Path, graph: Graph) -> list[str]:
    """Return the layers that the output depends on, each after its inputs; the input layer
    first."""
    needed, waiting = {graph.output}, [graph.output]
    behind: dict[str, list[str]] = {}
    while waiting:
        name = waiting.pop()
        for before in graph.nodes[name].inputs:
            behind.setdefault(before, []).append(name)
            if before not in needed:
                needed.add(before)
                waiting.append(before)
    first = [name for name in needed if not graph.nodes[name].inputs]
    for name in first:
        if graph.nodes[name].kind != "InputLayer" or len(first) > 1:
            kinds = ", ".join(f"{graph.nodes[one].kind} {one!r}" for one in sorted(first))
            raise UserError(f"{path}: wanted one Input first, got {kinds[:200]}")
    missing = {name: len(graph.nodes[name].inputs) for name in needed}
    order = list(first)
    for name in order:
        for after in behind.get(name, ()):
            missing[after] -= 1
            if missing[after] == 0:
                order.append(after)
    if len(order) != len(needed):
        raise ValueError("its layers form a cycle")
    return order


def _forks(graph: Graph, order: list[str]) -> dict[str, str]:
    """Map each layer to its immediate dominator: the last layer that every path to it passes."""
    forks: dict[str, str] = {}
    depth = {order[0]: 0}
    for name in order[1:]:
        first, *others = graph.nodes[name].inputs
        for other in others:
            while first != other:
                if depth[first] >= depth[other]:
                    first = forks[first]
                else:
                    other = forks[other]
        forks[name], depth[name] = first, depth[first] + 1
    return forks


class _Walk:
    """A walk from the output back to the input that visits each layer once."""

    def __init__(self, path: Path, graph: Graph, forks: dict[str, str]) -> None:
        self._path, self._nodes, self._forks = path, graph.nodes, forks
        self._used: set[str] = set()

    def between(self, start: str, end: str, depth: int) -> tuple[Step, ...]:
        """Return the steps after ``start``, up to ``end``."""
        if depth > _MOST_DEPTH:
            raise UserError(f"{self._path}: branches are nested more than {_MOST_DEPTH} deep")
        found: list[Step] = []
        while end != start:
            node = self._nodes[end]
            here = f"{self._path}: layer {end[:60]!r}"
            if end in self._used:
                raise UserError(
                    f"{here} leads into several branches that do not split and join as a unit, "
                    "so they cannot become a residual block or branches"
                )
            self._used.add(end)
            if (node.kind in JOINS) != (len(node.inputs) > 1):
                raise UserError(f"{here} is a {node.kind} with {len(node.inputs)} inputs")
            if len(node.inputs) == 1:
                found.append(node)
                end = node.inputs[0]
                continue
            fork = self._forks[end]
            branches = tuple(self.between(fork, one, depth + 1) for one in node.inputs)
            found.append(Join(node=node, branches=branches))
            end = fork
        return tuple(reversed(found))
