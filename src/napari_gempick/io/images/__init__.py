"""Image files: MRC, TIFF, micrographs, which row is the first, pictures."""
