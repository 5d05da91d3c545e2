"""Show the built book in a browser of this machine: `python -m tools.book.serve [PORT]`."""

from __future__ import annotations

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from dgm.runtime import profile_name, seed_of_environment

from tools.book.folder import folder_of


def main(arguments: list[str]) -> int:
    """Serve until Ctrl-C."""
    text = arguments[0] if arguments else "8000"
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise SystemExit(f"PORT: expected a number from 1 to 65535, got {text!r}")
    folder = folder_of(profile_name(), seed_of_environment()) / "html"
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(text)), handler)
    except OSError as error:
        raise SystemExit(
            f"port {text} can't be had: {error.strerror}.  Take another one: make serve PORT=8001"
        ) from None
    with server:
        print(f"the book is at http://localhost:{text}; Ctrl-C ends this", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
