"""Make .venv and install the locked dependencies, where that is not done: `make` calls this before everything else.

What was installed is known by hashes, not by file times: switching branches installs nothing.  The package index is
asked before anything is cleared.  uv installs, and pip only brings it; both know the hashes of the lock.

python -m tools.install         install
python -m tools.install lock    write requirements.txt anew
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tools import preflight
from tools.environment import ROOT as HERE

ROOT = Path(HERE)
# Settings of pip and uv that say where packages come from; those that say where they go are ours.
SOURCES = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|CERT|CLIENT_CERT|PROXY|TRUSTED_HOST|CONFIG_FILE|CACHE_DIR"
    r"|NO_CACHE_DIR|(DEFAULT_)?TIMEOUT|RETRIES|KEYRING_PROVIDER)$"
    r"|UV_(CACHE_DIR|DEFAULT_INDEX|INDEX|INDEX_URL|INDEX_STRATEGY|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|LINK_MODE|OFFLINE"
    r"|INSECURE_HOST|KEYRING_PROVIDER|CONCURRENT_\w+)$"
)


def wanted(root: Path = ROOT) -> dict[str, str]:
    """What must have been installed: hashes of the lock and of the project's own settings, and the Python."""

    def digest(name: str) -> str:
        return hashlib.sha256((root / name).read_bytes()).hexdigest()

    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return {"lock": digest("requirements.txt"), "project": digest("pyproject.toml"), "python": version}


