"""What a reader would stumble over: each function takes a page in the browser and returns what is wrong, in words."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import axe_playwright_python
import numpy as np
from PIL import Image, ImageChops

MAX_PAGE_BYTES = 3_000_000

# Source that should have become something else; text in braces is a MyST role or directive.
RAW = re.compile(
    r"\$\$|\$[^$\s][^$]*\$|\\[a-zA-Z]+|\\[()\[\]{}]|\{[a-z]+(?::[a-z]+)?\}|:::|```|\*\*\w|\]\(|\?\?\?|\[\?\]|^#{1,6} "
)
_TEXTS = """() => {
  const source = 'code, pre, kbd, script, style, noscript, template, textarea, mjx-container, svg';
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [document.title];
  while (walker.nextNode()) if (!walker.currentNode.parentElement.closest(source)) found.push(walker.currentNode.data);
  for (const name of ['alt', 'title', 'aria-label'])
    document.querySelectorAll(`[${name}]:not(mjx-container *)`).forEach(e => found.push(e.getAttribute(name)));
  return found;
}"""


def raw_source(page) -> list[str]:
    """TeX or MyST that is shown as it was typed, in text, alternative texts or titles, outside code."""
    texts = [text.strip() for text in page.evaluate(_TEXTS)]
    return [f"raw source {found[0]!r} in {text[:120]!r}" for text in texts if (found := RAW.search(text))]


_EQUATIONS = """() => {
  const found = [], all = document.querySelectorAll('mjx-container').length;
  const math = document.querySelectorAll('.math');
  for (const e of math) {
    const n = e.querySelectorAll('mjx-container').length;
    if (n !== 1) found.push(`${n} typeset equations in ${e.textContent.slice(0, 100)}`);
  }
  if (math.length !== all) found.push(`${math.length} equations on the page, ${all} typeset`);
  // An unknown command is no error to MathJax: it is shown in red.
  for (const e of document.querySelectorAll('mjx-merror, [data-mjx-error], mjx-container [style*="color: red"]'))
    found.push('MathJax complains: ' + (e.getAttribute('title') ?? e.dataset.mjxError ?? e.outerHTML.slice(0, 150)));
  return found;
}"""


def equations(page) -> list[str]:
    """Equations that MathJax did not typeset, or not without a complaint."""
    return page.evaluate(_EQUATIONS)


_SIDEWAYS = """() => {
  const wide = innerWidth, found = [], all = document.scrollingElement.scrollWidth;
  const name = e => `${e.localName}.${e.className} ${e.textContent.trim().slice(0, 60)}`;
  const apart = '.bd-sidebar-secondary, .visually-hidden, .sr-only, mjx-container > *, svg';  // a drawer first
  if (all > wide) found.push(`the page is ${all} pixels wide, the screen ${wide}`);
  for (const e of document.querySelectorAll('main, main *')) {
    const box = e.getBoundingClientRect();
    if (!box.width || !box.height || e.closest(apart)) continue;
    const {overflowX, display} = getComputedStyle(e), cuts = ['hidden', 'clip'].includes(overflowX);
    if (cuts && display !== 'inline' && e.scrollWidth > e.clientWidth + 1 && e.innerText?.trim())
      found.push(`cut: ${name(e)}`);
    if (box.right < wide + 1 && box.left > -1) continue;
    let around = e.parentElement;
    while (around && !['auto', 'scroll'].includes(getComputedStyle(around).overflowX)) around = around.parentElement;
    if (!around || around === document.documentElement) found.push(`wider than the screen: ${name(e)}`);
  }
  return found;
}"""


def sideways(page) -> list[str]:
    """What does not fit on a narrow screen, and does not stand in a scroll box of its own."""
    return page.evaluate(_SIDEWAYS)


_FORMULAS = """() => [...document.querySelectorAll('main mjx-container')].flatMap(e => {
  if (e.closest('td, th')) return [];
  const shown = (e.querySelector('mjx-math') ?? e).getBoundingClientRect();
  const room = (e.getAttribute('display') ? e : e.closest('p, li, dd, dt, figcaption, aside, h1, h2, h3'))
    ?.getBoundingClientRect();
  if (!room || shown.right <= room.right + 2) return [];
  const name = e.closest('.math')?.id || e.parentElement.parentElement.textContent.slice(0, 60);
  return [`${Math.round(shown.right - room.right)} px of a formula are out of sight: ${name}`];
})"""


def cut_formulas(page) -> list[str]:
    """Formulas wider than their column: their end can be reached, but nothing says that there is one."""
    return page.evaluate(_FORMULAS)


_CELLS = """() => [...document.querySelectorAll('main td mjx-container, main td code, main th mjx-container')]
  .map(e => [e, e.getBoundingClientRect(), e.closest('td, th').getBoundingClientRect()])
  .filter(([, inner, cell]) => inner.width && (inner.right > cell.right + 1 || inner.left < cell.left - 1))
  .map(([e, inner, cell]) => `${Math.round(inner.right - cell.right)} px: ${e.closest('tr').innerText.slice(0, 80)}`)
