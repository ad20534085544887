"""Which families of one network another network has, too."""
