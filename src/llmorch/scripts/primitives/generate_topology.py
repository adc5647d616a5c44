"""Make a network of nodes and edges.

Parameters:
    topology_type (str, optional): `small_world`, `random`, `scale_free`, `ring`, `star`, `complete`, `path`, `tree` or
        `grid`; small_world unless given.
    nodes (int, optional): How many nodes; 50 unless given.
    k (int, optional): small_world: how many neighbours each node begins with; 6 unless given.
    p (float, optional): small_world: how probable it is that an edge is moved; 0.1 unless given.
    edge_prob (float, optional): random: how probable each edge is; 0.1 unless given.
    m (int, optional): scale_free: how many edges each new node brings; 2 unless given.
    branching (int, optional): tree: how many children each node has; 2 unless given.
    seed (int, optional): The same seed gives the same network.

Returns:
    An object with `topology_type`, `nodes`, `edges` (a list of pairs), `edge_count`, `parameters` and `seed`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from llmorch.scripts.contract import serve

__all__ = ["generate_topology"]

_MOST_NODES = 10_000
_MOST_EDGES = 500_000  # what the script prints must stay below the limit of a step's output

_USES = {"small_world": ("k", "p"), "random": ("edge_prob",), "scale_free": ("m",), "tree": ("branching",)}


def generate_topology(
    topology_type: str = "small_world",
    nodes: int = 50,
    *,
    k: int = 6,
    p: float = 0.1,
    edge_prob: float = 0.1,
    m: int = 2,
    branching: int = 2,
    seed: int | None = None,
) -> dict[str, Any]:
    """A network of one of the usual kinds.

    Args:
        topology_type: `small_world` (Watts and Strogatz), `random` (Erdős and Rényi), `scale_free` (Barabási and
            Albert), `ring`, `star`, `complete`, `path`, `tree` or `grid`.
        nodes: How many nodes, at most 10 000; they are numbered from 0.
        k: small_world: how many neighbours each node begins with.
        p: small_world: how probable it is that an edge is moved, from 0 to 1.
        edge_prob: random: how probable each edge is, from 0 to 1.
        m: scale_free: how many edges each new node brings.
        branching: tree: how many children each node has.
        seed: The same seed gives the same network; None gives another one each time.

    Returns:
        `topology_type`, `nodes`, `edges` (sorted pairs of numbers), `edge_count`, `parameters` (those that the type
        uses) and `seed`.

    Raises:
        ValueError: An unknown type, or numbers that make no such network.

    Example:
        >>> generate_topology("ring", 4)["edges"]
        [[0, 1], [0, 3], [1, 2], [2, 3]]
    """
    if isinstance(nodes, bool) or not isinstance(nodes, int) or not 1 <= nodes <= _MOST_NODES:
        raise ValueError(f"nodes must be a whole number from 1 to {_MOST_NODES}, and not {nodes!r}")
    options = {"k": k, "p": p, "edge_prob": edge_prob, "m": m, "branching": branching}
    graph = _graph(topology_type, nodes, options, seed)
    edges = sorted(sorted(edge) for edge in graph.edges())
    return {
        "topology_type": topology_type,
        "nodes": graph.number_of_nodes(),
        "edges": edges,
        "edge_count": len(edges),
        "parameters": {name: options[name] for name in _USES.get(topology_type, ())},
        "seed": seed,
    }


def _check_size(kind: str, nodes: int, options: dict[str, Any]) -> None:
    """Refuse what would fill the memory before it is made."""
    pairs = nodes * (nodes - 1) / 2
    likely = {
        "small_world": nodes * options["k"] / 2,
        "random": pairs * options["edge_prob"],
        "scale_free": nodes * options["m"],
        "complete": pairs,
    }.get(kind, 0)
    if likely > _MOST_EDGES:
        raise ValueError(f"{kind} with {nodes} nodes would have about {likely:.0f} edges; {_MOST_EDGES} is the most")


def _graph(kind: str, nodes: int, options: dict[str, Any], seed: int | None) -> Any:  # Any: a graph of networkx
    """networkx takes 0.1 s to import, so it is loaded here."""
    import networkx

    nx: Any = networkx  # its generators have no types
    makers: dict[str, Callable[[], Any]] = {
        "small_world": lambda: nx.watts_strogatz_graph(nodes, options["k"], options["p"], seed=seed),
        "random": lambda: nx.fast_gnp_random_graph(nodes, options["edge_prob"], seed=seed),
        "scale_free": lambda: nx.barabasi_albert_graph(nodes, options["m"], seed=seed),
        "ring": lambda: nx.cycle_graph(nodes),
        "star": lambda: nx.star_graph(nodes - 1),
        "complete": lambda: nx.complete_graph(nodes),
        "path": lambda: nx.path_graph(nodes),
        "tree": lambda: nx.full_rary_tree(options["branching"], nodes),
        "grid": lambda: _grid(nodes),
    }
    if kind not in makers:
        raise ValueError(f"there is no topology {kind!r}; there are {', '.join(makers)}")
    _check_size(kind, nodes, options)
    try:
        return makers[kind]()
    except nx.NetworkXError as error:
        raise ValueError(f"{kind}: {error}") from error


def _grid(nodes: int) -> Any:  # Any: a graph of networkx
    """The most nearly square grid with exactly so many nodes, row by row."""
    import networkx

    nx: Any = networkx  # as above
    rows = next(rows for rows in range(int(nodes**0.5), 0, -1) if nodes % rows == 0)
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, nodes // rows), ordering="sorted")


if __name__ == "__main__":
    sys.exit(serve(generate_topology))
