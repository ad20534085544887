"""The strongest kernels of each unit, against a search by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equiscope.evidence.circuits.neighbours import find_neighbours, load_neighbours, save_neighbours
from equiscope.evidence.circuits.paths import ExpandedWeights


def make_weights(n_target: int = 5, n_source: int = 12, n_y: int = 3, n_x: int = 5) -> ExpandedWeights:
    weights = np.random.default_rng(0).normal(size=(n_target, n_source, n_y, n_x))
    return ExpandedWeights("a+b", "c", weights, np.arange(n_y) * 2.0, np.arange(n_x) * 2.0, 2.0, ())


def test_the_strongest_are_found_in_both_directions() -> None:
    weights = make_weights()
    weights.weights[1] = 0.0
    found = find_neighbours(weights, "expanded")
    assert found.inputs.shape == (5, 8)
    assert found.outputs.shape == (12, 5)
    for target in (0, 2, 3, 4):
        energies = [(float((weights.weights[target, s] ** 2).sum()), s) for s in range(12)]
        ranked = [s for _, s in sorted(energies, reverse=True)]
        assert found.inputs[target].tolist() == ranked[:8]
        total = sum(energy for energy, _ in energies)
        np.testing.assert_allclose(found.input_shares[target, 0], max(energies)[0] / total, rtol=1e-5)
        np.testing.assert_allclose(
            found.input_kernels[target, 0], weights.weights[target, ranked[0]], rtol=1e-5
        )
    for source in range(12):
        strongest = max(range(5), key=lambda t: float((weights.weights[t, source] ** 2).sum()))
        assert found.outputs[source, 0] == strongest
        np.testing.assert_allclose(
            found.output_kernels[source, 0], weights.weights[strongest, source], rtol=1e-5
        )
    assert np.isnan(found.input_shares[1]).all()


def test_they_are_read_back_as_they_were(tmp_path: Path) -> None:
    weights = make_weights()
    weights.weights[0] *= 1e-7  # half precision alone would make these 0
    found = find_neighbours(weights, "gradient")
    save_neighbours(tmp_path, found)
    assert [path.name for path in (tmp_path / "circuits").iterdir()] == ["a%2Bb+c.units.npz"]
    read = load_neighbours(tmp_path, "a+b", "c")
    assert read is not None
    assert (read.source, read.target, read.path) == ("a+b", "c", "gradient")
    np.testing.assert_array_equal(read.inputs, found.inputs)
    np.testing.assert_allclose(read.input_kernels, found.input_kernels, rtol=2e-3, atol=1e-10)
    np.testing.assert_allclose(read.output_kernels, found.output_kernels, rtol=2e-3, atol=2e-3)
    assert load_neighbours(tmp_path, "a", "c") is None


def test_large_kernels_are_cut_about_their_middle() -> None:
    weights = make_weights(n_y=31, n_x=40)
    found = find_neighbours(weights, "gradient")
    assert found.input_kernels.shape == (5, 8, 25, 25)
    strongest = found.inputs[0, 0]
    np.testing.assert_allclose(
        found.input_kernels[0, 0], weights.weights[0, strongest, 3:28, 7:32], rtol=1e-5
    )
