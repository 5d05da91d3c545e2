"""The bar in a terminal, in a notebook and in a log; one line is left."""

import io
import re
import sys

import nbformat
import pytest
from nbclient import NotebookClient

import dgm


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_log_one_line_is_left(capsys):
    assert list(dgm.progress(range(3), "count")) == [0, 1, 2]
    printed = capsys.readouterr()
    assert printed.out == "count: 3 steps, 0 s\n"
    assert printed.err == ""


def test_in_a_terminal_a_bar_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bars = []
    for _ in dgm.progress((i for i in range(4)), "count", total=4):
        bars.append(sys.stderr.getvalue())
    assert "count:" in sys.stderr.getvalue()
    assert "0/4" in bars[0]
    assert capsys.readouterr().out == "count: 4 steps, 0 s\n"


def test_steps_of_an_earlier_run_count(capsys):
    list(dgm.progress(iter("ab"), "count", total=5, done=3))
    assert capsys.readouterr().out == "count: 5 steps, 3 of them before, 0 s\n"


def test_an_interruption_passes_through():
    def interrupted():
        yield 0
        raise KeyboardInterrupt

    steps = dgm.progress(interrupted(), "count")
    assert next(steps) == 0
    with pytest.raises(KeyboardInterrupt):
        next(steps)


def test_in_a_notebook_one_text_is_left():
    """What a page shows: the last line, and nothing of the bar."""
    code = "import time, dgm\nfor i in dgm.progress(range(3), 'count'):\n    time.sleep(0.7)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    seen = []
    client = NotebookClient(notebook, timeout=60, kernel_name="python3")
    client.on_notebook_start = None
    original = client.process_message

    def listening(message, *args):
        if message["msg_type"] == "update_display_data":
            seen.append(message["content"]["data"]["text/plain"])
        return original(message, *args)

    client.process_message = listening
    client.execute()
    (output,) = notebook.cells[0].outputs
    assert output["output_type"] == "display_data"
    assert output["data"] == {"text/plain": "count: 3 steps, 2 s"}
    assert any(re.search(r"\d/3 \[\d\d:\d\d<\d\d:\d\d", text) for text in seen), seen  # since the start < left
