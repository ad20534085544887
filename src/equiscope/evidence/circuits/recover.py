"""Recover the circuits of a run: all pairs of its layers, from the weights alone, into ``circuits.json``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from equiscope.evidence.circuits.causal import CausalCheck, check_circuits
from equiscope.evidence.circuits.circuit import Circuit
from equiscope.evidence.circuits.confirm import confirm_families
from equiscope.evidence.circuits.drawn import across_path, choose_drawn, find_ends, save_tied, save_weights
from equiscope.evidence.circuits.ends import End
from equiscope.evidence.circuits.factors import Factors, find_factors
from equiscope.evidence.circuits.find import find_circuits
from equiscope.evidence.circuits.gradients import gradient_weights
from equiscope.evidence.circuits.kept_weights import KeptWeights, keep_weights
from equiscope.evidence.circuits.layer_pair import LayerPair
from equiscope.evidence.circuits.linearised import Gains
from equiscope.evidence.circuits.neighbours import find_neighbours, save_neighbours
from equiscope.evidence.circuits.normalisations import measure_gains_on
from equiscope.evidence.circuits.paths import ExpandedWeights, NoPathError, expanded_weights
from equiscope.evidence.circuits.results import Circuits, LayerPairSummary, Skipped, save_circuits
from equiscope.evidence.circuits.strangers import find_stranger_circuits
from equiscope.evidence.circuits.stretched import tie_stretched
from equiscope.evidence.circuits.tied import tie_circuit
from equiscope.evidence.circuits.transposed import Template, find_transposed
from equiscope.evidence.circuits.tying_axes import GROWING, TURNING, still_names
from equiscope.foundations.devices import choose_precision, keep_large_buffers
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.limits import DRAWS, FALSE_DISCOVERY_RATE, SEED
from equiscope.foundations.progress import Progress, silent
from equiscope.measurement.examples import Examples
from equiscope.models import Model
from equiscope.models.borrowing import borrows_model
from equiscope.models.geometry import LayerGeometry
from equiscope.runs.examples import load_examples
from equiscope.runs.manifest import read_geometries
from equiscope.runs.run import Run, check_network
from equiscope.stimuli import ImageSet

__all__ = ["recover_circuits"]

_CHECKED = 40
# Highest order of kernels: mean gradients over few stimuli carry less detail than weights.
_ORDER = {"expanded": 11, "gradient": 5}


@dataclass(frozen=True)
class _Settings:
    """How strictly circuits are judged."""

    n_draws: int
    false_discovery_rate: float
    seed: int
    progress: Progress


@dataclass(frozen=True)
class _Job:
    """A run, opened: its network with what was measured of it, and how circuits are judged."""

    run: Run
    model: Model
    images: ImageSet | None
    geometries: Mapping[str, LayerGeometry]
    examples: Mapping[str, Examples]
    gains: Gains | None
    settings: _Settings

    @property
    def layers(self) -> list[str]:
        """All layers of the run, in its order."""
        return list(self.geometries)

    def before(self, target: str) -> list[str]:
        """Layers before one."""
        return self.layers[: self.layers.index(target)]


@dataclass(frozen=True)
class _Weights:
    """The weights between two layers, how they were had, and how long that took."""

    path: str
    weights: ExpandedWeights
    seconds: float

    @property
    def pair(self) -> tuple[str, str]:
        """Source and target."""
        return self.weights.source, self.weights.target


@dataclass
class _Found:
    """What was found so far."""

    circuits: list[Circuit] = field(default_factory=list)
    factors: list[Factors] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)
    checks: list[CausalCheck] = field(default_factory=list)
    pairs: list[LayerPairSummary] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    kept: list[KeptWeights] = field(default_factory=list)


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

    Examples
    --------
    >>> from equiscope import load_run
    >>> from equiscope.models import load_model
    >>> found = recover_circuits(load_run("equiscope-runs/mini"), load_model("mini"), n_draws=20)
    >>> (pair,) = found.pairs
    >>> pair.source, pair.target, pair.linearised, pair.n_symmetric > 5
    ('conv2d0', 'conv2d1', ('relu: passed on',), True)
    """
    n_draws = DRAWS.check("n_draws", n_draws)
    rate = FALSE_DISCOVERY_RATE.check("false_discovery_rate", false_discovery_rate)
    seed = SEED.check("seed", seed)
    keep_large_buffers()
    check_network(run, model)
    _check_images(run, images)
    geometries = _open_layers(run)
    # Matrices are many and small: threads would wait for each other longer than they compute.
    with threadpool_limits(limits=1, user_api="blas"):
        return _recover(run, model, images, geometries, _Settings(n_draws, rate, seed, progress))


