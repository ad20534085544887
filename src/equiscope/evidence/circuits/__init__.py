"""Circuits: the symmetric weights between families, recovered from a network that nobody designed."""

from equiscope.evidence.circuits.circuit import Circuit, CircuitEnd
from equiscope.evidence.circuits.graph import write_graph
from equiscope.evidence.circuits.recover import recover_circuits
from equiscope.evidence.circuits.results import Circuits, Confirmation, load_circuits

__all__ = [
    "Circuit",
    "CircuitEnd",
    "Circuits",
    "Confirmation",
    "load_circuits",
    "recover_circuits",
    "write_graph",
]
