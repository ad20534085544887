"""The folder of a run: its manifest, its records, what is read from and written to it."""
