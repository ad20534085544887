"""Images optimised for units and families, which the views of a unit and of a family show."""
