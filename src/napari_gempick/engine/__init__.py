"""Arrays in, arrays out: preparation, search images, correlation, peaks, evaluation."""
