"""Run every clean notebook as Colab does: `python -m tools.verify.try_colab [lecture ...]`.

Each runs alone, in an empty folder and a fresh environment that has the frameworks of .venv but no `dgm`, with
`google.colab` loaded.  The bootstrap cell is the published one: git is told (`url.insteadOf`) to look for the
repository's address in a repository that is made here from the working tree, under the tag that the cell names; pip
builds the wheel from there, may ask no index, and finds a version 99 of every framework beside it, which it must leave
alone.  Then the exercises are read: each stub must have been answered with "not yet", each solution with "right", and
an answer that is the solution's with every number changed must be refused in words.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import nbformat

from dgm.data import data_folder, load_digits

from tools.environment import git_free
from tools.export.colab import export
from tools.repo import ROOT, lectures, repository, tag
from tools.verify.exercises import probes, verdicts

FRAMEWORKS = ("keras", "tensorflow", "torch", "torchvision")
EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
try:
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
finally:
    nbformat.write(notebook, sys.argv[2])
"""


def write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes] | None = None) -> None:
    """A wheel of pure Python; without `files` it holds nothing."""
    info = f"{name}-{version}.dist-info"
    files = files or {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)


class Workshop:
    """What all runs share, in one temporary folder.

    Attributes:
        frameworks: links to everything that is installed in .venv, but not `dgm`.
        environment: the variables of the runs.
    """

    def __init__(self, folder: Path):
        self.folder, self.frameworks = folder, folder / "frameworks"
        for name in ("frameworks", "wheels", "source", "home/.ipython/profile_default/startup", "home/google/colab"):
            (folder / name).mkdir(parents=True)
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if path.suffix != ".pth" and not re.match(r"dgm|__editable__", path.name):
                (self.frameworks / path.name).symlink_to(path)
        self._serve_wheels()
        self._serve_source()
        (folder / "home/google/colab/__init__.py").write_text("", encoding="utf-8")
        (folder / "home/.ipython/profile_default/startup/colab.py").write_text(
            "import google.colab\n", encoding="utf-8"
        )
        self.environment = {key: os.environ[key] for key in ("PATH", "LANG", "MPLCONFIGDIR") if key in os.environ} | {
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(folder / "home"),  # with google.colab
            "DGM_DATA": str(data_folder()),
            "DGM_PROFILE": "smoke",
            "DGM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder / "wheels"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{(folder / 'source').as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": f"https://github.com/{repository()[0]}",
        }

    def _serve_wheels(self) -> None:
        """The builder that pip wants for `dgm`, and versions 99 that nobody may install."""
        builder = distribution("setuptools")
        files = {str(path): path.read_binary() for path in builder.files or [] if ".." not in path.parts}
        write_wheel(self.folder / "wheels", "setuptools", builder.version, files)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for requirement in [*project["dependencies"], *FRAMEWORKS]:
            write_wheel(self.folder / "wheels", re.match(r"[\w-]+", requirement)[0].replace("-", "_"), "99")

    def _serve_source(self) -> None:
        """The package of the working tree as a repository with one commit and one tag."""
        source = self.folder / "source"
        shutil.copytree(ROOT / "dgm", source / "dgm", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        person = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        for words in (["init", "-q"], ["add", "-A"], [*person, "commit", "-qm", "dgm"], ["tag", tag()]):
            subprocess.run(["git", *words], cwd=source, env=git_free(), check=True)

    def environment_without_dgm(self, lecture: str) -> Path:
        """The Python of a fresh environment."""
        home = self.folder / lecture / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
        site = next(home.glob("lib/python*/site-packages"))
        (site / "frameworks.pth").write_text(f"{self.frameworks}\n", encoding="utf-8")
        return home / "bin" / "python"

    def installed(self, python: Path) -> dict[str, str]:
        """Name and version of everything that `python` can import, as pip sees it."""
        command = [str(python), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
        lines = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout
        return dict(line.split("==") for line in lines.splitlines() if "==" in line)

    def try_lecture(self, path: Path) -> tuple[list[str], float]:
        """What is wrong with one clean notebook, in words, and the seconds it took."""
        started, lecture = time.perf_counter(), path.stem
        python, empty = self.environment_without_dgm(lecture), self.folder / lecture / "empty"
        empty.mkdir()
        notebook = nbformat.read(path, 4)
        num_cells = len(notebook.cells)
        notebook.cells += probes(notebook)
        given, executed = self.folder / lecture / "given.ipynb", self.folder / lecture / "executed.ipynb"
        nbformat.write(notebook, given)
        before = self.installed(python)
        command = [str(python), "-c", EXECUTE, str(given), str(executed)]
        run = subprocess.run(command, cwd=empty, env=self.environment, capture_output=True, text=True, check=False)
        after = self.installed(python)
        found = [] if run.returncode == 0 else [f"it stopped:\n{run.stderr[-3000:]}"]
        if "dgm" in before or not set(FRAMEWORKS) <= before.keys():
            found.append("the environment is not as Colab's: dgm is there, or a framework is not")
        changed = {f"{name} {version}" for name, version in after.items() - before.items()}
        if changed != {f"dgm {tag()[1:]}"}:
            found.append(f"expected the bootstrap cell to install dgm {tag()[1:]} alone, got {sorted(changed)}")
        if not found:
            found = verdicts(nbformat.read(executed, 4), num_cells)
        shutil.rmtree(self.folder / lecture)
        return found, time.perf_counter() - started


def main() -> int:
    """Run the notebooks, on all cores, and say what is wrong."""
    started = time.perf_counter()
    if warning := load_digits().warning:
        print(warning)
    wanted = sys.argv[1:] or lectures()
    notebooks = [path for path in export(ROOT / "_build" / "colab") if path.stem in wanted]
    problems = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        with ThreadPoolExecutor(cores) as pool:
            for path, (found, seconds) in zip(notebooks, pool.map(workshop.try_lecture, notebooks), strict=True):
                print(f"{path.stem:24} {seconds:5.0f} s  {'failed' if found else 'ok'}", flush=True)
                problems += [f"{path.stem}: {problem}" for problem in found]
    print("\n".join(problems) or f"{len(notebooks)} clean notebook(s) in {time.perf_counter() - started:.0f} s")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
