"""What several test files share: a clean environment, a mirror that misbehaves as told, exact small machines."""

import gzip
import hashlib
import itertools
import os
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch._inductor.config  # torch does it late, and fails where a test has replaced `torch.cuda` by then

import dgm
from dgm import data
from dgm.models.rbm import RBM

torch.set_num_threads(1)
REPOSITORY = Path(dgm.__file__).parent.parent
REAL_DATA = os.environ.get("DGM_DATA")


@pytest.fixture
def clean_environment(monkeypatch):
    """No setting of the person who runs the tests; what `dgm.start` sets for good is undone."""
    for name in [name for name in os.environ if name.startswith("DGM_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    if torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


@pytest.fixture
def build_folder(clean_environment, monkeypatch, tmp_path):
    """An empty build folder, that `DGM_BUILD` names."""
    monkeypatch.setenv("DGM_BUILD", str(tmp_path / "build"))
    return tmp_path / "build"


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder with the four official MNIST files, to be read only."""
    folder = Path(REAL_DATA or "")
    if not REAL_DATA or len(list(folder.glob("MNIST/raw/*.gz"))) != 4:
        pytest.skip("needs the real MNIST: set DGM_DATA to a folder that has its four .gz files in MNIST/raw")
    return folder


@pytest.fixture
def network_cut(monkeypatch):
    """No name can be resolved and no connection opened."""

    def unreachable(*args, **kwargs):
        raise OSError(101, "Network is unreachable")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, unreachable)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, unreachable)


@pytest.fixture
def run_python():
    """A function that runs code in a process of its own, with `args` in `sys.argv[1:]`, and returns what it printed."""

    def run(code, *args):
        command = [sys.executable, "-c", code, *map(str, args)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the `Mirror` that the server belongs to."""

    def do_GET(self):
        mirror = self.server.mirror
        mirror.asked.append(self.path)
        behaviour, name = self.path[1:].replace("%20", " ").split("/")
        mirror.answer(self, behaviour, mirror.files[name])

    def log_message(self, *args):
        pass


class Mirror:
    """A web server on this machine; the address says how it behaves: `url("good")`, `url("404")`, `url("half")`, ...

    Attributes:
        files: the content of each name it serves.
        asked: the paths that were asked for.
    """

    def __init__(self):
        self.files, self.asked = {}, []
        self.closing = threading.Event()
        self.two_clients = threading.Barrier(2, timeout=30)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.mirror = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def url(self, behaviour):
        return f"http://127.0.0.1:{self.server.server_port}/{behaviour}/"

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, request, behaviour, content):
        half = len(content) // 2
        if behaviour == "hang":
            self.closing.wait()
            return
        if behaviour.isdecimal():
            request.send_error(int(behaviour))
            return
        if behaviour == "html":
            content = b"<!doctype html><title>Welcome</title><p>Please sign in to the network of this hotel."
        if behaviour == "changed":
            content = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        request.send_response(200)
        if behaviour != "half without length":
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:half])
        if behaviour == "stall":
            self.closing.wait()
        if behaviour == "meet":  # both clients hold half a file now
            self.two_clients.wait()
        if not behaviour.startswith(("half", "stall")):
            request.wfile.write(content[half:])


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Mirror()
    yield server
    server.close()


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def arrays():
    """What the small files that stand for MNIST hold, by name."""
    rng = np.random.default_rng(0)
    shapes = [(6, 28, 28), (6,), (3, 28, 28), (3,)]
    return {name: rng.integers(0, 256, shape, np.uint8) for name, shape in zip(data.FILES, shapes, strict=True)}


@pytest.fixture
def files(arrays, mirror, monkeypatch):
    """Contents of the small files, by name; the mirror serves them and `dgm.data` takes them for the official ones."""
    contents = {name: idx(array) for name, array in arrays.items()}
    monkeypatch.setattr(data, "FILES", {name: hashlib.sha256(file).hexdigest() for name, file in contents.items()})
    mirror.files = contents
    return contents


def lay(files, folder, *, without=()):
    """Put the files where they belong, and return their folder."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in set(files) - set(without):
        (raw / name).write_bytes(files[name])
    return raw


@pytest.fixture
def make_venv():
    """A function that makes `folder/.venv` at once: with pip from the environment that runs the tests."""

    def make(folder):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
        site = next((folder / ".venv" / "lib").glob("python*/site-packages"))
        (site / "pip").symlink_to(Path(sysconfig.get_path("purelib")) / "pip")
        return folder

    return make


@pytest.fixture
def machine():
    """A function that makes a small float64 RBM and, beside it, everything about it by enumeration in NumPy.

    Of the second, `v` and `h` are all states, row by row, `joint[i, j]` is p(v_i, h_j), `pv` is p(v), and `energy` and
    `log_partition` are what their names say.
    """

    def make(num_visible=4, num_hidden=3, *, std=1.0, seed=0):
        rng = np.random.default_rng(seed)
        W, b, c = (std * rng.standard_normal(shape) for shape in ((num_visible, num_hidden), num_visible, num_hidden))
        rbm = RBM(num_visible, num_hidden).double()
        rbm.load_state_dict({"W": torch.tensor(W), "b": torch.tensor(b), "c": torch.tensor(c)})
        v, h = (np.array(list(itertools.product([0.0, 1.0], repeat=n))) for n in (num_visible, num_hidden))
        interaction = np.einsum("ni,ij,mj->nm", v, W, h)
        energy = -np.einsum("ni,i->n", v, b)[:, None] - np.einsum("mj,j->m", h, c) - interaction
        log_partition = np.log(np.exp(-energy).sum())
        joint = np.exp(-energy - log_partition)
        exact = SimpleNamespace(v=v, h=h, energy=energy, log_partition=log_partition, joint=joint, pv=joint.sum(1))
        return rbm, exact

    return make
