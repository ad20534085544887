"""Images from a folder, a tar archive, an npz file, or the photographs that the dependencies ship.

=============== =====================================================================
``image_set``   the one public type: names in a fixed order, decoded on demand
``sources``     where bytes come from: a folder, a ``.tar``, an ``.npz``
``copies``      which images are copies of one photograph
``embedded``    the photographs shipped with scikit-image and scikit-learn, and licences
``decoding``    bytes of any image format to RGB pixels
``drawn``       stimuli that are formulas, at any angle
=============== =====================================================================
"""

from equiscope.stimuli.image_set import ImageFailure, ImageSet, as_images, open_images

__all__ = ["ImageFailure", "ImageSet", "as_images", "open_images"]
