"""Jobs for a cluster: export, submit, status, collect, cancel, and the MPI program itself."""
