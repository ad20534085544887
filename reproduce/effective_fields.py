"""How much of their receptive fields units look at: the table of docs/judging.md.

`python reproduce/effective_fields.py googlenet LAYERS PHOTOGRAPHS.tar [WEIGHTS]` prints, for each layer, the side that
holds 90 % of the gradient's energy for nine of ten of 64 units, with its interval, on the first 150 photographs.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile

import equiscope
from equiscope.evidence.effective_fields import measure_effective_fields
from equiscope.measurement.examples import collect_examples, split_halves
from equiscope.models.geometry import find_geometry

N_IMAGES = 150


def main() -> None:
    """Print a line a layer."""
    name, layers, path, *weights = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            files = [entry for entry in archive.getmembers() if entry.isfile()]
            archive.extractall(folder, members=files[:N_IMAGES], filter="data")
        model, images = equiscope.load_model(name, *weights), equiscope.open_images(folder)
        geometries = find_geometry(model, layers.split(","))
        examples = collect_examples(model, images, geometries, split_halves(images.groups, 0), 4)
        for layer, found in measure_effective_fields(model, images, geometries, examples).items():
            print(
                f"{layer}: receptive field {max(geometries[layer].receptive_field_px)} px, effective field "
                f"{found.side_px} px ({found.low_px:.0f} to {found.high_px:.0f}), {found.n_units} units"
            )


if __name__ == "__main__":
    main()
