"""Recover the circuits of a run: all pairs of its layers, from the weights alone, into ``circuits.json``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from equiscope.evidence.circuits.causal import CausalCheck, check_circuits
from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.ends import End, family_end
from equiscope.evidence.circuits.factors import Factors, find_factors
from equiscope.evidence.circuits.find import find_circuits
from equiscope.evidence.circuits.gradients import gradient_weights
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.neighbours import find_neighbours, save_neighbours
from equiscope.evidence.circuits.paths import ExpandedWeights, NoPathError, expanded_weights, measure_gains
from equiscope.evidence.circuits.strangers import (
    KeptWeights,
    find_stranger_circuits,
    keep_weights,
    tie_stretched,
)
from equiscope.evidence.circuits.tied import Tied, tie_circuit
from equiscope.evidence.circuits.transposed import Template, Transposed, find_transposed
from equiscope.foundations.devices import choose_precision, keep_large_buffers
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import file_name, write_output
from equiscope.foundations.limits import DRAWS, FALSE_DISCOVERY_RATE, SEED
from equiscope.foundations.progress import Progress, silent
from equiscope.foundations.received import printable
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.models.sides import fitted
from equiscope.runs.examples import load_examples
from equiscope.runs.store import (
    SCHEMA_VERSION,
    Run,
    check_network,
    load_record,
    read_geometries,
    write_archive,
    write_json,
)
from equiscope.stimuli import ImageSet

__all__ = [
    "Circuits",
    "Confirmation",
    "LayerPairSummary",
    "Skipped",
    "across_path",
    "load_circuits",
    "recover_circuits",
    "weights_path",
    "write_graph",
]


_FILE = "circuits.json"
_FOLDER = "circuits"
_N_GAIN_IMAGES = 12
# Circuits whose weights are kept to be drawn, for each family: the strongest that lead to it, and from it.
_DRAWN_IN, _DRAWN_OUT = 4, 2
_CHECKED = 40
# Highest order of kernels: mean gradients over few stimuli carry less detail than weights.
_ORDER = {"expanded": 11, "gradient": 5}


@dataclass(frozen=True)
class LayerPairSummary:
    """How the weights between two layers were had.

    Attributes
    ----------
    source, target
        The layers.
    path
        ``expanded``: composed along every path that goes through no other surveyed layer; ``gradient``: across such
        layers, by mean gradients over real stimuli.
    linearised
        What was not linear and by what it was replaced; empty where the weights are exact.
    energy_outside
        Share of the kernels' energy that the turning functions miss: R² and energies are of what they hold.
    n_circuits, n_symmetric
        Blocks between families that were tested, and that have a class.
    seconds
        Wall time.
    """

    source: str
    target: str
    path: str
    linearised: tuple[str, ...]
    energy_outside: float
    n_circuits: int
    n_symmetric: int
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """Two layers that no circuit could be looked for between, and why."""

    source: str
    target: str
    reason: str


@dataclass(frozen=True)
class Confirmation:
    """What the weights, which took no part in finding it, say about one family.

    Attributes
    ----------
    family
        Its id.
    n_tested, n_symmetric
        Blocks between it and other families, into it and out of it, and how many of them turn with its poses.
    best_r2, best_null_95, best_circuit
        The one that explains most of its weights beyond its null; NaN and empty where there is none.
    """

    family: str
    n_tested: int
    n_symmetric: int
    best_r2: float
    best_null_95: float
    best_circuit: str


@dataclass(frozen=True)
class Circuits:
    """What the weights of a run's network say about its families."""

    pairs: tuple[LayerPairSummary, ...]
    skipped: tuple[Skipped, ...]
    circuits: tuple[Circuit, ...]
    factors: tuple[Factors, ...]
    transposed: tuple[Transposed, ...]
    checks: tuple[CausalCheck, ...]
    confirmations: tuple[Confirmation, ...]


