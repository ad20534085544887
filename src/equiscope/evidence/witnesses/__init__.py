"""Witnesses: evidence that took no part in finding a family and can say whether its members are copies."""
