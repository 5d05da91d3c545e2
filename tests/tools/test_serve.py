"""`make serve`: a port that can't be had is one line."""

import socket

import pytest

from tools.book import serve

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_a_taken_port():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=rf"port {port} can't be had: .*  Take another one: make serve PORT="):
            serve.main([str(port)])


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", ""])
def test_what_is_no_port(text):
    with pytest.raises(SystemExit, match="PORT: expected a number from 1 to 65535"):
        serve.main([text])
