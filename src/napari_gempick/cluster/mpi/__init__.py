"""The MPI program that the nodes of a cluster run."""
