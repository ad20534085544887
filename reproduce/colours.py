"""The colours of photographs, in which images of `equiscope.evidence.featurevis` are written.

    python reproduce/colours.py --images photos.tar

Principal axes of the colour of pixels, with their standard deviations: the covariance of R, G and B within a
photograph, averaged over all photographs that have colour. Prints the matrix whose columns are the axes, each as long
as its standard deviation, the longest 1, and the root mean square distance of pixels from mid-grey over all
photographs. Without `--images`, of the embedded photographs.
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor

import equiscope

# Root mean square difference of channels below which a photograph is grey.
_LEAST_CHROMA = 0.005


def measure_colours(images: equiscope.ImageSet) -> tuple[Tensor, int, float]:
    """Give the matrix, shape (RGB, axis), the number of photographs that it is from, and the distance from grey."""
    covariances, distances = [], []
    for index in range(len(images)):
        image = images.load(index)
        if image is None:
            continue
        pixels = image.reshape(3, -1).double()
        distances.append((pixels - 0.5).square().mean())
        if (pixels - pixels.mean(0)).square().mean().sqrt() >= _LEAST_CHROMA:
            covariances.append(torch.cov(pixels))
    variances, axes = torch.linalg.eigh(torch.stack(covariances).mean(0))
    # The longest first; each with its red positive.
    variances, axes = variances.flip(0), axes.flip(1)
    signs = axes[0].sign()
    contrast = torch.stack(distances).mean().sqrt().item()
    return axes * signs * (variances / variances[0]).sqrt(), len(covariances), contrast


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images")
    matrix, n_coloured, contrast = measure_colours(equiscope.open_images(parser.parse_args().images))
    rows = [[round(value, 4) for value in row] for row in matrix.tolist()]
    print(json.dumps({"in_colour": n_coloured, "colours": rows, "contrast": round(contrast, 4)}))


if __name__ == "__main__":
    main()
