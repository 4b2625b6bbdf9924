"""What a person sees of long work on a terminal."""

import io
import time

from vprlib.pipeline.progress import counting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_images_a_second_time_left_and_failures_are_shown(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with counting(10, "describing") as count:
        time.sleep(0.11)
        count(4, 1)
    shown = terminal.getvalue()
    assert "describing:" in shown and "4/10" in shown
    assert "image/s" in shown and "1 unreadable" in shown and "<00:0" in shown


def test_nothing_is_shown_in_a_log(capsys):
    with counting(10, "describing") as count:
        count(4, 0)
    assert capsys.readouterr().err == ""
