"""Circuits: the symmetric weights between families, recovered from a network that nobody designed."""

from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.recover import (
    Circuits,
    Confirmation,
    load_circuits,
    recover_circuits,
    write_graph,
)

__all__ = ["Circuit", "Circuits", "Confirmation", "load_circuits", "recover_circuits", "write_graph"]
