"""Drawn stimuli: pictures with known parameters, given by formulas, from which a unit's tuning is measured.

A drawn stimulus is a function of the plane, with x to the right, y upwards and angles counter-clockwise on screen. Its
picture at an angle a is that function at coordinates turned back by a: the pixel at (x, y) shows what the upright
picture has at ``(x cos a + y sin a, y cos a - x sin a)``. A line at 0° is horizontal; at 30° it rises to the right.
Nothing is interpolated at any angle, and no photograph takes part: orientations that were found on photographs are
verified by evidence of another kind.

=========================  ==================================================================  ================
kind                       at 0°                                                               `period_deg`
=========================  ==================================================================  ================
``grating``                horizontal bars; phase 0° a light bar on the centre, 90° light      180, or 360 if
                           above the centre and dark below, 180° a dark bar on the centre      the phase is not
                                                                                               0° or 180°
``gabor``                  the same under a round Gaussian window                              as ``grating``
``line``                   horizontal, centred                                                 180
``edge``                   light above, dark below                                             360
``curve``                  lowest point of a ring at the centre, bending upwards (∪)           360
``corner``                 filled, tip on the centre, opening upwards (V)                      360
``bent_line``              two strokes from the centre upwards (V), meeting in a mitre         360
``circle``                 ring about the centre                                               0
``disc``                   filled, about the centre                                            0
``spiral``                 begins left of the centre; handedness 1 winds counter-clockwise     360
                           on its way out, -1 clockwise
``cross``                  one horizontal and one vertical line                                90
``t_junction``             horizontal line, a stroke from its middle downwards                 360
``high_low_frequency``     fine texture above, coarse texture below                            360
``hair``                   horizontal hairs                                                    180
``diverging_lines``        lines that leave a point below the centre, upwards                  360
``brightness_gradient``    light above, dark below                                             360
``colour_contrast``        the hue above, the opposite hue below                               360
``colour_centre_surround`` a disc of the hue in the opposite hue                               0
``black_white_centre``     polarity 1 a grey disc in the hue, -1 a disc of the hue in grey     0
=========================  ==================================================================  ================

=============== ===========================================================================
module          what is in it
=============== ===========================================================================
``stimulus``    `SyntheticStimulus`: a kind with values of its parameters
``rendering``   `render`: its pixels at any size and angle
``choice``      `catalogue`: which stimuli suit a receptive field
``kinds``       the table above, as code
``parameters``  ranges of parameters, and their words
``figures``     outlines; ``waves``: gratings and textures
``apertures``   shares of an outline in a pixel
=============== ===========================================================================

Colours. Grey kinds go from (1 - contrast) / 2 to (1 + contrast) / 2 in all three channels. With polarity 1 the figure
is the light one, with -1 the dark one, which mirrors luma at 0.5. Coloured kinds have luma 0.5 in every pixel: hues
are added to mid-grey without luma. `MAX_CHROMA_STRENGTH` is the most that leaves every hue in [0, 1].

Mean luma over a picture. Exactly 0.5 where half a turn inverts the picture (``edge``, ``brightness_gradient``, and
waves of phase 90° or 270°) and for every coloured kind. Figures have 0.5 + polarity · contrast · (share - 0.5), with
the share of the picture that they cover. Other waves and textures are 0.5 in the plane; a picture keeps what its border
cuts from a wave.

Anti-aliasing. Figures are what a camera with a Gaussian aperture of standard deviation 0.5 px would see: an edge rises
from 16 % to 84 % within one pixel. Unlike the square of a pixel a Gaussian is the same in every direction, so that the
picture turns rigidly. The aperture's integral is known in closed form for straight figures and discs; other outlines
take it at their distance, corrected for their curvature. Against 15 x 15 samples per pixel under the same aperture, the
largest error in any pixel of any figure of the catalogues for 7, 15 and 51 px was, as a share of the contrast: 0.0003
for straight figures, discs and rings, 0.015 for curves, 0.036 for spirals (4 x 4 samples in a pixel's square: 0.125 at
an edge). Waves are finer than two pixels nowhere and not blurred.
"""

from equiscope.stimuli.drawn.choice import catalogue
from equiscope.stimuli.drawn.kinds import kinds
from equiscope.stimuli.drawn.parameters import MAX_CHROMA_STRENGTH
from equiscope.stimuli.drawn.rendering import render
from equiscope.stimuli.drawn.stimulus import SyntheticStimulus

__all__ = ["MAX_CHROMA_STRENGTH", "SyntheticStimulus", "catalogue", "kinds", "render"]
