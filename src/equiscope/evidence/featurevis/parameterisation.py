"""What is optimised instead of pixels: an image's Fourier coefficients, in the colours of photographs.

One step of an optimiser on pixels raises all frequencies alike, and the finest win: the result is a pattern that no
photograph has. Here an image is

    sigmoid(4 · COLOURS · irfft2(spectrum / frequency))

so that equal steps in the spectrum change each octave about as much as photographs vary in it, and light more than
colour, in the ratio that photographs do.

What a response gains by contrast alone says nothing about a unit: without a limit, images of early layers end in pure
black, white and primary colours. So images are held at the contrast of photographs. An image with that contrast and
values in (0, 1) has a spectrum, whatever it shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["COLOURS", "CONTRAST", "FourierImages"]

# Principal axes of the pixels' colour over 1,829 photographs (light against dark, red against blue, green against
# magenta), in columns, each as long as its standard deviation, the first 1: reproduce/colours.py measures them.
COLOURS = ((0.5799, 0.1849, 0.0479), (0.5863, -0.0078, -0.0985), (0.5657, -0.1815, 0.0530))
# Root mean square distance of the pixels of 1,880 photographs from mid-grey: reproduce/colours.py, too.
CONTRAST = 0.27
# The sigmoid's slope at mid-grey is a quarter; with this a plane of 0.1 changes an image by as much.
_GAIN = 4.0


@dataclass(frozen=True)
class FourierImages:
    """Images of one size as functions of their spectra.

    Parameters
    ----------
    height_px, width_px
        Size of the images, px.
    inner_px
        Side of the square in the middle whose contrast is limited, px: what is shown of the images.
    decay
        Power of the frequency by which amplitudes fall; about 1 in photographs, 0 weighs all frequencies alike.
    contrast
        Largest root mean square distance from mid-grey within that square, before the sigmoid bends it.
    """

    height_px: int
    width_px: int
    inner_px: int
    decay: float = 1.0
    contrast: float = CONTRAST

    @property
    def spectrum_shape(self) -> tuple[int, int, int, int]:
        """Shape of one image's spectrum: (colour axis, y frequency, x frequency, real and imaginary part)."""
        return 3, self.height_px, self.width_px // 2 + 1, 2

    @property
    def amplitudes(self) -> Tensor:
        """Weight of each coefficient, shape (y frequency, x frequency); normal spectra make planes of variance 1."""
        y = torch.fft.fftfreq(self.height_px)[:, None]
        x = torch.fft.rfftfreq(self.width_px)[None, :]
        # The mean of the image counts as its lowest frequency.
        lowest = 1.0 / max(self.height_px, self.width_px)
        falling = torch.hypot(y, x).clamp(min=lowest) ** -self.decay
        # All columns but those that are their own mirror images stand for two coefficients of the full plane.
        weights = torch.full_like(falling, 2.0)
        weights[:, 0] = 1.0
        if self.width_px % 2 == 0:
            weights[:, -1] = 1.0
        variance = (weights * falling.square()).sum() / (self.height_px * self.width_px)
        return falling / variance.sqrt()

    def draw(self, generator: torch.Generator, contrast: float) -> Tensor:
        """Draw a spectrum whose planes are noise with the spectrum of photographs.

        Parameters
        ----------
        generator
            Of the random numbers.
        contrast
            Standard deviation of the planes; that of the light of photographs is about 0.2.
        """
        # A complex coefficient of variance 1 has parts of variance one half.
        return torch.randn(self.spectrum_shape, generator=generator) * (contrast * math.sqrt(0.5))

    def render(self, spectra: Tensor) -> Tensor:
        """Turn spectra into images.

        Parameters
        ----------
        spectra
            Tensor, shape (image, colour axis, y frequency, x frequency, 2), any real numbers.

        Returns
        -------
        Tensor, shape (image, 3, height_px, width_px)
            RGB in (0, 1); differentiable.
        """
        coefficients = torch.view_as_complex(spectra * self.amplitudes.to(spectra.device)[..., None])
        planes = torch.fft.irfft2(coefficients, s=(self.height_px, self.width_px), norm="ortho")
        colours = torch.tensor(COLOURS, dtype=planes.dtype, device=planes.device)
        distances = torch.einsum("ca,nayx->ncyx", colours, planes)
        # Squares, for the gradient of a root is infinite at 0.
        square = self.cut(distances).square().mean((1, 2, 3), keepdim=True).clamp(min=self.contrast**2)
        images: Tensor = torch.sigmoid(_GAIN * self.contrast * distances / square.sqrt())
        return images

    def cut(self, images: Tensor) -> Tensor:
        """Cut the square in the middle, shape (..., inner_px, inner_px); half a pixel up and left where it must."""
        top, left = ((side - self.inner_px) // 2 for side in (self.height_px, self.width_px))
        return images[..., top : top + self.inner_px, left : left + self.inner_px]
