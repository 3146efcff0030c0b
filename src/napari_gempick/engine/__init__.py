"""Arrays in, arrays out: preparation, rotated templates, correlation, peaks, evaluation."""
