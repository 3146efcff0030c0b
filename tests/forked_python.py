"""Python programs that start at once, as forks of a process that has the package loaded: to load it takes 2 s of CPU.

`words("-m", "mpi4py", ...)` stands for `[sys.executable, "-m", "mpi4py", ...]`, under mpiexec too. The fork has the
environment, the folder and the streams of its caller, gets its SIGINT and SIGTERM, and dies soon after it: wait for
the end of its streams. Its environment comes too late for what acts while Python starts or loads the package, and its
process is not the caller's: where that matters, run Python itself. The most memory that it had, in KiB, goes into the
file FORKED_MEMORY, if its environment has that name.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time

LOADED = ("cli", "cluster.estimate", "cluster.export", "cluster.mpi.program", "extraction.extract", "workflows.preview")
_running = []
"""The socket of the server, and the server: it ends when its standard input does."""


def words(*arguments):
    """The words of a command that runs Python with arguments: `-m NAME` or a file, and what follows."""
    if not _running:
        _running.extend(_start())
    return [sys.executable, "-I", "-S", __file__, _running[0], *map(str, arguments)]


def _start():
    import subprocess
    import tempfile

    place = tempfile.mkdtemp(prefix="gempick-") + "/socket"
    path = [os.path.join(os.path.dirname(os.path.dirname(__file__)), "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}
    server = subprocess.Popen([sys.executable, __file__, "--serve", place], stdin=subprocess.PIPE, env=environment)
    while not os.path.exists(place):
        time.sleep(0.05)
        assert server.poll() is None
    return place, server


def _ask(place, arguments):
    """Run a program by the server of a socket; end as it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    streams = [0, 1, 2] + ([int(os.environ["PMI_FD"])] if "PMI_FD" in os.environ else [])  # what MPI starts with
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        told = json.dumps([dict(os.environ), os.getcwd(), arguments]).encode()
        socket.send_fds(server, [len(told).to_bytes(4)], streams)
        server.sendall(told)
        answers = server.makefile()
        child = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(child, number))
        status, memory = json.loads(answers.readline())
    if "FORKED_MEMORY" in os.environ:
        with open(os.environ["FORKED_MEMORY"], "w", encoding="ascii") as file:
            file.write(str(memory))
    if status < 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _serve(place):
    """Answer until the standard input closes; return in a fork, with what it shall run."""
    for name in LOADED:
        __import__(f"napari_gempick.{name}")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asking, _ = listening.accept()
            if os.fork() == 0:
                return _keep(asking)
            asking.close()
    os.remove(place)
    os.rmdir(os.path.dirname(place))
    sys.exit()


def _keep(asking):
    """Fork the program and wait for it; kill it when its caller has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, *_ = socket.recv_fds(asking, 4, 4)
    environment, folder, arguments = json.loads(asking.recv(int.from_bytes(length), socket.MSG_WAITALL))
    child = os.fork()
    if child == 0:
        asking.close()
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(streams[number], number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", 1 if number == 2 else -1, closefd=False))
        if len(streams) == 4:
            os.set_inheritable(streams[3], True)
            environment["PMI_FD"] = str(streams[3])
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        return arguments
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(OSError):
        asking.sendall(b"%d\n" % child)
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, asking], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(OSError):
        asking.sendall(b"%s\n" % json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss]).encode())
    os._exit(0)


def main():
    if sys.argv[1] != "--serve":
        _ask(sys.argv[1], sys.argv[2:])
    arguments = _serve(sys.argv[2])
    import runpy

    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