def recover_circuits(
    run: Run,
    model: Model,
    images: ImageSet | None = None,
    *,
    n_draws: int = 200,
    false_discovery_rate: float = 0.05,
    seed: int = 0,
    progress: Progress = silent,
) -> Circuits:
    """Recover the circuits between all layers of a run, and write them into its folder.

    Parameters
    ----------
    run
        A finished run.
    model
        The network that was surveyed.
    images
        The images that it was shown. Without them paths through normalisations, layers with others between them and
        the causal check are left out.
    n_draws
        Null draws for each block.
    false_discovery_rate
        Largest q-value of a circuit.
    seed
        Of the draws.
    progress
        Called at the start of each stage.

    Returns
    -------
    Circuits
        Also in ``circuits.json``; weights to draw in ``circuits/SOURCE+TARGET.npz``.

    Raises
    ------
    EquiscopeError
        If the network or the images are not those of the run, or the run has one layer only.
    """
    n_draws = DRAWS.check("n_draws", n_draws)
    rate = FALSE_DISCOVERY_RATE.check("false_discovery_rate", false_discovery_rate)
    seed = SEED.check("seed", seed)
    keep_large_buffers()
    check_network(run, model)
    if images is not None and images.fingerprint != run.manifest["images"]["fingerprint"]:
        raise EquiscopeError(
            f"{images.name} holds other images than those of {run.folder} ({run.manifest['images']['name']}): "
            "give the images that were surveyed"
        )
    geometries = read_geometries(run.manifest)
    layers = list(geometries)
    if len(layers) < 2:
        raise EquiscopeError(
            f"{run.folder} is a run of one layer ({layers[0]}): circuits join two, so survey more with --layers"
        )
    # Matrices are many and small: threads would wait for each other longer than they compute.
    with threadpool_limits(limits=1, user_api="blas"):
        return _recover(run, model, images, geometries, n_draws, rate, seed, progress)


@borrows_model
def _recover(
    run: Run,
    model: Model,
    images: ImageSet | None,
    geometries: Mapping[str, LayerGeometry],
    n_draws: int,
    false_discovery_rate: float,
    seed: int,
    progress: Progress,
) -> Circuits:
    layers = list(geometries)
    examples = load_examples(run.folder / "examples.npz")[0]
    needed_px = max((g.patch_px for g in geometries.values() if not g.is_global), default=1)
    with progress("measuring normalisations", 1) as on_step:
        network = fitted(model, geometries[layers[-1]].sides)
        gains = None if images is None else measure_gains(network, _sample(images, needed_px), layers[-1])
        on_step(1)
    found: list[Circuit] = []
    factors: list[Factors] = []
    templates: list[Template] = []
    checks: list[CausalCheck] = []
    pairs: list[LayerPairSummary] = []
    skipped: list[Skipped] = []
    kept: list[KeptWeights] = []
    for index, target in enumerate(layers[1:], 1):
        across: list[LayerGeometry] = []
        weights: list[tuple[str, ExpandedWeights, float]] = []
        with progress(f"expanding weights into {target}", index) as on_step:
            for source in layers[:index]:
                started = time.perf_counter()
                others = [layer for layer in layers if layer not in (source, target)]
                try:
                    own = expanded_weights(model, geometries[source], geometries[target], gains, others)
                    weights.append(("expanded", own, time.perf_counter() - started))
                except NoPathError as error:
                    if others:
                        across.append(geometries[source])
                    else:
                        skipped.append(Skipped(source, target, str(error)))
                except EquiscopeError as error:
                    skipped.append(Skipped(source, target, str(error)))
                on_step(1)
        if across and images is not None and not geometries[target].is_global:
            across = [g for g in across if not g.is_global]
            n_units = geometries[target].n_channels
            started = time.perf_counter()
            with progress(f"gradients of {target}", n_units) as on_units:
                gradients = gradient_weights(
                    model,
                    images,
                    across,
                    geometries[target],
                    examples[target],
                    precision=choose_precision("auto", model.device),
                    on_units=on_units,
                )
            share = (time.perf_counter() - started) / max(len(gradients), 1)
            weights += [("gradient", own, share) for own in gradients]
        reached = {own.source for _, own, _ in weights} | {
            entry.source for entry in skipped if entry.target == target
        }
        why = (
            "no path leads from one to the other"
            if images is not None
            else ("other surveyed layers lie between them, and without images gradients cannot be taken")
        )
        skipped += [Skipped(source, target, why) for source in layers[:index] if source not in reached]
        for path, own, seconds in weights:
            started = time.perf_counter()
            pair = LayerPair(own, run.families, run.units, _ORDER[path])
            part = keep_weights(pair, "scale")
            if part is not None:
                kept.append(part)
            save_neighbours(run.folder, find_neighbours(own, path))
            with progress(f"circuits {own.source} to {target}", 3) as on_step:
                draws = _draws(path, n_draws)
                circuits = find_circuits(
                    pair, n_draws=draws, false_discovery_rate=false_discovery_rate, seed=seed
                )
                of_hue = keep_weights(pair, "hue")
                if of_hue is not None:
                    circuits += find_stranger_circuits(
                        [of_hue], run.families, run.units, "hue",
                        n_draws=draws, false_discovery_rate=false_discovery_rate, seed=seed,
                    )  # fmt: skip
                on_step(1)
                if path == "expanded":
                    mine = (find_factors(pair, end, n_draws=n_draws, seed=seed) for end in pair.targets)
                    factors += [entry for entry in mine if entry is not None]
                on_step(1)
                drawn = _drawn(circuits)
                ends = _ends(pair, drawn)
                _save_weights(run.folder, pair, of_hue, drawn, ends)
                if path == "expanded":
                    templates += _templates(pair, drawn, ends)
                    if images is not None:
                        chosen = sorted(
                            (c for c in drawn if _is_checked(c)), key=lambda c: -c.r2 * c.energy_share
                        )[:_CHECKED]
                        checks += check_circuits(
                            model, images, pair, [(c.id, *ends[c.id]) for c in chosen],
                            geometries[own.source], geometries[target], examples[target],
                            np.asarray(images.groups, dtype=np.int64),
                        )  # fmt: skip
                on_step(1)
            between = [c for c in circuits if c.is_between_families and not c.pair_class]
            pairs.append(
                LayerPairSummary(
                    own.source, target, path, own.linearised, pair.energy_outside(), len(between),
                    sum(c.is_symmetric for c in between), round(seconds + time.perf_counter() - started, 2),
                )
            )  # fmt: skip
            found += circuits
    with progress("circuits across scales", 1) as on_step:
        across_layers = find_stranger_circuits(
            kept, run.families, run.units, "scale",
            n_draws=n_draws, false_discovery_rate=false_discovery_rate, seed=seed,
        )  # fmt: skip
        drawn = _drawn(across_layers)
        _save_tied(
            across_path(run.folder), {c.id: tie_stretched(c, kept, run.families, run.units) for c in drawn}
        )
        found += across_layers
        on_step(1)
    with progress("comparing templates", 1) as on_step:
        transposed = find_transposed(templates, false_discovery_rate=false_discovery_rate, seed=seed)
        on_step(1)
    result = Circuits(
        tuple(pairs), tuple(skipped), tuple(found), tuple(factors), transposed, tuple(checks),
        confirm_families(run, found),
    )  # fmt: skip
    _save(run.folder, result)
    return result


