"""Micrographs before the search: defects, filters, contrast transfer, Fourier crop."""
