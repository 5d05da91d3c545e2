import gzip
import json
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dgm import data
from dgm.data import DataError, MirrorsFailed

from tests.conftest import idx, lay

pytestmark = pytest.mark.usefixtures("clean_environment")
BROKEN = ["403", "404", "503", "html", "half", "half without length", "changed", "hang", "stall"]
TIMEOUT = 1.0  # seconds, for mirrors that hang
# The first lines of a child process: the small files and the folder come as arguments.
CHILD = """
import json, os, resource, sys
from dgm import data
data.FILES = json.loads(sys.argv[1])
folder, mirrors = sys.argv[2], tuple(sys.argv[3:])
"""


def listing(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def held(raw):
    """All that lies in a folder: a stray temporary file would show."""
    return {path.name: path.read_bytes() for path in raw.iterdir()}


def same(digits, arrays):
    found = (digits.images, digits.labels, digits.test_images, digits.test_labels)
    return digits.name == "MNIST" and all(map(np.array_equal, found, arrays.values()))


def test_download(files, arrays, mirror, tmp_path):
    digits = data.load_digits(tmp_path, mirrors=(mirror.url("good"), mirror.url("404")))
    assert same(digits, arrays)
    assert digits.warning == ""
    assert held(tmp_path / "MNIST" / "raw") == files
    assert mirror.asked == [f"/good/{name}" for name in files]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in tmp_path.glob("MNIST/raw/*"))  # a shared folder works


@pytest.mark.parametrize("behaviour", BROKEN)
def test_next_mirror(behaviour, files, arrays, mirror, tmp_path):
    first = next(iter(files))
    raw = lay(files, tmp_path, without=[first])
    mirrors = (mirror.url(behaviour), mirror.url("good"))
    started = time.monotonic()
    assert same(data.load_digits(tmp_path, mirrors=mirrors, timeout=TIMEOUT), arrays)
    assert time.monotonic() - started < 15 * TIMEOUT  # it did not wait for the mirror to give up
    assert held(raw) == files
    assert len(mirror.asked) == 2


@pytest.mark.parametrize("behaviour", BROKEN)
def test_no_mirror_works(behaviour, files, mirror, tmp_path):
    first = next(iter(files))
    raw = lay(files, tmp_path, without=[first])
    before = held(raw)
    with pytest.raises(MirrorsFailed) as raised:
        data.fetch_mnist(tmp_path, mirrors=(mirror.url(behaviour),), timeout=TIMEOUT)
    assert f"{behaviour}/{first}: " in str(raised.value)
    assert f"Put MNIST's four .gz files into {raw}" in str(raised.value)
    assert "DGM_DATA" in str(raised.value)
    assert held(raw) == before
    embedded = data.load_digits(tmp_path, mirrors=(mirror.url(behaviour),), timeout=TIMEOUT)
    assert embedded.name == "digits"
    assert str(raised.value) in embedded.warning
    assert held(raw) == before


@pytest.mark.parametrize("behaviour", ["good", "404"])
def test_broken_files_are_not_trusted(behaviour, files, arrays, mirror, tmp_path):
    first, second, *_ = files
    raw = lay(files, tmp_path)
    (raw / first).write_bytes(files[first][:-10])  # truncated
    (raw / second).write_bytes(files[second] + b"\0")
    (raw / "tmpabc123").write_bytes(files[first][:50])  # of a process that was killed
    digits = data.load_digits(tmp_path, mirrors=(mirror.url(behaviour),))
    if behaviour == "good":
        assert same(digits, arrays)
        assert held(raw) == files | {"tmpabc123": files[first][:50]}
        assert mirror.asked == [f"/good/{first}", f"/good/{second}"]
    else:
        assert digits.name == "digits"


def test_connection_refused(files, arrays, mirror, tmp_path):
    assert same(data.load_digits(tmp_path, mirrors=("http://127.0.0.1:1/", mirror.url("good"))), arrays)


