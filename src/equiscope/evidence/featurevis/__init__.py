"""Images optimised for units, and for whole families at once.

===================== ==================================================================================
``parameterisation``  what is optimised: spectra, in the colours and at the contrast of photographs
``robustness``        small random shifts, turns and magnifications
``objectives``        responses at the centre, with a gradient; the network is left as it was
``ascent``            the loop
``units``             one image for each unit
``poses``, ``families``  one template for all members of a family, at their poses
``storage``           both in a run's folder
``whole_run``         all of a run, layer by layer
===================== ==================================================================================
"""

from equiscope.evidence.featurevis.families import FamilyVisualisation, visualise_family
from equiscope.evidence.featurevis.robustness import Robustness
from equiscope.evidence.featurevis.storage import (
    StoredVisualisations,
    load_visualisations,
    save_visualisations,
)
from equiscope.evidence.featurevis.units import Visualisation, natural_responses, visualise_units
from equiscope.evidence.featurevis.whole_run import visualise_run

__all__ = [
    "FamilyVisualisation",
    "Robustness",
    "StoredVisualisations",
    "Visualisation",
    "load_visualisations",
    "natural_responses",
    "save_visualisations",
    "visualise_family",
    "visualise_run",
    "visualise_units",
]
