"""A family: its members at their poses, how they respond, and how far all of it can be trusted."""