@pytest.mark.usefixtures("network_cut")
def test_offline_gives_the_embedded_digits(tmp_path):
    digits = data.load_digits(tmp_path)
    assert digits.name == "digits"
    assert "NOT MNIST" in digits.warning
    assert str(tmp_path / "MNIST" / "raw") in digits.warning
    assert all(mirror in digits.warning for mirror in data.MIRRORS)
    assert digits.images.shape == (1297, 28, 28)
    assert digits.test_images.shape == (500, 28, 28)
    assert digits.images.dtype == digits.labels.dtype == np.uint8
    assert set(digits.labels) == set(range(10))
    assert [len(digits.vectors(part)) for part in ("train", "valid", "test")] == [1097, 200, 500]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("network_cut")
def test_verified_files_are_used_as_they_are(files, arrays, tmp_path, monkeypatch):
    lay(files, tmp_path / "data")
    before = listing(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in (str(tmp_path / "data"), "~/data"):
        monkeypatch.setenv("DGM_DATA", named)
        assert same(data.load_digits(), arrays)
    assert listing(tmp_path) == before


def test_home_folder_in_the_name(files, arrays, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert same(data.load_digits("~/data", mirrors=(mirror.url("good"),)), arrays)
    assert held(tmp_path / "data" / "MNIST" / "raw") == files


def test_default_folder_is_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.data_folder().name == "dgm"


def test_read_only_folder(files, mirror, run_python):
    """In a process without root's right to write anywhere."""
    code = """
import pooch, requests
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    open(folder + "/MNIST/raw/x", "w")
    sys.exit("the folder can be written to")
except PermissionError:
    pass
try:
    print(data.load_digits(folder, mirrors=mirrors).name)
except data.DataError as error:
    print(type(error).__name__, error)
"""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        raw = lay(files, Path(name))
        folders = [raw, raw.parent, Path(name)]
        for missing in (None, next(iter(files))):
            if missing:
                (raw / missing).unlink()
            for folder in folders:
                folder.chmod(0o555)
            before = listing(raw)
            answer = run_python(CHILD + code, json.dumps(data.FILES), name, mirror.url("good"))
            assert listing(raw) == before
            for folder in folders:
                folder.chmod(0o755)
            if missing:
                assert answer.startswith(f"DataError can't write {raw / missing}: [Errno 13]")
                assert "set DGM_DATA to a folder that can be written to" in answer
            else:
                assert answer == "MNIST\n"


@pytest.mark.usefixtures("files")
def test_an_attempt_that_brought_nothing_leaves_no_folder(mirror, tmp_path):
    with pytest.raises(MirrorsFailed):
        data.fetch_mnist(tmp_path / "a" / "b", mirrors=(mirror.url("404"),), timeout=TIMEOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["MNIST", "MNIST/raw"])
def test_a_folder_too_deep_is_named(part, files, mirror, tmp_path):
    lay(files, tmp_path)
    with pytest.raises(DataError, match=rf"in MNIST/raw, got {tmp_path / part}: set DGM_DATA to {tmp_path}$"):
        data.fetch_mnist(tmp_path / part, mirrors=(mirror.url("good"),))
    assert mirror.asked == []


@pytest.mark.usefixtures("files")
def test_folder_below_a_file(mirror, tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(DataError, match=r"can't write .* set DGM_DATA to a folder that can be written to"):
        data.load_digits(tmp_path / "file", mirrors=(mirror.url("good"),))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


@pytest.mark.parametrize("limit", [0, 1000])
def test_disk_fills_up(limit, files, arrays, mirror, run_python, tmp_path):
    """A limit on the size of files makes the real write fail, as a full disk does."""
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    data.load_digits(folder, mirrors=mirrors)
except data.DataError as error:
    print(type(error).__name__, error)
"""
    answer = run_python(CHILD + code, json.dumps(data.FILES), tmp_path, mirror.url("good"))
    raw = tmp_path / "MNIST" / "raw"
    assert answer.startswith(f"DataError can't write {raw / next(iter(files))}: [Errno 27]")
    assert "Make room there, or set DGM_DATA" in answer
    assert held(raw) == {}
    assert same(data.load_digits(tmp_path, mirrors=(mirror.url("good"),)), arrays)


def test_two_processes_download_at_once(files, arrays, mirror, run_python, tmp_path):
    """The mirror sends the second half of a file when both processes hold its first half."""
    first = next(iter(files))
    raw = lay(files, tmp_path, without=[first])
    code = "print(int(data.load_digits(folder, mirrors=mirrors).images.sum()))"
    arguments = (CHILD + code, json.dumps(data.FILES), tmp_path, mirror.url("meet"))
    with ThreadPoolExecutor(2) as pool:
        answers = [job.result() for job in [pool.submit(run_python, *arguments) for _ in range(2)]]
    assert answers == [f"{arrays[first].sum()}\n"] * 2
    assert mirror.asked == [f"/meet/{first}"] * 2
    assert held(raw) == files


@pytest.mark.usefixtures("network_cut")
def test_real_mnist(mnist_folder, tmp_path):
    """torchvision opens a copy of the same files without a download: their MD5 sums are those that it expects."""
    import torchvision

    before = listing(mnist_folder)
    digits = data.load_digits(mnist_folder)
    assert digits.name == "MNIST"
    assert digits.images.shape == (60_000, 28, 28)
    assert digits.test_images.shape == (10_000, 28, 28)
    shutil.copytree(mnist_folder / "MNIST" / "raw", tmp_path / "MNIST" / "raw", copy_function=shutil.copyfile)
    for train, images, labels in (
        (True, digits.images, digits.labels),
        (False, digits.test_images, digits.test_labels),
    ):
        theirs = torchvision.datasets.MNIST(tmp_path, train=train, download=True)
        assert np.array_equal(images, theirs.data.numpy())
        assert np.array_equal(labels, theirs.targets.numpy())
    train, valid, test = (digits.vectors(part) for part in ("train", "valid", "test"))
    assert (train.shape, valid.shape, test.shape) == ((50_000, 784), (10_000, 784), (10_000, 784))
    assert train.dtype == np.float32
    assert (train.min(), train.max()) == (0, 1)
    rows = {row.tobytes() for row in digits.images}
    assert len(rows) == 60_000  # no image stands in the training file twice, so slices that do not overlap are disjoint
    assert np.array_equal(np.concatenate([train, valid]), digits.vectors("train+valid"))
    assert np.array_equal(digits.vectors("train+valid"), digits.images.reshape(-1, 784).astype(np.float32) / 255)
    assert not any(row.tobytes() in rows for row in digits.test_images)
    assert listing(mnist_folder) == before


def test_unknown_part(files, tmp_path):
    lay(files, tmp_path)
    with pytest.raises(ValueError, match=r"part: expected one of train, valid, train\+valid, test, got 'training'"):
        data.load_digits(tmp_path).vectors("training")


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 3)])
def test_read_idx(shape, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "x.gz").write_bytes(idx(array))
    assert np.array_equal(data.read_idx(tmp_path / "x.gz"), array)


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
REFUSED = {
    "nothing": (b"", "magic number"),
    "a page": (b"<!doctype html>", "gzipped IDX file"),
    "half a file": (GOOD[:-4], "gzipped IDX file"),
    "a changed byte": (GOOD[:15] + bytes([GOOD[15] ^ 255]) + GOOD[16:], "gzipped IDX file"),
    "gzipped nothing": (gzip.compress(b""), "magic number"),
    "floats": (gzip.compress(b"\0\0\x0d\x01" + b"\0\0\0\x01" + b"abcd"), "magic number"),
    "half a header": (gzip.compress(b"\0\0\x08\x03" + b"\0\0"), "bytes"),
    "too few bytes": (gzip.compress(b"\0\0\x08\x01" + b"\0\0\0\x03" + b"ab"), r"expected \(3,\) bytes, got 2"),
    "too many bytes": (gzip.compress(b"\0\0\x08\x01" + b"\0\0\0\x03" + b"abcd"), r"expected \(3,\) bytes, got 4"),
    "2^64 bytes": (gzip.compress(b"\0\0\x08\x04" + 4 * b"\0\x01\0\0"), "bytes, got 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_read_idx_refuses(what, tmp_path):
    content, message = REFUSED[what]
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        data.read_idx(tmp_path / "x.gz")


def test_read_idx_without_a_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        data.read_idx(tmp_path / "x.gz")


def test_binarise_threshold():
    bytes_ = np.array([[0, 127], [128, 255]], np.uint8)
    for images in (bytes_, bytes_ / 255):
        binary = data.binarise(images, method="threshold")
        assert binary.dtype == np.float32
        assert np.array_equal(binary, [[0, 0], [1, 1]])
    assert data.binarise(np.array([0.5]), method="threshold") == 0


def test_binarise_stochastic():
    """The mean of each pixel is its grey value, within five standard errors."""
    grey = np.array([0, 1, 64, 128, 254, 255], np.uint8)
    num_draws = 20_000
    draws = data.binarise(np.tile(grey, (num_draws, 1)), method="stochastic", rng=np.random.default_rng(0))
    assert draws.dtype == np.float32
    assert set(np.unique(draws)) == {0, 1}
    probs = grey / 255
    assert (abs(draws.mean(0, dtype=float) - probs) <= 5 * np.sqrt(probs * (1 - probs) / num_draws)).all()
    again = data.binarise(np.tile(grey, (num_draws, 1)), method="stochastic", rng=np.random.default_rng(0))
    assert np.array_equal(draws, again)


@pytest.mark.parametrize(
    ("images", "method", "message"),
    [
        (np.array([0.1, np.nan]), "threshold", r"images: expected grey values in \[0, 1\], got \[nan"),
        (np.array([0.0, 1.5]), "threshold", r"expected grey values in \[0, 1\], got \[0.0, 1.5\]"),
        (np.array([-0.1]), "stochastic", r"expected grey values in \[0, 1\]"),
        (np.array([0, 255]), "threshold", "expected uint8, or floats .* got int64"),
        (np.array([True]), "threshold", "got bool"),
        (np.array([0.5]), "otsu", "method: expected 'stochastic' or 'threshold', got 'otsu'"),
        (np.array([0.5]), "stochastic", "rng: expected a numpy.random.Generator .* got None"),
    ],
)
def test_binarise_refuses(images, method, message):
    with pytest.raises(ValueError, match=message):
        data.binarise(images, method=method)


def test_dequantise():
    """Bytes come back by rounding down, and what was added is uniform on [0, 1)."""
    bytes_ = np.repeat(np.arange(256, dtype=np.uint8), 200)
    x = data.dequantise(bytes_, rng=np.random.default_rng(0))
    assert x.dtype == np.float64
    assert np.array_equal(np.floor(x * 256), bytes_)
    noise = x * 256 - bytes_
    assert abs(noise.mean() - 1 / 2) <= 5 * np.sqrt(1 / 12 / noise.size)
    assert abs((noise**2).mean() - 1 / 3) <= 5 * np.sqrt(4 / 45 / noise.size)
    with pytest.raises(ValueError, match="images: expected uint8, got float64"):
        data.dequantise(x, rng=np.random.default_rng(0))


def test_the_build_decides_which_data_there_are(files, mirror, monkeypatch, tmp_path, clean_environment):
    """Its kernels take what it says, and download nothing."""
    lay(files, tmp_path)
    monkeypatch.setenv("DGM_DATA", str(tmp_path))
    monkeypatch.setenv("DGM_DATASET", "digits")
    found = data.load_digits(mirrors=(mirror.url("good"),))
    assert found.name == "digits"
    assert found.warning.startswith("*** NOT MNIST ***")
    monkeypatch.setenv("DGM_DATASET", "MNIST")
    assert data.load_digits(mirrors=(mirror.url("good"),)).name == "MNIST"
    monkeypatch.setenv("DGM_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(data.MirrorsFailed, match="No mirror gave"):
        data.load_digits(mirrors=(mirror.url("good"),))
    assert mirror.asked == []
    monkeypatch.setenv("DGM_DATASET", "cifar")
    with pytest.raises(ValueError, match="DGM_DATASET: expected MNIST or digits, got 'cifar'"):
        data.load_digits()


def test_finding_the_folder_imports_nothing_that_warns(run_python):
    """pooch imports tqdm, which warns in a kernel that there are no widgets: the page of a lecture would show it."""
    code = """
import os, sys
os.environ.pop("DGM_DATA", None)
from dgm import data
import platformdirs
assert data.data_folder() == platformdirs.user_cache_path("dgm")
print([name for name in ("pooch", "tqdm.auto", "requests") if name in sys.modules])
"""
    assert run_python(code).splitlines()[-1] == "[]"
