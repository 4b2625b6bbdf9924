"""Groups of processes: a process that is told it belongs to one, and a port where one can meet."""

import socket
from pathlib import Path


def join(monkeypatch, rank=1, size=4, local_rank=1, local_size=4):
    numbers = {"RANK": rank, "WORLD_SIZE": size}
    numbers |= {"LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_size}
    for name, value in numbers.items():
        monkeypatch.setenv(name, str(value))


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def worker_of(launcher):
    """The process that a launcher has started last."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return int(children[-1])