def installed(root: Path = ROOT) -> dict[str, str]:
    """What the last installation that ended noted; empty where none did."""
    try:
        found = json.loads((root / ".venv" / ".installed").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def locked_block(name: str, lock: str) -> str:
    """The lines of one package in the lock, with its hashes.

    Raises:
        ValueError: the lock does not have it.
    """
    found = re.search(rf"^{re.escape(name)}==[^\\\n]*(?:\\\n[^\\\n]*)*", lock, re.MULTILINE)
    if not found:
        raise ValueError(f"requirements.txt: expected {name} with its hashes, found none; run `make lock`")
    return found[0] + "\n"


def environment_of_installers(pip_settings: dict[str, str], given: dict[str, str] | None = None) -> dict[str, str]:
    """The environment for pip and uv: where packages come from stays the user's choice, where they go is ours.

    Args:
        pip_settings: what pip's own files say, by key; uv, which does not read them, is told of them.
        given: what to start from; default that of this process.
    """
    given = dict(os.environ if given is None else given)
    kept = {key: value for key, value in given.items() if not key.startswith(("PIP_", "UV_")) or SOURCES.match(key)}
    index = given.get("PIP_INDEX_URL") or pip_settings.get("index-url")
    if index and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & kept.keys():
        kept["UV_DEFAULT_INDEX"] = index
    for key, ours, name in (("cert", "PIP_CERT", "SSL_CERT_FILE"), ("proxy", "PIP_PROXY", "HTTPS_PROXY")):
        if (value := given.get(ours) or pip_settings.get(key)) and name not in kept:
            kept[name] = value
    # A constraint in pip's own files would forbid what the lock asks for.
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONSTRAINT": os.devnull}


def settings_of_pip(python: Path) -> dict[str, str]:
    """What pip's files say, without the section: `{"index-url": "..."}`."""
    asked = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    lines = re.findall(r"^(global|install|download)\.([\w-]+)='(.*)'$", asked.stdout, re.MULTILINE)
    return {key: value for _, key, value in lines}


class Installer:
    """Installs into `root/.venv`, and says in one line what stopped it."""

    def __init__(self, root: Path = ROOT):
        self.root, self.venv = root, root / ".venv"
        self.python, self.marker = self.venv / "bin" / "python", self.venv / ".installed"
        self.lock = root / "requirements.txt"
        self._environment: dict[str, str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of pip and uv."""
        if self._environment is None:
            self._environment = environment_of_installers(settings_of_pip(self.python))
        return self._environment

    def run(self, *words: object) -> None:
        """A step; where it fails its last lines are shown, with what they mean."""
        command = [str(word) for word in words]
        done = subprocess.run(command, cwd=self.root, env=self.environment, check=False)
        if done.returncode:
            raise SystemExit(
                f"the installation stopped at {Path(str(words[0])).name}, which says above why.  Where the disk is "
                "full, make room; where the network failed, start again: what was downloaded is kept."
            )

    def make_venv(self) -> None:
        """A new .venv, in place of one that an installation was stopped in."""
        print("making .venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.venv)], check=True)

    def bring_uv(self) -> bool:
        """Whether uv is there in the version of the lock; pip brings it, with its hash."""
        block = locked_block("uv", self.lock.read_text(encoding="utf-8"))
        wheels = self.venv / "uv"
        wheels.mkdir(exist_ok=True)
        list_of_one = wheels / "uv.txt"
        list_of_one.write_text(block, encoding="utf-8")
        command = [self.python, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--dest", wheels, "--requirement", list_of_one]
        done = subprocess.run(
            [str(word) for word in command], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"uv can't be had here ({reason}): pip installs, which takes some minutes more", flush=True)
            return False
        version = re.match(r"uv==([\w.]+)", block)[1]
        (wheel,) = wheels.glob(f"uv-{version}-*.whl")
        subprocess.run([str(self.python), "-m", "zipfile", "-e", str(wheel), str(wheels)], check=True)
        self.uv.chmod(0o755)
        return True

    @property
    def uv(self) -> Path:
        """The program."""
        found = sorted((self.venv / "uv").glob("uv-*.data/scripts/uv"))
        return found[-1] if found else self.venv / "uv" / "uv"

    def packages(self) -> None:
        """Everything in the lock, refused without a hash."""
        print("installing what the book needs into .venv: a few minutes, most of them for torch", flush=True)
        common = ["--require-hashes", "--requirement", self.lock]
        if self.bring_uv():
            self.run(self.uv, "pip", "install", "--quiet", "--python", self.python, "--only-binary", ":all:", *common)
        else:
            self.run(self.python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *common)

    def project(self) -> None:
        """`dgm` itself, from this folder; needs no network."""
        words = ["--no-deps", "--no-build-isolation", "--editable", "."]
        if self.uv.is_file():
            self.run(self.uv, "pip", "install", "--quiet", "--offline", "--python", self.python, *words)
        else:
            self.run(self.python, "-m", "pip", "install", "--quiet", "--no-index", *words)

    def install(self) -> None:
        """What is missing, and nothing else."""
        want, have = wanted(self.root), installed(self.root)
        if have == want:
            preflight.stop_if(preflight.problems_of_venv(str(self.root)))
            return
        preflight.stop_if(preflight.problems_of_setup(str(self.root)))
        only_project = have | {"project": want["project"]} == want
        if not only_project:
            fresh = not have or have["python"] != want["python"]
            if self.python.exists() and not preflight.problems_of_venv(str(self.root)):
                self.ask_index()  # before anything is lost
            if fresh:
                self.make_venv()
                self.ask_index()
            self.marker.unlink(missing_ok=True)  # it goes first and comes last
            self.packages()
        self.project()
        self.note()

    def note(self) -> None:
        """Remember that what is wanted is there."""
        self.marker.write_text(json.dumps(wanted(self.root)) + "\n", encoding="utf-8")

    def ask_index(self) -> None:
        """Stop where pip can't reach its index."""
        preflight.stop_if(preflight.problems_of_index(str(self.root), str(self.python), self.environment))

    def resolve(self) -> None:
        """The lock anew, from the ranges in pyproject.toml; what still fits them stays as it is."""
        words = ["--universal", "--python-version", "3.11", "--all-extras", "--generate-hashes", "--no-emit-index-url"]
        words += ["--no-annotate", "--custom-compile-command", "make lock", "--quiet", "--output-file", self.lock.name]
        self.run(self.uv, "pip", "compile", "pyproject.toml", *words)


if __name__ == "__main__":
    try:
        Installer().resolve() if sys.argv[1:] == ["lock"] else Installer().install()
    except KeyboardInterrupt:
        sys.exit("\nstopped; start again, and .venv is made anew")
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"the installation stopped: {error}")
