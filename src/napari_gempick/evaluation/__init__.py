"""Picks against a truth or against other picks: counts, curves, tables."""
