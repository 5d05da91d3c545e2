"""What this machine lacks, in one line each, before anything is begun: `make` calls this with the Python it found.

python -I tools/preflight.py          is this a Python, and a machine, that the book runs on?
python -m tools.preflight build       is there room for a book, and the right to write it?

It runs before .venv exists, with any Python from 3.6 on: an old one is to be told so, and not to stumble over syntax.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST, NEWEST = (3, 11), (3, 13)
GB = 1e9
VENV_GB = 8.7  # measured on Linux: 8.6
DOWNLOAD_GB = 3.5  # archives, before they are unpacked
BUILD_GB = 0.5  # a book in one profile, and MNIST


def problems_of_python(version=sys.version_info[:2], executable=sys.executable):
    """Nothing, or that this Python is too old or too new for the lock."""
    if OLDEST <= tuple(version) <= NEWEST:
        return []
    message = (
        f"Python 3.11, 3.12 or 3.13 is needed, got {version[0]}.{version[1]} ({executable}).  "
        "Install one of them, or name it: make PYTHON=/path/to/python3.11"
    )
    return [message]


def problems_of_machine(system=None, machine=None):
    """Nothing, or that there is no torch for this machine."""
    system, machine = system or platform.system(), machine or platform.machine()
    if (system, machine) == ("Darwin", "x86_64"):
        message = (
            "PyTorch has no wheels for Macs with an Intel processor any more: run the lectures in Colab.  On a Mac "
            "with Apple's own processor this is a Python for Intel: name one for arm64 with make PYTHON=..."
        )
        return [message]
    return []


def problems_of_venv(root=ROOT):
    """Nothing, or that .venv was made by a Python that has changed since, or in another folder."""
    folder = os.path.join(root, ".venv")
    python = os.path.join(folder, "bin", "python")
    advice = "  Remove it, and let make install it again: rm -rf .venv"
    # The folder may have blanks in its name: it is all that follows the options of venv.
    pattern = r"^command = .* -m venv (?:--\S+ )*(.+)$"
    made_in = re.search(pattern, _read(os.path.join(folder, "pyvenv.cfg")), re.MULTILINE)
    if made_in and os.path.realpath(made_in.group(1)) != os.path.realpath(folder):
        return [f".venv was made in another folder, {made_in.group(1)}, and its programs point there.{advice}"]
    try:
        subprocess.check_output([python, "-c", "import pip"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return [f".venv does not work: the Python that made it was removed or replaced.{advice}"]
    return []


def problems_of_writing(folders):
    """The folders, of those that exist, in which no file can be made."""
    found = []
    for folder in folders:
        if not os.path.isdir(folder):
            continue
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            found.append(
                f"can't write to {folder}: {error.strerror}.  Give yourself the right to, or clone the repository "
                "into a folder of your own."
            )
    return found


def problems_of_room(needs, freed=0.0):
    """What is missing on each disk.

    Args:
        needs: pairs of a folder, which may not exist yet, and the gigabytes that it will hold.
        freed: gigabytes that the installation removes first from the disk of the first folder.
    """
    disks = {}
    for folder, gigabytes in needs:
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        disk = disks.setdefault(os.stat(folder).st_dev, [folder, 0.0, -freed if not disks else 0.0])
        disk[1] += gigabytes
    found = []
    for folder, needed, less in disks.values():
        free = shutil.disk_usage(folder).free / GB
        if free < needed + less:
            found.append(f"the disk of {folder} has {free:.1f} GB free, {needed + less:.1f} GB are needed.  Make room.")
    return found


def problems_of_setup(root=ROOT):
    """What would stop the installation half-way."""
    found = problems_of_python()
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        found.append(f"{sys.executable} lacks the module venv.  On Debian and Ubuntu: sudo apt install python3-venv")
    venv = os.path.join(root, ".venv")
    half_made = not os.path.exists(os.path.join(venv, ".installed"))
    needs = [(venv, VENV_GB if half_made else BUILD_GB)]
    cache = cache_of_uv()
    # On one disk .venv has links to what the cache holds, on two the packages are there twice.
    needs.append((cache, DOWNLOAD_GB if _disk(cache) == _disk(venv) else VENV_GB + DOWNLOAD_GB))
    return found + problems_of_writing([root]) + problems_of_room(needs, _size(venv) / GB if half_made else 0.0)


def problems_of_build(root=ROOT):
    """What would stop a build of the book half-way."""
    build = os.path.join(root, "_build")
    inside = [entry.path for entry in os.scandir(build) if entry.is_dir()] if os.path.isdir(build) else []
    return problems_of_writing([root, build, *inside])[:1] + problems_of_room([(build, BUILD_GB)])


def problems_of_index(root=ROOT, python=sys.executable, environment=None):
    """Nothing, or that pip can't get the first package of the lock."""
    lock = _read(os.path.join(root, "requirements.txt"))
    first = re.search(r"^([\w.-]+==[\w.]+) \\$", lock, re.MULTILINE).group(1)
    command = [python, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "15", first]
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if asked.returncode == 0:
        return []
    reason = re.search(r"\[Errno[^\]]*\] [^'\")]+|ERROR: .*", asked.stderr)
    message = (
        "pip can't get {} from its package index{}.  The installation needs the network once; behind a proxy set "
        "HTTPS_PROXY, for another index PIP_INDEX_URL.".format(first, f" ({reason.group(0)})" if reason else "")
    )
    return [message]


def stop_if(found):
    """End the program with the messages, if there are any."""
    if found:
        sys.exit("\n".join(found))


def _read(path):
    """The text of a file, empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def cache_of_uv():
    """Where uv keeps what it has downloaded."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("UV_CACHE_DIR") or os.path.join(base, "uv")


def _disk(folder):
    """The number of the disk that a folder, which may not exist yet, is or will be on."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(os.path.abspath(folder))
    return os.stat(folder).st_dev


def _size(folder):
    """Bytes in all files of a folder."""
    return sum(os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names)


def main(arguments):
    """Check what was asked for; the exit status is 0 only where nothing is missing."""
    stop_if(problems_of_build() if arguments == ["build"] else problems_of_python() + problems_of_machine())


if __name__ == "__main__":
    main(sys.argv[1:])