def _check_images(run: Run, images: ImageSet | None) -> None:
    """Refuse images that are not those of the run."""
    if images is not None and images.fingerprint != run.manifest["images"]["fingerprint"]:
        raise EquiscopeError(
            f"{images.name} holds other images than those of {run.folder} ({run.manifest['images']['name']}): "
            "give the images that were surveyed"
        )


def _open_layers(run: Run) -> Mapping[str, LayerGeometry]:
    """Open the geometry of a run's layers; refuse a single one."""
    geometries = read_geometries(run.manifest)
    layers = list(geometries)
    if len(layers) < 2:
        raise EquiscopeError(
            f"{run.folder} is a run of one layer ({layers[0]}): circuits join two, so survey more with --layers"
        )
    return geometries


@borrows_model
def _recover(
    run: Run,
    model: Model,
    images: ImageSet | None,
    geometries: Mapping[str, LayerGeometry],
    settings: _Settings,
) -> Circuits:
    examples = load_examples(run.folder / "examples.npz")[0]
    gains = None
    with settings.progress("measuring normalisations", 1) as on_step:
        if images is not None:
            gains = measure_gains_on(model, images, geometries)
        on_step(1)
    job = _Job(run, model, images, geometries, examples, gains, settings)
    found = _Found()
    for target in job.layers[1:]:
        for weights in _weights_into(job, target, found):
            _recover_between(job, weights, found)
    with settings.progress("circuits across scales", 1) as on_step:
        found.circuits += _recover_across(job, found.kept)
        on_step(1)
    with settings.progress("comparing templates", 1) as on_step:
        transposed = find_transposed(
            found.templates, false_discovery_rate=settings.false_discovery_rate, seed=settings.seed
        )
        on_step(1)
    result = Circuits(
        tuple(found.pairs), tuple(found.skipped), tuple(found.circuits), tuple(found.factors), transposed,
        tuple(found.checks), confirm_families(run, found.circuits), run.verdict,
    )  # fmt: skip
    save_circuits(run.folder, result)
    return result


def _weights_into(job: _Job, target: str, found: _Found) -> list[_Weights]:
    """Give the weights from each earlier layer into one: expanded, or else by gradients; add what had to be skipped."""
    weights, across = _expand_into(job, target, found)
    weights += _take_gradients(job, target, across)
    reached = {own.weights.source for own in weights} | {
        entry.source for entry in found.skipped if entry.target == target
    }
    why = (
        "no path leads from one to the other"
        if job.images is not None
        else "other surveyed layers lie between them, and without images gradients cannot be taken"
    )
    found.skipped += [Skipped(source, target, why) for source in job.before(target) if source not in reached]
    return weights


def _expand_into(job: _Job, target: str, found: _Found) -> tuple[list[_Weights], list[LayerGeometry]]:
    """Expand the weights into a layer along paths through no other; give also layers that only such paths lead from."""
    geometries = job.geometries
    weights: list[_Weights] = []
    across: list[LayerGeometry] = []
    before = job.before(target)
    with job.settings.progress(f"expanding weights into {target}", len(before)) as on_step:
        for source in before:
            started = time.perf_counter()
            others = [layer for layer in job.layers if layer not in (source, target)]
            try:
                own = expanded_weights(job.model, geometries[source], geometries[target], job.gains, others)
                weights.append(_Weights("expanded", own, time.perf_counter() - started))
            except NoPathError as error:
                if others:
                    across.append(geometries[source])
                else:
                    found.skipped.append(Skipped(source, target, str(error)))
            except EquiscopeError as error:
                found.skipped.append(Skipped(source, target, str(error)))
            on_step(1)
    return weights, across


def _take_gradients(job: _Job, target: str, across: Sequence[LayerGeometry]) -> list[_Weights]:
    """Take mean gradients of a layer with respect to some earlier ones, where there are images."""
    geometry, images = job.geometries[target], job.images
    if not across or images is None or geometry.is_global:
        return []
    started = time.perf_counter()
    with job.settings.progress(f"gradients of {target}", geometry.n_channels) as on_units:
        gradients = gradient_weights(
            job.model,
            images,
            [own for own in across if not own.is_global],
            geometry,
            job.examples[target],
            precision=choose_precision("auto", job.model.device),
            on_units=on_units,
        )
    share = (time.perf_counter() - started) / max(len(gradients), 1)
    return [_Weights("gradient", own, share) for own in gradients]


