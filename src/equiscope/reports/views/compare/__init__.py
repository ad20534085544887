"""Comparisons with other runs, families side by side."""