def _draws(path: str, n_draws: int) -> int:
    """Give gradients, which are the coarser evidence, half as many null draws."""
    return n_draws if path == "expanded" else -(-n_draws // 2)


def _sample(images: ImageSet, needed_px: int) -> torch.Tensor:
    """Return a dozen images of one size, from all over the set, no smaller than is needed where there are such."""
    step = max(1, len(images) // _N_GAIN_IMAGES)
    loaded = [image for i in range(0, len(images), step) if (image := images.load(i)) is not None]
    sides = [min(image.shape[1:]) for image in loaded]
    # All are cut to the smallest, into which layers may not fit.
    least_px = min(needed_px, max(sides))
    large = [image for image, side in zip(loaded, sides, strict=True) if side >= least_px]
    side = min(min(image.shape[1:]) for image in large)
    return torch.stack([image[:, :side, :side] for image in large[:_N_GAIN_IMAGES]])


def _is_checked(circuit: Circuit) -> bool:
    return circuit.is_between_families and circuit.rotation_class.endswith("→equivariant")


def _drawn(circuits: Iterable[Circuit]) -> list[Circuit]:
    """Choose the strongest symmetric circuits into and out of each end, single kernels between two units aside."""
    symmetric = sorted(
        (c for c in circuits if c.is_symmetric and not c.pair_class and c.n_source * c.n_target > 1),
        key=lambda c: -c.r2 * c.energy_share,
    )
    n_in: dict[str, int] = {}
    n_out: dict[str, int] = {}
    drawn = []
    for circuit in symmetric:
        is_strong_in = n_in.get(circuit.target, 0) < _DRAWN_IN
        is_strong_out = n_out.get(circuit.source, 0) < _DRAWN_OUT
        if is_strong_in or is_strong_out:
            drawn.append(circuit)
            n_in[circuit.target] = n_in.get(circuit.target, 0) + 1
            n_out[circuit.source] = n_out.get(circuit.source, 0) + 1
    return drawn


def _ends(pair: LayerPair, circuits: Iterable[Circuit]) -> dict[str, tuple[End, End]]:
    by_id = {end.id: end for end in (*pair.sources, *pair.targets)}

    def end(name: str, layer: str) -> End:
        if name in by_id:
            return by_id[name]
        return End(name, layer, np.array([int(name.rpartition(":")[2])]), None, None, rotation="invariant")

    return {c.id: (end(c.source, c.source_layer), end(c.target, c.target_layer)) for c in circuits}


def _templates(
    pair: LayerPair, circuits: Iterable[Circuit], ends: dict[str, tuple[End, End]]
) -> list[Template]:
    found = []
    for circuit in circuits:
        is_forward = circuit.rotation_class == "invariant→equivariant" and circuit.n_source == 1
        is_backward = circuit.rotation_class == "equivariant→invariant" and circuit.n_target == 1
        if is_forward or is_backward:
            kernel = tie_circuit(pair, *ends[circuit.id]).template[0].ravel()
            found.append(Template(circuit.id, is_forward, kernel, pair.weights.cells()))
    return found


def _save_weights(
    folder: Path,
    pair: LayerPair,
    of_hue: KeptWeights | None,
    circuits: Sequence[Circuit],
    ends: dict[str, tuple[End, End]],
) -> None:
    ties = {}
    for circuit in circuits:
        if circuit.transformation == "hue" and of_hue is not None and not circuit.is_between_families:
            ties[circuit.id] = tie_stretched(circuit, [of_hue], pair.families, pair.units)
        else:
            ties[circuit.id] = tie_circuit(pair, *ends[circuit.id])
    _save_tied(weights_path(folder, pair.weights.source, pair.weights.target), ties)


def _save_tied(path: Path, ties: Mapping[str, Tied]) -> None:
    arrays: dict[str, NDArray[Any]] = {"ids": np.array(list(ties), dtype=np.str_)}
    for index, tied in enumerate(ties.values()):
        for name in ("raw", "reordered", "template"):
            arrays[f"{index}:{name}"] = getattr(tied, name).astype(np.float16)
        for name in ("slots", "rows", "columns"):
            arrays[f"{index}:{name}"] = getattr(tied, name)
    write_archive(path, arrays)


def weights_path(folder: Path, source: str, target: str) -> Path:
    """File of the weights that are drawn of the circuits between two layers."""
    # A plus sign in a layer's own name is percent-encoded, so that no two pairs share a file.
    return folder / _FOLDER / file_name(source, target, ending=".npz")


def across_path(folder: Path) -> Path:
    """File of the weights that are drawn of circuits over several layers."""
    # No pair of layers has this name, which lacks the plus sign.
    return folder / _FOLDER / "across.npz"


def confirm_families(run: Run, circuits: Sequence[Circuit]) -> tuple[Confirmation, ...]:
    """Say of each family that turns or scales how many of its circuits do so with its poses."""
    confirmations = []
    for family in run.families:
        if family_end(family) is None and family.transformation != "scale":
            continue
        own = [c for c in circuits if family.id in (c.source, c.target) and c.is_between_families]
        turning = [c for c in own if c.is_symmetric and _turns_with(c, family.id)]
        best = max(turning, key=lambda c: c.r2 - c.r2_null_95, default=None)
        confirmations.append(
            Confirmation(
                family.id, len(own), len(turning),
                nan if best is None else best.r2,
                nan if best is None else best.r2_null_95,
                "" if best is None else best.id,
            )
        )  # fmt: skip
    return tuple(confirmations)


def _turns_with(circuit: Circuit, family: str) -> bool:
    """Whether the circuit's class says that weights turn with this family's poses."""
    place = 0 if circuit.source == family else 1
    for name in (circuit.rotation_class, circuit.hue_class, circuit.scale_class):
        if "→" in name and name.split("→")[place] == "equivariant":
            return True
    return False


def _save(folder: Path, result: Circuits) -> None:
    write_json(
        folder / _FILE,
        {
            "schema_version": SCHEMA_VERSION,
            "pairs": [asdict(entry) for entry in result.pairs],
            "skipped": [asdict(entry) for entry in result.skipped],
            "circuits": [asdict(c) | {"circuit_class": c.circuit_class} for c in result.circuits],
            "factors": [asdict(entry) for entry in result.factors],
            "transposed": [asdict(entry) for entry in result.transposed],
            "checks": [asdict(entry) for entry in result.checks],
            "confirmations": [asdict(entry) for entry in result.confirmations],
        },
    )


def load_circuits(folder: str | Path) -> Circuits | None:
    """Read what `recover_circuits` wrote into a run's folder; None where it was not run.

    Raises
    ------
    EquiscopeError
        If the file is damaged, or of a newer version.
    """
    path = Path(folder) / _FILE
    return load_record(path, Circuits) if path.exists() else None


def write_graph(run: Run, circuits: Circuits, path: Path) -> None:
    """Write families, units and factors as nodes and symmetric circuits as edges, as GraphML.

    Node attributes: ``layer``, ``kind`` (the family's transformation, ``unit`` or ``factor``) and ``size``; edge
    attributes: ``transformation``, ``circuit_class``, ``r2``, ``r2_null_95``, ``q_value``, ``energy_share``.
    """
    graph = networkx.DiGraph()
    for family in run.families:
        graph.add_node(family.id, layer=family.layer, kind=family.transformation, size=family.size)
    for circuit in circuits.circuits:
        if not circuit.is_symmetric:
            continue
        for name, layer in ((circuit.source, circuit.source_layer), (circuit.target, circuit.target_layer)):
            if name not in graph:
                graph.add_node(name, layer=layer, kind="unit", size=1)
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
                name, entry.target, transformation="rotation", circuit_class="invariant→equivariant",
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
