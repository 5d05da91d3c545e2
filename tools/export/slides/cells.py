"""What of a lecture is shown on slides.

A section `##` starts a column of slides, and whatever has no room goes down in it.  Shown are bold claims, equations
and the sentence before each, tables, lists, drawings, exercises, code, and pictures with their captions.  All prose
is in the speaker's notes.  Code that only checks, draws or installs is left out, and so are solutions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dgm.checks import claim

from tools.claims import MARK, in_short
from tools.export.citations import Citations
from tools.export.colab import cited
from tools.export.labels import Directive, figure_of, targets
from tools.export.plain_markdown import Translator

HIDDEN = {"bootstrap", "imports", "parameters", "solution"}
ROOM = 590  # pixels below the heading; slides.js makes smaller what was guessed wrong
FRAME = re.compile(r"run = dgm\.start|run\.finish")  # the first and the last cell of every lecture
CLAIM = re.compile(r"\*\*[^*]{25,}\*\*")
SOLUTION = re.compile(r"(#### Solution of [^\n]*\n*)?(<details>\n<summary>Solution of .*?</details>)?", re.DOTALL)


class OnSlides(Translator):
    """As in the clean notebooks, but with the drawings beside the deck."""

    def _figure(self, found: Directive) -> str:
        alt = escape(found.options["alt"])
        image = f'<div class="dgm-picture"><img src="{found.argument.removeprefix("../")}" alt="{alt}"></div>'
        return f"{image}\n\n{self._under(found.options.get('name'), found.body)}"

    def _under(self, label: str | None, words: str) -> str:
        return f'<p class="dgm-caption">{_inline(self.caption(label, words))}</p>'


@dataclass
class Slide:
    """One slide while it is filled.

    Attributes:
        kind: `slide` at the start of a column, `subslide` below.
        heading: in Markdown.
        cells: what is shown.
        notes: what is said.
        height: of what is shown, in pixels, guessed.
    """

    kind: str
    heading: str
    cells: list[NotebookNode] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    height: int = 0


def _inline(text: str) -> str:
    """Bold words of a caption as HTML: Markdown is not read inside HTML."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", re.sub(r"`(.+?)`", r"<code>\1</code>", text))


def blocks(text: str) -> list[tuple[str, str]]:
    """Kind and source of each paragraph, list, table, equation, heading, fence and piece of HTML."""
    found: list[list[str]] = [[]]
    closing = ""
    for line in text.splitlines():
        opens = not closing and re.match(r"\$\$|```", line)
        if (opens or not line.strip()) and not closing:
            found.append([])
        if line.strip() or closing:
            found[-1].append(line)
        if opens:
            closing = opens[0]
        elif closing and line.startswith(closing):
            closing = ""
            found.append([])
    kinds = {"$$": "equation", "```": "fence", "#": "heading", "|": "table", "<": "html", ">": "note"}
    pieces = []
    for lines in filter(None, found):
        start = lines[0].lstrip()
        kind = next((kind for mark, kind in kinds.items() if start.startswith(mark)), "prose")
        if re.match(r"([-*+]|\d+[.)])\s", start):
            kind = "list"
        pieces.append((kind, "\n".join(lines)))
    return pieces


def sentences(paragraph: str) -> list[str]:
    """One line is one sentence in the lectures."""
    return [line.strip() for line in paragraph.splitlines() if line.strip()]


def items(text: str) -> str:
    """A list with the first sentence of each item."""
    lines = [line for line in text.splitlines() if re.match(r"\s*([-*+]|\d+[.)])\s", line)]
    return "\n".join(re.sub(r"(?<=[a-z)$*`][.]) [A-Z].*", "", line) for line in lines)


