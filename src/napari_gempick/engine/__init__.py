"""Arrays in, arrays out: preprocessing, rotated templates, matching, peaks and thresholds."""
