"""Frozen values that every layer shares: geometry, settings, bank, score maps, picks, errors."""
