"""Families and circuits as a graph, in the GraphML format."""

from __future__ import annotations

from pathlib import Path

import networkx

from equiscope.evidence.circuits.circuit import class_text
from equiscope.evidence.circuits.results import Circuits
from equiscope.evidence.circuits.tying_axes import TURNING
from equiscope.families.asked import ask_families
from equiscope.foundations.files import write_output
from equiscope.foundations.received import printable
from equiscope.runs.run import Run

__all__ = ["write_graph"]


def write_graph(run: Run, circuits: Circuits, path: Path) -> None:
    """Write families, units and factors as nodes and symmetric circuits as edges, as GraphML.

    Node attributes: ``layer``, ``kind`` (the family's transformation, ``unit`` or ``factor``) and ``size``; edge
    attributes: ``transformation``, ``circuit_class``, ``r2``, ``r2_null_95``, ``q_value``, ``energy_share``.

    Examples
    --------
    >>> from equiscope.families.family import Family
    >>> family = Family("conv1-rotation-1", ("conv1",), "rotation", 0.9, 0.8, 1.0, 0.01, members=())
    >>> nothing = Circuits((), (), (), (), (), (), ())
    >>> write_graph(Run(Path("my-run"), {}, families=(family,)), nothing, Path("circuits.graphml"))
    >>> networkx.read_graphml("circuits.graphml").nodes["conv1-rotation-1"]["kind"]
    'rotation'
    """
    graph = networkx.DiGraph()
    for family in ask_families(run.families, circuits.verdict).families:
        graph.add_node(family.id, layer=family.layer, kind=family.transformation, size=family.size)
    for circuit in circuits.circuits:
        if not circuit.is_symmetric:
            continue
        for end in circuit.ends:
            if end.name not in graph:
                graph.add_node(end.name, layer=end.layer, kind="unit", size=1)
        graph.add_edge(
            circuit.source, circuit.target, transformation=circuit.transformation,
            circuit_class=circuit.circuit_class, r2=circuit.r2, r2_null_95=circuit.r2_null_95,
            q_value=circuit.q_value, energy_share=circuit.energy_share,
        )  # fmt: skip
    for entry in circuits.factors:
        for index, factor in enumerate(entry.factors, 1):
            name = f"{entry.source_layer}-factor-{index}>{entry.target}"
            graph.add_node(name, layer=entry.source_layer, kind="factor", size=len(factor.channels))
            graph.add_edge(
                name, entry.target, transformation=TURNING, circuit_class=class_text(("invariant", "equivariant")),
                r2=entry.r2, r2_null_95=entry.r2_null_95, energy_share=factor.share,
            )  # fmt: skip
    text = "\n".join(networkx.generate_graphml(_printable_graph(graph)))
    write_output(path, lambda stream: stream.write(text.encode()))


def _printable_graph(graph: networkx.DiGraph) -> networkx.DiGraph:
    """Copy a graph, its names as `printable` writes them: XML allows no control character, not even as a number."""
    clean = networkx.relabel_nodes(graph, {name: printable(name) for name in graph})
    for *_, own in (*clean.nodes(data=True), *clean.edges(data=True)):
        own.update({key: printable(value) for key, value in own.items() if isinstance(value, str)})
    return clean
