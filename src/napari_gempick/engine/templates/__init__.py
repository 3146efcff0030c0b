"""Templates and masks: sampling at any angle, the bank of search images, projections, averages."""
