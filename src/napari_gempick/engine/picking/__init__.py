"""From score maps to picks: peaks, the share of false picks, and areas without particles."""
