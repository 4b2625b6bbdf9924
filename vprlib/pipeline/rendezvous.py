"""How the machines that train together find each other."""

import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings

PATIENCE_S = 3600  # until the command runs on every machine


@dataclass(frozen=True)
class Meeting:
    """Where the machines meet, as this one sees it."""

    endpoint: str = "localhost:0"
    own_address: str = "localhost"  # for the others: by its name they may not find this machine
    is_host: bool = True  # whether this machine answers at the endpoint


def meeting_of(runtime: RuntimeSettings) -> Meeting:
    """Waits until somebody answers, unless it is for this machine to do so."""
    if runtime.nodes == 1 or runtime.rendezvous is None:
        return Meeting()
    try:
        address, own = _addresses(runtime.rendezvous)
    except OSError as error:
        raise UserError(not_met(runtime, str(error))) from None
    if own == address[0] and not _answers(address):
        return Meeting(runtime.rendezvous, own)
    if not _waited_for(address, PATIENCE_S):
        raise UserError(not_met(runtime, f"nobody answered in {PATIENCE_S} seconds"))
    return Meeting(runtime.rendezvous, own, is_host=False)


def not_met(runtime: RuntimeSettings, reason: str) -> str:
    return (
        f"params.yaml: runtime.rendezvous is '{runtime.rendezvous}', where the {runtime.nodes}"
        f" machines of runtime.nodes did not meet ({reason}): run the same command on each of them,"
        " and see that they reach that host and port."
    )


def _addresses(rendezvous: str) -> tuple[tuple[str, int], str]:
    """Of the rendezvous, and of this machine as seen from there."""
    host, _, port = rendezvous.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)  # sends nothing
        return address[:2], probe.getsockname()[0]


def _waited_for(address: tuple[str, int], patience_s: float) -> bool:
    """Here and not in torch, whose waiting no Ctrl-C would end."""
    deadline = time.monotonic() + patience_s
    while not _answers(address):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _answers(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address, timeout=5):
        return True
    return False
