"""The stopwatch of the benchmarks: every second belongs to one part."""

import pytest

from benchmarks.stopwatch import Stopwatch


def test_a_part_within_another_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = Stopwatch()
    with clock.part("outer"):
        now[0] += 1
        with clock.part("inner"):
            now[0] += 10
        now[0] += 2
    assert clock.seconds == {"outer": 3.0, "inner": 10.0}


def test_waiting_counts_until_each_item_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = [0.0], Stopwatch()
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def slow():
        for item in "ab":
            now[0] += 5
            yield item

    seen = []
    for item in clock.waiting("data", slow()):
        now[0] += 100
        seen.append(item)
    assert (seen, clock.seconds) == (["a", "b"], {"data": 10.0})
