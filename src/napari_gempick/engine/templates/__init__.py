"""Templates and masks: sampling at any angle, the bank of rotated templates, projections, averages."""
