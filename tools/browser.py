"""A real browser that reads the built book from this machine alone; `make browser` runs the tests that use it.

`DGM_CHROMIUM` names the program, `DGM_BOOK` the folder with the pages; both are found where nobody says.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tools.repo import ROOT

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = 1400, 390  # width in pixels
HEIGHT = 900
LONGEST_FOLDER = 50

# MathJax works after the page is loaded; a change of colours takes a moment where the theme fades them.
_SETTLED = """async () => {
  await window.MathJax?.startup?.promise;
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  // A transition of what is folded away may never end.
  const fading = document.getAnimations().filter(a => a instanceof CSSTransition).map(a => a.finished);
  await Promise.race([Promise.allSettled(fading), new Promise(done => setTimeout(done, 1000))]);
}"""


def chromium() -> str:
    """Path of Chromium; where there is none and we may, Debian's is installed."""
    if wanted := os.environ.get("DGM_CHROMIUM"):
        if not (path := shutil.which(wanted)):
            raise SystemExit(f"DGM_CHROMIUM: expected a program, got {wanted!r}")
        return path
    if not (path := _installed()):
        with _one_at_a_time():  # several test processes begin at once, and apt lets only one work
            if not _installed():
                _install()
        path = _installed()
    if not path:
        raise SystemExit("expected Chromium after its installation, found none of: " + ", ".join(PROGRAMS))
    return path


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait until no other process is here."""
    with open(Path(tempfile.gettempdir()) / "dgm-chromium.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _installed() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def _install() -> None:
    """Install Debian's package without questions; say which package is missing where that is not possible."""
    if not shutil.which("apt-get") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise SystemExit(
            f"expected a browser, {', '.join(PROGRAMS[:-1])} or {PROGRAMS[-1]}, found none: install the package "
            "`chromium` (Debian: apt-get install chromium), or name a program in DGM_CHROMIUM"
        )
    print("installing Debian's package `chromium`", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-q", "--yes", "--no-install-recommends", "chromium"]):
        if subprocess.run(["apt-get", *arguments], env=environment, check=False).returncode:
            raise SystemExit(f"`apt-get {' '.join(arguments)}` failed: install the package `chromium` by hand")


def book_folder(root: Path = ROOT) -> Path:
    """The pages to read: `DGM_BOOK`, else the newest book of this checkout."""
    if named := os.environ.get("DGM_BOOK"):
        if not (Path(named) / "index.html").is_file():
            raise SystemExit(f"DGM_BOOK: expected a folder with index.html, got {named!r}")
        return Path(named).resolve()
    books = [index for name in ("quick", "smoke") if (index := root / "_build" / name / "html/index.html").is_file()]
    if not books:
        raise SystemExit("expected a built book in _build/quick/html or _build/smoke/html: run `make book` first")
    return max(books, key=lambda index: index.stat().st_mtime).parent


def page_names(folder: Path) -> list[str]:
    """Addresses of all pages below `folder`, without those that only send the reader on."""
    inside = {path: set(path.relative_to(folder).parts) for path in sorted(folder.rglob("*.html"))}
    paths = [path for path, parts in inside.items() if not {"_static", "_sources"} & parts]
    read = [path for path in paths if 'http-equiv="refresh"' not in path.read_text(encoding="utf-8").lower()]
    return [path.relative_to(folder).as_posix() for path in read]


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: the reader notes what fails."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve `folder` on a free port of this machine, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def short_temporary_folder() -> Iterator[None]:
    """Chromium keeps a socket in the temporary folder, whose path may have 107 characters; Playwright adds fifty."""
    before = os.environ.get("TMPDIR")
    if before and len(os.path.abspath(before)) > LONGEST_FOLDER:
        os.environ["TMPDIR"] = "/tmp"
    try:
        yield
    finally:
        if before:
            os.environ["TMPDIR"] = before


@contextmanager
def browser() -> Iterator[Browser]:
    """The system's Chromium without a window."""
    # Chromium refuses to run as root inside its sandbox; it reads nothing here but our own pages.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with short_temporary_folder(), sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield program
        finally:
            program.close()


class Reader:
    """One tab that shows pages below `address`; every other host is out of reach.

    Attributes:
        page: the tab, as Playwright knows it.
        failures: requests that failed or left this machine, and errors of scripts, since the page was loaded.
    """

    def __init__(self, program: Browser, address: str) -> None:
        self.address, self.failures, self._shown = address, [], ""
        context = program.new_context(reduced_motion="reduce", permissions=["clipboard-read", "clipboard-write"])
        context.route(lambda url: not url.startswith((address, "data:", "blob:")), self._refuse)
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.failures.append(f"error of a script: {error}"))
        self.page.on("console", self._listen)
        self.page.on("requestfailed", self._note)
        self.page.on("response", self._look_at)

    def _refuse(self, route) -> None:
        self.failures.append(f"asks another host: {route.request.url[:200]}")
        route.abort()

    def _note(self, request) -> None:
        # Aborted: the browser itself gave up a request, for an icon for example, because the page was left.
        if request.failure != "net::ERR_ABORTED":
            self.failures.append(f"failed: {request.url[:200]}")

    def _listen(self, message) -> None:
        if message.type == "error":
            self.failures.append(f"console: {message.text}")

    def _look_at(self, response) -> None:
        if response.status >= 400:
            self.failures.append(f"status {response.status}: {response.url[:200]}")

    def open(self, name: str, *, width: int = DESKTOP, dark: bool = False, fresh: bool = False) -> Page:
        """Show a page at a width, light or dark; it is loaded only where it is not there already, or `fresh`."""
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        if fresh or self._shown != name:
            self.failures.clear()
            self.page.goto(self.address + name)
            self._shown = name
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until equations are typeset and colours have changed."""
        self.page.evaluate(_SETTLED)

    def spoil(self) -> None:
        """What is shown has been changed: load it again next time."""
        self._shown = ""

    def close(self) -> None:
        """Close the tab and what belongs to it."""
        self.page.context.close()
