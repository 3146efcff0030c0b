"""The only place that knows NumPy from CuPy: FFT plans, tile kernels, the devices found."""
