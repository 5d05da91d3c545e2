"""Sphinx extension of the book: the table of results, and the label that tells every page how it was built.

`DGM_PROFILE` and `DGM_BUILD` say what is being built; `tools/book/build.py` sets them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.nodes import nested_parse_with_titles

from dgm.runtime import with_error

from tools.repo import ROOT, colab_address, lectures, title


def results_files(profile: str) -> list[Path]:
    """Results files of the lectures: committed for `full`, of this build for the others; some may not exist yet."""
    build = Path(os.environ.get("DGM_BUILD", ROOT / "_build"))
    folder = ROOT / "results" / "full" if profile == "full" else build / profile / "results"
    return [folder / f"{lecture}.json" for lecture in lectures()]


def number(value: float | None, error: float | None = None) -> str:
    """A number with as many digits as its standard error allows, in MyST Markdown."""
    if value is None:
        return ""
    return with_error(value, error or 0).replace("+/-", "±")


def name_of(metric: dict[str, Any]) -> str:
    """The name of a number as code that may be broken after an underscore: a phone has no room for it."""
    return f"<code>{metric['name'].replace('_', '&#95;<wbr>')}</code>"


def results_markdown(paths: list[Path]) -> list[str]:
    """One section a lecture: a table of its numbers, their protocols, and what ran on which hardware."""
    lines: list[str] = []
    for path in paths:
        if not path.is_file():
            continue
        report: dict[str, Any] = json.loads(path.read_text())
        lines += [f"**[{title(report['lecture'])}](/notebooks/{report['lecture']}.ipynb)**", ""]
        compared = any(metric["published"] is not None for metric in report["metrics"])  # a phone has no room to spare
        heads = ["number", "here", *["published"] * compared, "unit"]
        lines += [f"| {' | '.join(heads)} |", "|:--" + "|--:" * (len(heads) - 2) + "|:--|"]
        for metric in report["metrics"]:
            here, published = number(metric["value"], metric["standard_error"]), number(metric["published"])
            cells = {"number": name_of(metric), "here": here, "published": published, "unit": metric["unit"]}
            lines.append(f"| {' | '.join(cells[head] for head in heads)} |")
        lines += ["", ":::{dropdown} Protocols and sources"]
        for metric in report["metrics"]:
            published = f" Published: {metric['source']}." if metric["source"] else ""
            # Some protocols write a mean as <x>, which a browser would take for a tag.
            lines.append(f"- {name_of(metric)}: {escape(metric['protocol'] + '.' + published, quote=False)}")
        lines += [":::", ""]
        versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
        lines += [
            "",
            f"{report['dataset'] or 'no data set'}, {report['device']}, {report['seconds']:.0f} s; {versions};",
        ]
        lines += [f"commit `{report['commit'][:12]}`.", ""]
    return lines or ["No results yet.", ""]


class Results(Directive):
    """`{results} quick`: the recorded numbers of a profile; without an argument, of the profile being built."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the table, and tell Sphinx which files it depends on: a new result makes the page be written again."""
        paths = results_files(self.arguments[0] if self.arguments else os.environ.get("DGM_PROFILE", "quick"))
        for path in paths:
            self.state.document.settings.env.note_dependency(str(path))
        container = nodes.container(classes=["dgm-results"])
        source = StringList(results_markdown(paths), source="results")
        nested_parse_with_titles(self.state, source, container)
        return [container]


def label_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Write profile and data set into the page, where `tools/book/pages.py` looks before anything is published."""
    profile, dataset = os.environ.get("DGM_PROFILE", "quick"), os.environ.get("DGM_DATASET", "unknown")
    context["metatags"] = context.get("metatags", "") + (
        f'\n<meta name="dgm-profile" content="{profile}">\n<meta name="dgm-dataset" content="{dataset}">'
    )
    warnings = []
    if profile == "smoke":
        warnings.append("This is a smoke build: it shows that everything runs. Its numbers and pictures mean nothing.")
    if dataset == "digits":
        warnings.append("This build had no MNIST and used a small substitute: published numbers do not apply.")
    if warnings:
        context["theme_announcement"] = " ".join(warnings)


def open_clean_notebook(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the Colab button open the clean notebook: the theme knows one branch, that of the sources."""
    lecture = pagename.removeprefix("notebooks/")
    if lecture == pagename:
        return
    groups = [group.get("buttons", []) for group in context["header_buttons"]]
    buttons = [button for group in groups for button in group if button.get("text") == "Colab"]
    if len(buttons) != 1:
        raise ExtensionError(f"{pagename}: expected one Colab button, got {len(buttons)}; did the theme change?")
    buttons[0]["url"] = colab_address(lecture)


def say_what_runs(app: Sphinx, docname: str, source: list[str]) -> None:
    """One line for each lecture that is read, and so run if it must be: a build takes minutes."""
    names = lectures()
    if (lecture := docname.removeprefix("notebooks/")) in names:
        print(f"{names.index(lecture) + 1:2} of {len(names)}  {lecture:24}", end="", flush=True)
        app.dgm_started = time.monotonic()


def say_how_long(app: Sphinx, doctree: nodes.document) -> None:
    """The end of that line; outputs that were kept take a moment."""
    if app.env.docname.removeprefix("notebooks/") in lectures():
        print(f"{time.monotonic() - app.dgm_started:4.0f} s", flush=True)


def in_order(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Read, and so run, the lectures in the order of the book: later ones quote the numbers of earlier ones."""
    places = {f"notebooks/{name}": i for i, name in enumerate(lectures())}
    docnames.sort(key=lambda name: places.get(name, len(places)))


def tools_digest(root: Path = ROOT) -> str:
    """Hash of the programs that take part in the writing of a page."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted((root / "tools").rglob("*.py")))).hexdigest()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the label."""
    # Sphinx compares settings with those of the last build: with other tools it writes every page anew.
    app.add_config_value("dgm_tools", tools_digest(), "env")
    app.add_directive("results", Results)
    app.connect("env-before-read-docs", in_order)
    app.connect("source-read", say_what_runs)
    app.connect("doctree-read", say_how_long)
    app.connect("html-page-context", label_page, priority=900)
    app.connect("html-page-context", open_clean_notebook, priority=900)  # after the theme has made its buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
