"""Peak memory as the benchmarks measure it."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import family, watching


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux alone tells it")
def test_the_peak_is_that_of_a_process_and_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    hungry = "import time; held = bytearray(80 << 20); time.sleep(1.5)"
    with subprocess.Popen([sys.executable, "-c", code.format(hungry)]) as parent:
        with watching(parent.pid) as peak:
            parent.wait()
        assert family(parent.pid) == [parent.pid]
    assert 80 < peak.mib < 160