"""


def out_of_cells(page) -> list[str]:
    """Formulas and names that are laid over the next column of their table."""
    return page.evaluate(_CELLS)


_DISTORTED = """() => [...document.querySelectorAll('main img')]
  .filter(e => e.naturalWidth && e.clientWidth > 32)
  .filter(e => Math.abs(e.clientWidth * e.naturalHeight / (e.clientHeight * e.naturalWidth) - 1) > 0.05)
  .map(e => `${e.src.slice(-60)}: ${e.clientWidth} x ${e.clientHeight}, is ${e.naturalWidth} x ${e.naturalHeight}`)
"""


def distorted(page) -> list[str]:
    """Pictures that are shown wider or higher than they are; whole pixels round small ones by some per cent."""
    return page.evaluate(_DISTORTED)


_ALT = """() => [...document.querySelectorAll('img')].map(e => [e.getAttribute('alt') ?? '', e.getAttribute('src')])"""


def alternative_texts(page) -> list[str]:
    """Pictures without words for those who can't see them; the name of a file says nothing."""
    found = []
    for text, source in page.evaluate(_ALT):
        if not text.strip() or text == source or re.search(r"(^|/)[\w-]+\.(png|svg|jpe?g|gif)$|_images/", text.strip()):
            found.append(f"an image without alternative text: {source[:80]}, {text!r}")
    return found


# axe looks at each element: a lecture has 30,000, most of them tokens of code and parts of equations.  A token's
# contrast hangs on its colours and size, so that one of each is enough; equations are drawn by MathJax, all alike.
_THIN = """() => {
  const seen = new Set();
  for (const e of document.querySelectorAll('.highlight pre span')) {
    const style = getComputedStyle(e), ground = getComputedStyle(e.closest('pre')).backgroundColor;
    const kind = [style.color, style.backgroundColor, style.fontSize, style.fontWeight, ground, e.className].join();
    if (seen.has(kind)) e.replaceWith(e.textContent); else seen.add(kind);
  }
  [...document.querySelectorAll('mjx-container')].slice(3).forEach(e => e.replaceChildren('x'));
}"""
_AXE = """async () => (await axe.run(document, {preload: false, resultTypes: ['violations']})).violations
  .filter(rule => ['serious', 'critical'].includes(rule.impact))
  .flatMap(rule => rule.nodes.map(node => `${rule.id} (${rule.impact}): ${node.target.join(' ')}: `
    + [...node.any, ...node.all, ...node.none].map(fault => fault.message).join('; ')))"""


def thin(page) -> None:
    """Make the page small enough for `accessibility`: it must be loaded again afterwards."""
    page.evaluate(_THIN)
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))


def accessibility(page) -> list[str]:
    """Serious and critical faults by the rules of axe-core, after `thin`."""
    return page.evaluate(_AXE)


_CUT_CODE = """() => [...document.querySelectorAll('main .cell_input pre')]
  .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)
  .map(e => `${e.scrollWidth - e.clientWidth} px of code are out of sight: ${e.innerText.slice(0, 60)}`)"""


def cut_code(page) -> list[str]:
    """Listings with lines that are wider than their box."""
    return page.evaluate(_CUT_CODE)


_FOLDS = """() => [...document.querySelectorAll('main details')].flatMap(fold => {
  const line = fold.querySelector(':scope > summary');
  if (!line) return ['a fold without a summary: ' + fold.textContent.trim().slice(0, 60)];
  const words = line.textContent.trim();  // what stands in a closed fold has no innerText
  return !words || /^(show|hide) code/i.test(words) ? ['a fold that does not say what it holds: ' + words] : [];
})"""


def silent_folds(page) -> list[str]:
    """Folds that a keyboard can't open, or that say nothing of what they hold."""
    return page.evaluate(_FOLDS)


_LOUD = """() => [...document.querySelectorAll('main .cell.tag_check .cell_input, main .tag_imports .cell_input')]
  .filter(e => !e.closest('.solution') && !e.closest('details'))
  .map(e => 'code of a check or of the set-up stands open: ' + e.innerText.trim().slice(0, 60))"""


def open_proofs(page) -> list[str]:
    """Code of checks, and of the set-up, that is not folded."""
    return page.evaluate(_LOUD)


