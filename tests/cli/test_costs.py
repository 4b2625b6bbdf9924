"""Times are medians, peaks are a process's own, and a code's time is beside the network's."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from vprlib.cli import costs
from vprlib.cli.costs import Cost, measure, peak_bytes, timed
from vprlib.model.model import Architecture, PlaceModel, write_model
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.artifacts import write_hdf5

GIVEN = {"cwd": Path(__file__).parents[2], "capture_output": True, "check": True}


def test_a_time_is_the_median_after_a_first_run(monkeypatch) -> None:
    clock, calls = iter([0, 9, 10, 11, 20, 22, 30, 33, 40, 44]), []
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(clock))
    assert timed(lambda: calls.append(1), 4.0) == 3  # of 9, 1, 2, 3 and 4 seconds
    assert len(calls) == 6


def test_networks_take_turns_and_the_median_round_counts(monkeypatch) -> None:
    turns, slowness = [], iter([1, 1, 9, 9, 2, 3])  # the second round on a busy machine

    def measured(network, coders, size, threads):
        turns.append(network.name)
        ms = float(next(slowness))
        coding = {str(coder): {1: ms / 8} for coder in coders}
        return [Cost(batch, {1: ms / batch}, coding, int(ms)) for batch in (1, 16)]

    monkeypatch.setattr(costs, "measured_apart", measured)
    found = costs.measured_in_rounds({Path("a"): [Path("w")], Path("b"): []}, (80, 64), [1])
    assert turns == ["a", "b"] * 3
    assert found[Path("a")][0] == Cost(1, {1: 2.0}, {"w": {1: 0.25}}, 9)
    assert found[Path("b")][1] == Cost(16, {1: 3 / 16}, {}, 9)


def test_network_and_codes_are_timed_at_each_number_of_threads(tmp_path, slim, monkeypatch) -> None:
    monkeypatch.setattr(costs, "SECONDS", 0.0)
    monkeypatch.setattr(costs, "CODING_SECONDS", 0.0)
    model = PlaceModel(Architecture(slim, "conv5", PoolSettings(), 3))
    write_model(tmp_path / "m.safetensors", model, {})
    draw = np.random.default_rng(1)
    arrays = {"mean": np.zeros(24, "f4"), "projection": draw.normal(size=(4, 24)).astype("f4")}
    coder = tmp_path / "w4.h5"
    write_hdf5(coder, arrays, {"precision": "float32", "query": "float32"})
    pixels = draw.integers(0, 256, (3, 64, 80, 3), dtype=np.uint8)
    found = measure(tmp_path / "m.safetensors", [coder], pixels, [1, 2])
    assert found.batch == 3 and set(found.network_ms) == {1, 2}
    assert all(value > 0 for value in found.network_ms.values())
    assert 0 < found.coding_ms[str(coder)][1] < found.network_ms[1]


def test_the_peak_is_what_a_process_has_held_itself() -> None:
    held = np.ones(2**24)  # 128 MiB, which a child would inherit by `getrusage`
    program = "from vprlib.cli.costs import np, peak_bytes; {}; print(peak_bytes())"
    peaks = [
        int(subprocess.run([sys.executable, "-c", program.format(action)], **GIVEN).stdout)
        for action in ("pass", "np.ones(2**23).sum()")
    ]
    assert peaks[0] < held.nbytes < peak_bytes()
    assert peaks[0] + 0.9 * 2**26 < peaks[1] < peaks[0] + 1.5 * 2**26
