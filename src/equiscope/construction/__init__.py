"""Networks that are built: equivariant layers, training, designs, budgets, simplification."""
