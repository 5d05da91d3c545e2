"""MyST Markdown as Markdown that plain Jupyter, Colab and GitHub show rightly.

What is not known here is an error and not raw text in a notebook: who uses new syntax in a lecture says here what
becomes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from markdown_it.token import Token

from tools.export.citations import Citations
from tools.export.labels import Directive, Target, directive, parser
from tools.repo import COLAB, ROOT, colab_address, lectures, page_address, repository
from tools.runs.records import quoted_number

ROLE = re.compile(r"\{([a-zA-Z][\w:+-]*)\}(`+)(.+?)\2", re.DOTALL)
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
ADMONITIONS = ("note", "tip", "hint", "important", "warning", "caution", "attention", "seealso", "admonition")
SOLUTION = ("solution-start", "solution-end")
LEFT_OVER = {
    "a role": r"\{[a-zA-Z][\w:+-]*\}`",
    "a directive": r"(`{3,}|~{3,}|:{3,})\s*\{",
    "a colon fence": r"^\s*:{3,}",
    "the label of an equation": r"\$\$[ \t]*\(",
    "a target": r"^\([\w-]+\)=\s*$",
    "a comment": r"^%",
    "a break": r"^\+\+\+",
    "a substitution": r"\{\{.*\}\}",
    "a link inside the repository": r"\]\((?!https?://|#|mailto:)(?=[^)\s]*\.(ipynb|md|svg|png|bib|html)\b)",
}


def left_over(text: str) -> list[str]:
    """What is still MyST in a Markdown text, in words."""
    return [
        f"{what} is left: {text[match.start() :][:60]!r}"
        for what, pattern in LEFT_OVER.items()
        for match in re.finditer(pattern, text, re.MULTILINE)
    ]


def quote(text: str) -> str:
    """As a block quotation."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def folded(summary: str, text: str) -> str:
    """As a fold that a click opens; the empty lines make Markdown of what is in it."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def picture_address(path: str) -> str:
    """Where the picture `figures/...` lies on the branch of the clean notebooks."""
    name = path.removeprefix("../")
    if not (ROOT / name).is_file():
        raise ValueError(f"the picture {path} is not in the repository")
    as_picture = "?sanitize=true" if name.endswith(".svg") else ""  # else an SVG may be served as plain text
    return f"https://raw.githubusercontent.com/{repository()[0]}/{COLAB}/{name}{as_picture}"


def equation(content: str, number: int | None) -> str:
    """A displayed equation; its number stands behind every environment, the only place where TeX allows it."""
    body = content.strip("\n")
    if re.search(r"\\begin\{(?!(aligned|gathered|split|cases|array|\w*matrix)\})", body):
        raise ValueError(f"inside $$ expected only environments such as `aligned`: {body[:60]!r}")
    if r"\\" in body and r"\begin{" not in body:
        body = f"\\begin{{split}}\n{body}\n\\end{{split}}"  # as Sphinx does: MathJax breaks no line outside
    return f"$$\n{body}\n$$" if number is None else f"$$\n{body}\n\\tag{{{number}}}\n$$"


@dataclass
class Translator:
    """Translates the Markdown cells of one lecture, one after the other.

    Attributes:
        lecture: its name.
        targets: every label of the book.
        citations: those of this lecture.
        solution: the exercise whose solution is open; it goes on over cells.
        pictures: the drawings that were met.
    """

    lecture: str
    targets: dict[str, Target]
    citations: Citations
    solution: Target | None = None
    pictures: list[str] = field(default_factory=list)

    def cell(self, text: str) -> str:
        """One Markdown cell; what is part of a solution is folded."""
        parts: list[tuple[Target | None, str]] = [(self.solution, "")]
        for token, source in _pieces(text):
            found = directive(token) if token else None
            if found and found.name in SOLUTION:
                self._turn(found)
                heading = f"#### Solution of {self.solution.words}\n" if self.solution else ""
                parts += [(None, heading), (self.solution, "")]
            else:
                parts[-1] = (parts[-1][0], parts[-1][1] + self._piece(token, source))
        written = [
            folded(f"Solution of {exercise.words}, in words", part.strip("\n")) if exercise else part.strip("\n")
            for exercise, part in parts
            if part.strip()
        ]
        return "\n\n".join(written)

    def text(self, text: str) -> str:
        """A Markdown text without parts of solutions, such as a caption."""
        return "".join(self._piece(token, source) for token, source in _pieces(text)).strip("\n")

    def _turn(self, found: Directive) -> None:
        """Open or close a solution."""
        starts = found.name == "solution-start"
        if starts == (self.solution is not None):
            raise ValueError(f"{found.name}: a solution is {'still open' if starts else 'not open'}")
        self.solution = self._target(found.argument, "exercise") if starts else None

    def _piece(self, token: Token | None, source: str) -> str:
        if token is None:
            return LINK.sub(self._link, ROLE.sub(self._role, source))
        if token.type == "math_block_label":
            return equation(token.content, self._target(token.info, "equation").number) + "\n"
        if token.type == "math_block":
            return equation(token.content, None) + "\n"
        return self._directive(found) + "\n" if (found := directive(token)) else source

    def _target(self, label: str, *kinds: str) -> Target:
        target = self.targets.get(label)
        if target is None or target.kind not in kinds:
            raise ValueError(f"expected the label of {' or '.join(kinds)}, got {label!r}")
        return target

    def _reference(self, label: str, *kinds: str) -> str:
        """`(12)`, as a link where it stands in another lecture."""
        target = self._target(label, *kinds)
        if target.page == f"notebooks/{self.lecture}":
            return target.words
        return f"[{target.words}]({self._page(target.page)})"

    def _role(self, match: re.Match[str]) -> str:
        name, content = match[1], match[3]
        keys = [key.strip() for key in content.split(",")]
        roles: dict[str, Callable[[], str]] = {
            "eq": lambda: self._reference(content, "equation"),
            "numref": lambda: self._reference(content, "figure", "exercise"),
            "ref": lambda: self._reference(content, "exercise"),
            "cite:t": lambda: self.citations.textual(keys),
            "cite:p": lambda: self.citations.parenthetical(keys),
            "term": lambda: content.split("<")[0].strip(),
            "recorded": lambda: quoted_number(content)[0],
        }
        if name not in roles:
            raise ValueError(f"the role {match[0]!r} has no translation")
        return roles[name]()

    def _directive(self, found: Directive) -> str:
        if found.name == "exercise-end":
            return ""
        if found.name == "exercise-start":
            return f"### {self._target(found.options['label'], 'exercise').words}: {self.text(found.argument)}"
        if found.name == "margin":
            return quote(self.text("\n\n".join(filter(None, [found.argument, found.body]))))
        if found.name in ADMONITIONS:
            title = found.argument or found.name.replace("seealso", "see also").capitalize()
            return quote(f"**{self.text(title)}**\n\n{self.text(found.body)}")
        if found.name == "dropdown":
            return folded(found.argument, self.text(found.body))
        if found.name == "figure":
            return self._figure(found)
        if found.name == "opening":
            return f"{self.text(found.body)} (Made below: {self._target(found.argument, 'figure').words}.)"
        raise ValueError(f"the directive {{{found.name}}} has no translation")

    def _figure(self, found: Directive) -> str:
        self.pictures.append(found.argument.removeprefix("../"))
        width = f' width="{found.options["width"].removesuffix("px")}"' if "width" in found.options else ""
        alt = found.options["alt"].replace('"', "&quot;")
        image = f'<img src="{picture_address(found.argument)}" alt="{alt}"{width}>'
        return f"{image}\n\n{self.caption(found.options.get('name'), found.body)}"

    def caption(self, label: str | None, words: str) -> str:
        """The line under a picture."""
        number = f"**{self._target(label, 'figure').words}.** " if label else ""
        return number + self.text(words)

    def _page(self, page: str) -> str:
        name = page.removeprefix("notebooks/")
        return colab_address(name) if name in lectures() else page_address(page)

    def _link(self, match: re.Match[str]) -> str:
        address, _, anchor = match[1].partition("#")
        if address.startswith(("http:", "https:", "mailto:")) or not address:
            return match[1]
        file = (ROOT / "notebooks" / address).resolve()
        if file.suffix not in (".ipynb", ".md") or not file.is_file():
            raise ValueError(f"the link {match[1]} leads nowhere, or not to a page")
        page = file.relative_to(ROOT).with_suffix("").as_posix()
        return self._page(page) + (f"#{anchor}" if anchor and file.suffix == ".md" else "")


def _pieces(text: str) -> list[tuple[Token | None, str]]:
    """Fences and displayed equations as tokens, each with its source, and what is between them."""
    lines, pieces, done = text.splitlines(keepends=True), [], 0
    for token in parser().parse(text):
        if token.type not in ("fence", "colon_fence", "math_block", "math_block_label"):
            continue
        if token.level:
            raise ValueError(f"expected no fence or equation inside a list or quotation: {token.content[:60]!r}")
        start, end = token.map
        pieces += [(None, "".join(lines[done:start])), (token, "".join(lines[start:end]))]
        done = end
    return [*pieces, (None, "".join(lines[done:]))]
