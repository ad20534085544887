"""Where the bytes of images come from: a folder, a tar archive, an npz file.

Each kind of place gives a `Source`: images by number, of which any run of bytes can be read, from several threads.
A place that was searched gives a `Listing`, which also tells what was left out.

================ ============================================================
``listing``      what a place holds, and the sentences about what it does not
``folders``      files under a folder
``tar_archives`` members of a ``.tar`` or ``.tar.gz``
``arrays``       arrays of an ``.npz``
``chosen``       some of the images of another source
``unpacking``    how far a compressed archive may grow
================ ============================================================
"""

from equiscope.stimuli.sources.arrays import read_arrays, read_npz
from equiscope.stimuli.sources.chosen import Chosen
from equiscope.stimuli.sources.folders import FileSource, check_regular, find_files
from equiscope.stimuli.sources.listing import (
    Listing,
    Source,
    note_assumptions,
    note_left_out,
    note_others,
    read_encoded,
)
from equiscope.stimuli.sources.tar_archives import open_tar

__all__ = [
    "Chosen",
    "FileSource",
    "Listing",
    "Source",
    "check_regular",
    "find_files",
    "note_assumptions",
    "note_left_out",
    "note_others",
    "open_tar",
    "read_arrays",
    "read_encoded",
    "read_npz",
]