def height(kind: str, text: str) -> int:
    """Pixels that a block takes, guessed from its text."""
    if kind == "equation":
        return 60 + 52 * (1 + text.count(r"\\"))
    if kind == "table":
        return 40 * text.count("\n") + 20
    if kind == "html":
        return 480 if "<img" in text else 60
    if kind == "code":
        return 24 * (text.count("\n") + 1) + 24
    return sum(38 * (1 + len(line) // 92) for line in text.splitlines()) + 16


def shown(pieces: list[tuple[str, str]], whole: bool = False) -> list[tuple[str, str]]:
    """Of the blocks of a cell those that are shown; `whole` shows prose too, as for an exercise."""
    kept = []
    for i, (kind, text) in enumerate(pieces):
        following = pieces[i + 1][0] if i + 1 < len(pieces) else ""
        if kind == "prose" and not whole:
            lines = sentences(text)
            claims = [line for line in lines if CLAIM.search(line)]
            leads = following in ("equation", "list", "table") and len(lines[-1]) < 200
            if claims and claims[-1] == lines[-1] and not leads:  # it led to something that is not shown
                claims[-1] = re.sub(r"[,:;]$", ".", claims[-1])
            text = "\n\n".join(dict.fromkeys(claims + lines[-1:] * leads))
        elif kind == "list" and not whole:
            text = items(text)
        elif kind == "note":
            text = ""
        if text:
            kept.append((kind, text))
    if not kept:  # prose alone: its first sentences
        kept = [("list", "\n".join(f"- {sentences(text)[0]}" for kind, text in pieces if kind == "prose"))]
    return [(kind, text) for kind, text in kept if text]


class Deck:
    """The slides of one lecture, filled cell by cell."""

    def __init__(self) -> None:
        self.slides: list[Slide] = []

    def start(self, kind: str, heading: str) -> None:
        """A new slide."""
        self.slides.append(Slide(kind, heading))

    def add(self, cell: NotebookNode, pixels: int) -> None:
        """Show a cell on this slide, or on the next where there is no room."""
        if self.slides[-1].cells and self.slides[-1].height + pixels > ROOM:
            heading = re.sub(r"^##? ", "### ", self.slides[-1].heading)
            self.start("subslide", heading)
        self.slides[-1].cells.append(cell)
        self.slides[-1].height += pixels

    def notebook(self) -> NotebookNode:
        """All slides as cells with nbconvert's metadata; a slide without anything but its heading is dropped."""
        cells = []
        for slide in self.slides:
            if not (slide.cells or slide.kind == "slide" or slide.notes):
                continue
            heading = new_markdown_cell(slide.heading)
            heading.metadata["slideshow"] = {"slide_type": slide.kind}
            for cell in slide.cells:
                cell.metadata["slideshow"] = {"slide_type": "-"}
            notes = [new_markdown_cell("\n\n".join(slide.notes))] if slide.notes else []
            for note in notes:
                note.metadata["slideshow"] = {"slide_type": "notes"}
            cells += [heading, *slide.cells, *notes]
        return new_notebook(cells=cells)


def prose(deck: Deck, text: str, first: bool) -> None:
    """A translated Markdown cell: its headings start slides, its text is said, part of it is shown."""
    pieces = blocks(text)
    starts = [i for i, (kind, _) in enumerate(pieces) if kind == "heading"]
    for begin, end in zip([0, *starts], [*starts, len(pieces)], strict=True):
        part = pieces[begin:end]
        exercise = False
        if part and part[0][0] == "heading":
            heading = part.pop(0)[1]
            exercise = heading.startswith("### Exercise")
            deck.start("subslide" if heading.startswith("###") else "slide", heading)
        if not part:
            continue
        said = "\n\n".join(text for kind, text in part if kind != "html")
        visible = [piece for piece in part if piece[0] == "list"][:1] if first else shown(part, whole=exercise)
        for i, (kind, source) in enumerate(visible):
            # A lead-in stands with what it leads to.
            after = height(*visible[i + 1]) if kind == "prose" and i + 1 < len(visible) else 0
            pixels = height(kind, source)
            if deck.slides[-1].height + pixels + after > ROOM >= pixels + after and deck.slides[-1].cells:
                deck.slides[-1].height = ROOM
            deck.add(new_markdown_cell(source), pixels)
        deck.slides[-1].notes.append(said)


def output_text(cell: NotebookNode) -> str:
    """What a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def code(deck: Deck, cell: NotebookNode, translator: OnSlides) -> None:
    """A code cell: as code, as a picture with its caption, as one line that says what was checked, or not at all."""
    tags, printed = set(cell.metadata.get("tags", [])), output_text(cell)
    if tags & HIDDEN or translator.solution or FRAME.match(cell.source):
        return
    if "check" in tags:
        if names := [name for line in printed.splitlines() if (name := claim(line))]:
            line = _literal(escape(f"{MARK} {in_short(names)}"))
            deck.slides[-1].cells.append(new_markdown_cell(f'<p class="dgm-checked">{line}</p>'))
            deck.slides[-1].height += 40
        return
    pictures = [o for o in cell.outputs if "data" in o and ("image/png" in o.data or "text/html" in o.data)]
    if not tags & {"plot", "hide-input"}:
        source = re.sub(r"\A(import .*\n|from .*\n)+\n*", "", cell.source)
        deck.add(new_markdown_cell(f"```python\n{source.strip()}\n```"), height("code", source))
        lines = printed.strip().splitlines()
        if 0 < len(lines) <= 4:
            deck.add(new_markdown_cell("```text\n" + printed.strip() + "\n```"), height("code", printed))
        elif lines:
            deck.slides[-1].notes.append(f"```text\n{printed.strip()}\n```")
    for output in pictures:
        show(deck, cell, output, translator)


def show(deck: Deck, cell: NotebookNode, output: NotebookNode, translator: OnSlides) -> None:
    """A picture or a film with its caption."""
    figure = figure_of(cell) or {}
    caption = translator._under(figure.get("name"), figure["caption"]) if figure else ""
    if "image/png" not in output.data:
        film = new_code_cell(outputs=[output], metadata={"tags": ["remove_input"]})
        deck.add(film, 500)
        if caption:
            deck.slides[-1].cells.append(new_markdown_cell(caption))
        return
    alt = escape(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))
    data = output.data["image/png"].replace("\n", "")
    image = f'<div class="dgm-picture"><img src="data:image/png;base64,{data}" alt="{alt}"></div>'
    deck.add(new_markdown_cell(f"{image}\n\n{caption}"), 500)


def _literal(text: str) -> str:
    """Names of checks hold characters that Markdown or MathJax would read."""
    return re.sub(r"[*_`$\\|]", lambda found: f"&#{ord(found[0])};", text)


def deck(notebook: NotebookNode, lecture: str, note: str = "") -> NotebookNode:
    """The notebook of the slides of an executed lecture; `note` stands on the first one."""
    translator = OnSlides(lecture, targets(), Citations(cited(notebook.cells)))
    made = Deck()
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text = SOLUTION.sub("", translator.cell(cell.source)).strip()
            if text:
                prose(made, text, first=number == 0)
                if number == 0 and note:
                    made.slides[-1].cells.append(new_markdown_cell(f'<p class="dgm-warning">{note}</p>'))
        elif cell.cell_type == "code":
            code(made, cell, translator)
    return made.notebook()