_TYPE = """() => {
  const size = name => {
    const e = document.querySelector(`main article ${name}`);
    return e && parseFloat(getComputedStyle(e).fontSize);
  };
  const found = [], caption = document.querySelector('main figcaption .caption-text');
  const [two, three, text] = ['h2', 'h3', 'p:not([class])'].map(size);
  if (two && three && two < 1.2 * three) found.push(`h2 of ${two} px beside h3 of ${three} px`);
  if (caption && Number(getComputedStyle(caption).fontWeight) < 400) found.push('captions in thin letters');
  if (caption && parseFloat(getComputedStyle(caption).fontSize) >= text) found.push('captions as large as the text');
  return found;
}"""


def lettering(page) -> list[str]:
    """Headings of two levels that look alike, captions that are thin or as large as the text."""
    return page.evaluate(_TYPE)


_GAPS = """() => {
  const seen = [...document.querySelectorAll('main article figure, main article .dgm-opening')]
    .filter(e => e.offsetHeight && !e.closest('.solution')).map(e => e.getBoundingClientRect());
  const article = document.querySelector('main article').getBoundingClientRect();
  const stop = document.querySelector('main article #exercises')?.getBoundingClientRect().top ?? article.bottom;
  const edges = [article.top, ...seen.map(box => box.bottom)], starts = [...seen.map(box => box.top), stop];
  return {screens: article.height / innerHeight, first: (starts[0] - article.top) / innerHeight,
          gap: Math.max(...edges.map((edge, i) => (Math.min(starts[i], stop) - edge) / innerHeight))};
}"""


def screens(page) -> dict[str, float]:
    """Height of the page, place of its first picture, longest way without one before the exercises, in screens."""
    return page.evaluate(_GAPS)


_FILTERS = """() => [...document.querySelectorAll('main img')].flatMap(picture => {
  if (picture.closest('.toggle-hidden')) return [];  // nobody sees it
  for (let e = picture; e; e = e.parentElement) {
    const style = getComputedStyle(e);
    if (style.filter !== 'none' || style.mixBlendMode !== 'normal' || Number(style.opacity) < 1)
      return [`${e.localName}: ${style.filter} ${style.mixBlendMode} ${style.opacity}: ${picture.src.slice(0, 80)}`];
  }
  return [];
})"""


def filters(page) -> list[str]:
    """Pictures whose grey values the page changes."""
    return page.evaluate(_FILTERS)


_CORNER = """picture => {
  const place = {position: 'fixed', left: '0', top: '0', 'z-index': '99999', 'max-width': 'none',
                 width: picture.naturalWidth + 'px', height: picture.naturalHeight + 'px',
                 margin: '0', padding: '0', border: '0', 'border-radius': '0'};
  for (const key in place) picture.style.setProperty(key, place[key], 'important');
  return {x: 0, y: 0, width: Math.min(picture.naturalWidth, 600), height: Math.min(picture.naturalHeight, 400)};
}"""


def pixels(picture) -> Image.Image:
    """What the screen shows of a picture, moved to the corner in its own size, so that no pixel is interpolated."""
    before = picture.get_attribute("style") or ""
    shot = picture.page.screenshot(clip=picture.evaluate(_CORNER))
    picture.evaluate("(picture, style) => picture.setAttribute('style', style)", before)
    return Image.open(io.BytesIO(shot)).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Largest mean difference of a colour, of 255."""
    return float(np.asarray(ImageChops.difference(one, other), dtype=float).mean((0, 1)).max())


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag in ("a", "link", "area") and values.get("href"):
            self.targets.append(values["href"])
        if tag in ("img", "script", "source") and values.get("src"):
            self.sources.append(values["src"])


def _read(path: Path) -> _Links:
    links = _Links()
    links.feed(path.read_text(encoding="utf-8"))
    return links


def dead_links(folder: Path) -> list[str]:
    """Internal addresses of all pages that lead to no file, or to an anchor that the page does not have."""
    pages = {path.resolve(): _read(path) for path in folder.rglob("*.html") if "_static" not in path.parts}
    found = []
    for path, links in pages.items():
        for target in links.targets + links.sources:
            address = urlsplit(target)
            if address.scheme or address.netloc:
                continue
            file = (path.parent / unquote(address.path)).resolve() if address.path else path
            anchor = unquote(address.fragment)
            where = f"{path.relative_to(folder.resolve())}: {target}"
            if not file.exists():
                found.append(f"{where}: no such file")
            elif anchor and file in pages and anchor not in pages[file].ids:
                found.append(f"{where}: no such anchor")
    return found


def weight(path: Path) -> int:
    """Bytes of a page and its pictures, without what all pages share in `_static`."""
    pictures = {(path.parent / unquote(source)).resolve() for source in _read(path).sources if ":" not in source}
    return path.stat().st_size + sum(
        file.stat().st_size for file in pictures if file.is_file() and "_static" not in file.parts
    )
