"""Sphinx extension of the book: the table of results, and the label that tells every page how it was built.

`DGM_PROFILE` and `DGM_BUILD` say what is being built; `tools/book/build.py` sets them.
"""

from __future__ import annotations

import hashlib
import json
import os
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.nodes import nested_parse_with_titles

from dgm.runtime import run_folder, seed_of_environment

from tools.repo import ROOT, colab_address, lectures, title
from tools.runs.records import is_stale, number, quoted_number, seeds_of


def results_files(profile: str) -> list[Path]:
    """Results files of the lectures: committed for `full`, of this build for the others; some may not exist yet."""
    build = Path(os.environ.get("DGM_BUILD", ROOT / "_build"))
    folder = run_folder(build, profile, seed_of_environment()) / "results"
    if profile == "full":
        folder = ROOT / "results" / "full"
    return [folder / f"{lecture}.json" for lecture in lectures()]


def name_of(metric: dict[str, Any]) -> str:
    """The name of a number as code that may be broken after an underscore: a phone has no room for it."""
    return f"<code>{metric['name'].replace('_', '&#95;<wbr>')}</code>"


def spread(metric: str, seeds: dict[str, Any]) -> str:
    """Mean and standard deviation of a number over seeds, with their count: `-96.2 ± 0.4 (5)`."""
    found = seeds.get("metrics", {}).get(metric)
    if not found:
        return ""
    mark = OLD * is_stale(seeds)
    if found["n"] < 2:
        return f"{number(found['mean'])} ({found['n']}){mark}"
    return f"{number(found['mean'], found['sd'])} ({found['n']}){mark}"


OLD = "\\*"  # behind a number that an older version of the code gave


def rows(report: dict[str, Any], seeds: dict[str, Any], mark: str) -> list[str]:
    """The table of one lecture; columns that would be empty are left out, since a phone has no room to spare."""
    table = []
    for metric in report["metrics"]:
        table.append(
            {
                "number": name_of(metric),
                "here": number(metric["value"], metric["standard_error"]) + mark,
                "over seeds": spread(metric["name"], seeds),
                "published": number(metric["published"]),
                "unit": metric["unit"],
            }
        )
    optional = {head: any(row[head] for row in table) for head in ("over seeds", "published")}
    heads = [head for head in ("number", "here", "over seeds", "published", "unit") if optional.get(head, True)]
    lines = [f"| {' | '.join(heads)} |", "|:--" + "|--:" * (len(heads) - 2) + "|:--|"]
    return lines + [f"| {' | '.join(row[head] for head in heads)} |" for row in table]


def protocols(report: dict[str, Any], seeds: dict[str, Any]) -> list[str]:
    """A fold with what was computed on which data, where published numbers stand, what failed on which seed."""
    lines = ["", ":::{dropdown} Protocols and sources"]
    for metric in report["metrics"]:
        published = f" Published: {metric['source']}." if metric["source"] else ""
        # Some protocols write a mean as <x>, which a browser would take for a tag.
        lines.append(f"- {name_of(metric)}: {escape(metric['protocol'] + '.' + published, quote=False)}")
    for seed, failed in seeds.get("failed_checks", {}).items():
        lines += [f"- Seed {seed}: {escape(line, quote=False)}." for line in failed]
    lines += [f"- Seed {seed} stopped: {escape(line, quote=False)}." for seed, line in seeds.get("stopped", {}).items()]
    return [*lines, ":::", ""]


def results_markdown(paths: list[Path], *, committed: bool = False) -> list[str]:
    """One section a lecture: a table of its numbers, their protocols, and what ran on which hardware.

    Args:
        paths: results files, of which some may not exist.
        committed: whether they were made by another version of the code, perhaps; those of this build were not.
    """
    lines: list[str] = []
    for path in paths:
        if not path.is_file():
            continue
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stale = committed and is_stale(report)
        seeds = {} if committed else seeds_of(report["lecture"])
        if seeds.get("profile") != report["profile"]:
            seeds = {}
        lines += [f"**[{title(report['lecture'])}](/notebooks/{report['lecture']}.ipynb)**", ""]
        lines += rows(report, seeds, OLD * stale)
        if stale or is_stale(seeds):
            lines += ["", f"{OLD} of an older version of the code."]
        lines += protocols(report, seeds)
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
        profile = self.arguments[0] if self.arguments else os.environ.get("DGM_PROFILE", "quick")
        paths = results_files(profile)
        for path in [*paths, *(ROOT / "results" / "seeds" / path.name for path in paths)]:
            self.state.document.settings.env.note_dependency(str(path))
        container = nodes.container(classes=["dgm-results"])
        source = StringList(results_markdown(paths, committed=profile == "full"), source="results")
        nested_parse_with_titles(self.state, source, container)
        return [container]


