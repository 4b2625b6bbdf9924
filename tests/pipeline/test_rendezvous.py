"""Machines wait for each other, and say where they did."""

import socket
import threading
import time

import pytest

from vprlib.pipeline import rendezvous
from vprlib.pipeline.params import UserError
from vprlib.pipeline.rendezvous import Meeting, meeting_of
from vprlib.pipeline.runtime import RuntimeSettings


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server


def port_of(server):
    return server.getsockname()[1]


def settings(port, host="127.0.0.1"):
    return RuntimeSettings(nodes=2, rendezvous=f"{host}:{port}")


def test_one_machine_meets_itself():
    runtime = RuntimeSettings(processes=2, rendezvous="elsewhere:1")
    assert meeting_of(runtime) == Meeting("localhost:0", "localhost", is_host=True)


def test_the_machine_of_the_rendezvous_answers_there_and_the_next_one_comes_to_it(listener):
    place = f"127.0.0.1:{port_of(listener)}"
    runtime = settings(port_of(listener))
    assert meeting_of(runtime) == Meeting(place, "127.0.0.1", is_host=True)
    listener.listen()
    assert meeting_of(runtime) == Meeting(place, "127.0.0.1", is_host=False)


def test_another_machine_waits_for_the_answer(listener):
    threading.Timer(0.3, listener.listen).start()
    begun = time.monotonic()
    assert rendezvous._waited_for(("127.0.0.1", port_of(listener)), patience_s=60)
    assert 0.2 < time.monotonic() - begun < 30


def test_waiting_for_an_answer_ends(listener, monkeypatch):
    elsewhere = ("127.0.0.1", port_of(listener))
    monkeypatch.setattr(rendezvous, "_addresses", lambda place: (elsewhere, "10.0.0.9"))
    monkeypatch.setattr(rendezvous, "PATIENCE_S", 0)
    with pytest.raises(UserError, match=r"where the 2 machines .* \(nobody answered in 0 seconds"):
        meeting_of(settings(port_of(listener)))


def test_a_host_that_has_no_address_is_said(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UserError, match=r"runtime\.rendezvous is 'nowhere:9', .*not known"):
        meeting_of(settings(9, "nowhere"))


def test_a_rendezvous_without_a_port_is_refused():
    with pytest.raises(ValueError, match="rendezvous"):
        RuntimeSettings(rendezvous="localhost")
