"""Remove what was built: `make clean`.  Notebooks that somebody has edited are kept, and named."""

import os
import shutil
import sys

from tools.edited import is_edited
from tools.environment import ROOT

BUILT = ("_build", "conf.py", ".pytest_cache", ".ruff_cache", "dgm.egg-info")


def kept(folder):
    """Edited notebooks below a folder; executed copies that the build made are none."""
    found = []
    for where, _, names in os.walk(os.path.join(folder, "colab")):
        found += [os.path.join(where, name) for name in names if name.endswith(".ipynb")]
    return [path for path in found if is_edited(path)]


def remove(path, spared):
    """A file or a folder, but for what is spared."""
    if path in spared or not os.path.lexists(path):
        return
    if os.path.islink(path) or not os.path.isdir(path):
        os.remove(path)
    elif not any(one.startswith(path + os.sep) for one in spared):
        shutil.rmtree(path)
    else:
        for name in os.listdir(path):
            remove(os.path.join(path, name), spared)


def main(root=ROOT):
    """Remove, and say what was kept."""
    spared = kept(os.path.join(root, "_build"))
    for name in BUILT:
        remove(os.path.join(root, name), spared)
    for path in spared:
        print(f"kept, since you have edited it: {os.path.relpath(path, root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
