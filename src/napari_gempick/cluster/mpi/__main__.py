"""`python -m mpi4py -m napari_gempick.cluster.mpi JOBDIR` runs a job on MPI ranks."""

import os
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the program is loaded too: no traceback

from napari_gempick.cluster.mpi.program import main

if __name__ == "__main__":
    status = main()
    if status:
        from mpi4py import MPI

        MPI.Finalize()  # a status of its own does not abort the others
        sys.stdout.flush()
        os._exit(status)