class Families(Directive):
    """`{families}`: numbers of all families of models from this build, a row a number, as the body lists them.

    A line is `family | task, quantity | < | lecture.number`; `<` says that smaller is better, `>` that larger is.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the table; a name that a lecture does not have is an error."""
        profile = os.environ.get("DGM_PROFILE", "quick")
        paths = {path.stem: path for path in results_files(profile)}
        better = {"<": "smaller", ">": "larger"}
        lines = ["| family | task, quantity | better | here |", "|:--|:--|:--|--:|"]
        for line in self.content:
            family, task, sign, name = (cell.strip() for cell in line.split(" | "))
            lecture, metric = name.split(".")
            self.state.document.settings.env.note_dependency(str(paths[lecture]))
            report = json.loads(paths[lecture].read_text(encoding="utf-8")) if paths[lecture].is_file() else None
            found = {entry["name"]: entry for entry in report["metrics"]} if report else {}
            if report and metric not in found:
                raise self.error(f"{lecture} has no number {metric}")
            here = "not run"
            if report:
                unit = "" if found[metric]["unit"] == "1" else f" {found[metric]['unit']}"
                here = number(found[metric]["value"], found[metric]["standard_error"]) + unit
            link = f"[{family}](/notebooks/{lecture}.ipynb)"
            lines.append(f"| {link} | {task} | {better.get(sign, sign)} | {here} |")
        container = nodes.container(classes=["dgm-results"])
        nested_parse_with_titles(self.state, StringList(lines, source="families"), container)
        return [container]


def label_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Write profile and data set into the page, where `tools/book/pages.py` looks before anything is published."""
    profile, dataset = os.environ.get("DGM_PROFILE", "quick"), os.environ.get("DGM_DATASET", "unknown")
    seed = seed_of_environment()
    context["metatags"] = context.get("metatags", "") + (
        f'\n<meta name="dgm-profile" content="{profile}">\n<meta name="dgm-dataset" content="{dataset}">'
        f'\n<meta name="dgm-seed" content="{seed}">'
    )
    warnings = []
    if profile == "smoke":
        warnings.append("This is a smoke build: it shows that everything runs. Its numbers and pictures mean nothing.")
    if dataset == "digits":
        warnings.append("This build had no MNIST and used a small substitute: published numbers do not apply.")
    if seed:
        warnings.append(f"This build used the seed {seed}: its numbers are not those of the book.")
    if warnings:
        context["theme_announcement"] = " ".join(warnings)


def recorded_role(name: str, rawtext: str, text: str, lineno: int, inliner: Any, **_: Any) -> tuple[list, list]:
    """`` {recorded}`rbm.rbm500_test_log_likelihood` ``: a number of the full profile inside of a sentence.

    Where an older version of the code gave it, it is marked, and publishing refuses the page.
    """
    try:
        words, stale = quoted_number(text)
    except (KeyError, OSError, ValueError) as error:
        message = inliner.reporter.error(
            f"{rawtext}: expected LECTURE.NUMBER of results/full, got {error}", line=lineno
        )
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    return [nodes.inline(rawtext, words, classes=["dgm-recorded", *["dgm-stale"] * stale])], []


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


def tools_digest(root: Path = ROOT) -> str:
    """Hash of the programs that take part in the writing of a page."""
    paths = [*sorted((root / "tools" / "book").glob("*.py"))]
    paths += [root / "tools" / name for name in ("code.py", "repo.py", "runs/records.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the label."""
    # Sphinx compares settings with those of the last build: with other tools it writes every page anew.
    app.add_config_value("dgm_tools", tools_digest(), "env")
    app.add_directive("results", Results)
    app.add_directive("families", Families)
    app.add_role("recorded", recorded_role)
    app.connect("html-page-context", label_page, priority=900)
    app.connect("html-page-context", open_clean_notebook, priority=900)  # after the theme has made its buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