def _recover_between(job: _Job, weights: _Weights, found: _Found) -> None:
    """Add the circuits between two layers, and what follows from them."""
    run, settings = job.run, job.settings
    source, target = weights.pair
    started = time.perf_counter()
    pair = LayerPair(weights.weights, run.families, run.units, _ORDER[weights.path])
    part = keep_weights(pair, GROWING)
    if part is not None:
        found.kept.append(part)
    save_neighbours(run.folder, find_neighbours(weights.weights, weights.path))
    with settings.progress(f"circuits {source} to {target}", 3) as on_step:
        still = {name: part for name in still_names() if (part := keep_weights(pair, name)) is not None}
        circuits = _find_between(job, pair, still, _draws(weights.path, settings.n_draws))
        on_step(1)
        if weights.path == "expanded":
            mine = (
                find_factors(pair, end, n_draws=settings.n_draws, seed=settings.seed) for end in pair.targets
            )
            found.factors += [entry for entry in mine if entry is not None]
        on_step(1)
        drawn = choose_drawn(circuits)
        ends = find_ends(pair, drawn)
        save_weights(run.folder, pair, still, drawn, ends)
        if weights.path == "expanded":
            found.templates += _templates(pair, drawn, ends)
            found.checks += _check(job, pair, drawn, ends)
        on_step(1)
    between = [c for c in circuits if c.is_between_families and not c.pair_class]
    found.pairs.append(
        LayerPairSummary(
            source, target, weights.path, weights.weights.linearised, pair.energy_outside(), len(between),
            sum(c.is_symmetric for c in between), round(weights.seconds + time.perf_counter() - started, 2),
        )
    )  # fmt: skip
    found.circuits += circuits


def _draws(path: str, n_draws: int) -> int:
    """Give gradients, which are the coarser evidence, half as many null draws."""
    return n_draws if path == "expanded" else -(-n_draws // 2)


def _find_between(
    job: _Job, pair: LayerPair, still: Mapping[str, KeptWeights], n_draws: int
) -> tuple[Circuit, ...]:
    """Find the circuits between two layers, those of single units with families that move no kernel last."""
    rate, seed = job.settings.false_discovery_rate, job.settings.seed
    circuits = find_circuits(pair, n_draws=n_draws, false_discovery_rate=rate, seed=seed)
    for name, kept in still.items():
        circuits += find_stranger_circuits(
            [kept], job.run.families, job.run.units, name,
            n_draws=n_draws, false_discovery_rate=rate, seed=seed,
        )  # fmt: skip
    return circuits


def _recover_across(job: _Job, kept: Sequence[KeptWeights]) -> tuple[Circuit, ...]:
    """Find the circuits of families that scale, over all layers at once, and write the weights that are drawn."""
    run, settings = job.run, job.settings
    circuits = find_stranger_circuits(
        kept, run.families, run.units, GROWING, n_draws=settings.n_draws,
        false_discovery_rate=settings.false_discovery_rate, seed=settings.seed,
    )  # fmt: skip
    drawn = choose_drawn(circuits)
    save_tied(across_path(run.folder), {c.id: tie_stretched(c, kept, run.families, run.units) for c in drawn})
    return circuits


def _check(
    job: _Job, pair: LayerPair, drawn: Sequence[Circuit], ends: Mapping[str, tuple[End, End]]
) -> tuple[CausalCheck, ...]:
    """Intervene on the strongest of the circuits into families that turn; nothing without images."""
    if job.images is None:
        return ()
    strongest = sorted((c for c in drawn if _is_checked(c)), key=lambda c: -c.r2 * c.energy_share)
    target = pair.weights.target
    return check_circuits(
        job.model, job.images, pair, [(c.id, *ends[c.id]) for c in strongest[:_CHECKED]],
        job.geometries[pair.weights.source], job.geometries[target], job.examples[target],
    )  # fmt: skip


def _is_checked(circuit: Circuit) -> bool:
    kinds = circuit.kinds.get(TURNING)
    return circuit.is_between_families and kinds is not None and kinds[1] == "equivariant"


def _templates(
    pair: LayerPair, circuits: Sequence[Circuit], ends: Mapping[str, tuple[End, End]]
) -> list[Template]:
    """Give the templates of circuits between a family and a unit, that could be used in the opposite direction too."""
    found = []
    for circuit in circuits:
        kinds = circuit.kinds.get(TURNING)
        is_forward = kinds == ("invariant", "equivariant") and circuit.n_source == 1
        is_backward = kinds == ("equivariant", "invariant") and circuit.n_target == 1
        if is_forward or is_backward:
            kernel = tie_circuit(pair, *ends[circuit.id]).template[0].ravel()
            found.append(Template(circuit.id, is_forward, kernel, pair.weights.cells()))
    return found
