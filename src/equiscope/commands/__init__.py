"""The door: each command of ``equiscope`` as a function of the same name, in a module of the same name.

``equiscope verify RUN`` is ``equiscope.verify(run)``. A function loads what it is given by name, does the command's
work, writes what the command writes, shows it in the run's report, and returns what was found. The command line parses,
makes one such call, and prints.

=============== =====================================================================
``survey``      families of a network
``verify``      poses on drawings
``circuits``    symmetric weights between families
``featurevis``  optimised images
``budget``      what tying families would save
``simplify``    tied templates put back into the network
``design``      a network with the shares of units that were found
``compare``     counterparts in another network
``report``      the report, built again
``open``        the report, in the browser
``layers``      layers of a network
``plan``        what a survey will take
``figure``      one chart for a paper
``train``       plain and designed networks
``export``      tables of a run
=============== =====================================================================
"""
