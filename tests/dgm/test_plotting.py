import ast
import base64
import functools
import html
import inspect
import io
import json
import re
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from dgm import plotting

FRAMES = np.random.default_rng(0).random((3, 8, 6))


@pytest.fixture(autouse=True)
def own_figures():
    """Each test starts with matplotlib's defaults and leaves no figure open."""
    with mpl.rc_context():
        yield
    plt.close("all")


def test_tile():
    images = np.arange(1, 7, dtype=float).reshape(3, 1, 2)
    assert np.array_equal(
        plotting.tile(images, columns=2, padding=1, background=-1),
        [[1, 2, -1, 3, 4], [-1, -1, -1, -1, -1], [5, 6, -1, -1, -1]],
    )
    assert plotting.tile(images, columns=5).shape == (1, 5 * 2 + 4 * 2)


@pytest.mark.parametrize(
    ("images", "columns", "message"),
    [
        (np.zeros((3, 783)), 2, r"expected \(num_images, height, width\) .* got \(3, 783\)"),
        (np.zeros((0, 28, 28)), 2, r"at least one image, got \(0, 28, 28\)"),
        (np.zeros((2, 28, 28)), 0, "columns: expected at least 1, got 0"),
        (np.full((2, 2, 2), np.nan), 1, "got 8 NaN"),
    ],
)
@pytest.mark.parametrize(
    "draw", [plotting.tile, plotting.image_grid, functools.partial(plotting.image_grid, symmetric=True)]
)
def test_tile_and_image_grid_refuse(draw, images, columns, message):
    with pytest.raises(ValueError, match=message):
        draw(images, columns=columns)
    assert plt.get_fignums() == []


def test_image_grid():
    plotting.apply_style()
    images = np.random.default_rng(0).random((4, 784))
    ax = plotting.image_grid(images, columns=2)
    picture = ax.get_images()[0]
    assert picture.get_clim() == (0, 1)
    assert picture.get_cmap().name == "gray_r"  # ink, 1, is black
    assert np.array_equal(picture.get_array()[30:, :28], images[2].reshape(28, 28))
    assert not ax.axison
    mine = plt.subplots()[1]
    assert plotting.image_grid(images.reshape(4, 28, 28), columns=2, ax=mine) is mine
    assert np.array_equal(mine.get_images()[0].get_array(), picture.get_array())


@pytest.mark.parametrize(
    ("weights", "limit", "expected"),
    [(np.linspace(-2, 1, 32), None, np.percentile(np.abs(np.linspace(-2, 1, 32)), 99.5)), (np.ones(32), 3, 3)],
)
def test_image_grid_of_weights(weights, limit, expected):
    picture = plotting.image_grid(weights.reshape(2, 4, 4), columns=2, symmetric=True, limit=limit).get_images()[0]
    assert picture.get_clim() == (-expected, expected)
    red, _, blue, _ = picture.to_rgba(np.array([[expected]]))[0, 0]
    assert red > blue


def test_image_grid_of_zero_weights_is_white():
    picture = plotting.image_grid(np.zeros((2, 4, 4)), columns=2, symmetric=True).get_images()[0]
    assert picture.to_rgba(np.zeros((1, 1)))[0, 0] == pytest.approx([1, 1, 1, 1], abs=0.04)  # RdBu's middle is 0.97


def test_density_map():
    side = np.linspace(-2, 2, 5)
    first, second = np.meshgrid(side, side, indexing="ij")
    log_density = (first + 10 * second).ravel()  # highest at (2, 2), the second coordinate counts more
    ax = plotting.density_map(log_density, half_width=2.0, view=1.5)
    (image,) = ax.images
    shown = np.asarray(image.get_array())
    assert shown.shape == (5, 5)
    assert image.origin == "lower"
    assert shown[-1, -1] == shown.max() == 1
    assert shown[-1, 0] > shown[0, -1]  # rows go with the second coordinate
    assert np.allclose(image.get_extent(), [-2.5, 2.5, -2.5, 2.5])  # a pixel's centre lies at its point
    assert ax.get_xlim() == ax.get_ylim() == (-1.5, 1.5)
    assert np.allclose(shown[2, 2], np.exp(-22))


@pytest.mark.parametrize("log_density", [np.zeros(8), np.zeros((3, 3))])
def test_density_map_refuses(log_density):
    with pytest.raises(ValueError, match="a square number of entries"):
        plotting.density_map(log_density)


def test_point_cloud():
    points = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 0.5]])
    ax = plotting.point_cloud(points, colour="#123456", view=4.0)
    (line,) = ax.lines
    assert np.array_equal(line.get_xydata(), points)
    assert line.get_color() == "#123456"
    assert ax.get_aspect() == 1
    assert ax.get_xlim() == (-4, 4)
    assert plotting.point_cloud(points, ax=ax) is ax


def test_reference_line():
    ax = plt.subplots()[1]
    assert plotting.reference_line(ax, 0.5, "log 2") is ax
    assert list(ax.get_lines()[0].get_ydata()) == [0.5, 0.5]
    assert ax.texts[0].get_text() == "log 2"


class Page(HTMLParser):
    """Elements of a page, as `(tag, attributes)`, and the text of its script."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.script = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, text):
        if self.elements and self.elements[-1][0] == "script":
            self.script += text

    def constant(self, name):
        return json.JSONDecoder().raw_decode(self.script, self.script.index(f"{name} = ") + len(f"{name} = "))[0]


def pixels(uri):
    """The picture in a data address, as grey values with ink 1."""
    return 1 - np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))).convert("L")) / 255


def test_film():
    page = Page(plotting.film(FRAMES, alt="three frames", fps=5)._repr_html_())
    frames = page.constant("frames")
    assert [tag for tag, _ in page.elements] == ["div", "img", "div", "button", "input", "output", "script"]
    for uri, frame in zip(frames, FRAMES, strict=True):
        assert np.abs(pixels(uri) - frame).max() <= 1 / 255  # one step of grey
    _, image = page.elements[1]
    assert image["alt"] == "three frames"
    assert image["src"] == frames[-1]  # seen without JavaScript
    assert page.constant("labels") == ["frame 1 of 3", "frame 2 of 3", "frame 3 of 3"]
    assert "setInterval(step, 200)" in page.script
    assert f'getElementById("{page.elements[0][1]["id"]}")' in page.script


def test_slider():
    page = Page(plotting.slider([0.1, 1, 10], FRAMES, alt="three values", width=300)._repr_html_())
    assert page.constant("labels") == ["0.1", "1", "10"]
    assert page.elements[0][1]["style"].startswith("max-width:300px;")


def test_film_is_smoothed_only_where_it_is_drawn():
    """Pixels of digits stay sharp when enlarged; letters lose strokes without smoothing."""
    assert "image-rendering:pixelated" in plotting.film(FRAMES, alt="digits")._repr_html_()
    figure, _ = plt.subplots()
    assert "image-rendering:auto" in plotting.film([figure], alt="a drawing")._repr_html_()


def test_film_opens_on_its_first_frame():
    """The last one stands in the page for readers without JavaScript."""
    page = Page(plotting.film(FRAMES, alt="x")._repr_html_())
    assert page.script.rstrip().endswith("    show(0);\n  }\n  box.dgmWire = wire;\n  wire(box);\n})();")


def test_film_asks_no_host():
    page = plotting.film(FRAMES, alt="three frames")._repr_html_()
    addresses = [value for _, attributes in Page(page).elements for name, value in attributes.items() if name == "src"]
    assert len(addresses) == 1
    assert all(address.startswith("data:image/png;base64,") for address in [*addresses, *Page(page).constant("frames")])
    rest = re.sub(r'"data:image/png;base64,[A-Za-z0-9+/=]+"', "", page)
    assert not re.search(r"//|href|url\(|import|fetch|data:", rest)


def test_film_of_figures():
    figures = []
    for height in (1, 2):
        figure, ax = plt.subplots(figsize=(2, 1), dpi=50)
        ax.plot([0, height])
        figures.append(figure)
    page = Page(plotting.film(figures, alt="lines", width=100)._repr_html_())
    assert [pixels(uri).shape for uri in page.constant("frames")] == [(62, 125)] * 2  # a quarter more than shown
    assert plt.get_fignums() == []  # or the notebook would show them once more


@pytest.mark.parametrize(
    "text", ['a "quoted" <b>&amp; & more</b>', "</script><script>alert(1)</script>", "<!--<script>"]
)
def test_film_escapes_text(text):
    page = Page(plotting.film(FRAMES, alt=text, labels=["a", "b", text])._repr_html_())
    assert [tag for tag, _ in page.elements] == ["div", "img", "div", "button", "input", "output", "script"]
    assert page.elements[1][1]["alt"] == text
    assert page.constant("labels")[2] == text
    assert "<" not in re.search("labels = (.*);", page.script).group(1)
    assert f">{html.escape(text)}</output>" in plotting.film(FRAMES, alt="x", labels=["a", "b", text])._repr_html_()


def test_film_repeats():
    first, second = (plotting.film(FRAMES, alt="x")._repr_html_() for _ in range(2))
    assert first == second
    other = plotting.film(FRAMES[::-1], alt="x")._repr_html_()
    assert Page(first).elements[0][1]["id"] != Page(other).elements[0][1]["id"]


def test_film_is_silent_in_a_script():
    text = repr(plotting.film(FRAMES, alt="three frames"))
    assert text == "<film of 3 frames: three frames>"


def noise(num_frames, side):
    """Frames that PNG can't make smaller: one byte a pixel."""
    return np.random.default_rng(0).random((num_frames, side, side))


def test_film_size_limit():
    """The whole of what enters the page is at most 1 MB; it holds the last frame twice."""
    page = plotting.film(noise(1, 600), alt="x")._repr_html_()
    assert 900_000 < len(page) <= 1_000_000
    with pytest.raises(ValueError, match=r"frames: expected at most 1,000,000 bytes, got 1,2.*: fewer or smaller"):
        plotting.film(noise(1, 680), alt="x")
    with pytest.raises(ValueError, match="at most 1,000,000 bytes"):
        plotting.film(noise(20, 220), alt="x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": []}, "frames: expected at least one, got none"),
        (
            {"frames": np.zeros((2, 4, 4, 3))},
            r"frame: expected grey values of shape \(height, width\) .* got \(4, 4, 3\)",
        ),
        ({"frames": np.full((2, 4, 4), np.nan)}, "without NaN"),
        ({"alt": " "}, "alt: expected a description"),
        ({"labels": ["one"]}, "labels: expected one a frame, 3, got 1"),
        ({"fps": 0}, "fps: expected a positive number"),
        ({"fps": float("nan")}, "fps: expected a positive number"),
    ],
)
def test_film_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        plotting.film(**({"frames": FRAMES, "alt": "x"} | changes))


def test_slider_refuses():
    with pytest.raises(ValueError, match="labels: expected one a frame, 3, got 2"):
        plotting.slider([1, 2], FRAMES, alt="x")


def test_the_module_only_draws():
    """The module draws arrays: it imports no framework and no model, sets no title, shows no figure, prints nothing."""
    tree = ast.parse(inspect.getsource(plotting) + inspect.getsource(inspect.getmodule(plotting.Film)))
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imports} <= {
        "__future__", "base64", "collections", "dgm", "hashlib", "html", "io", "json", "typing", "matplotlib", "numpy",
        "PIL", "warnings",
    }  # fmt: skip
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"show", "title", "set_title", "suptitle", "print", "display"}


def test_film_closes_each_figure_before_it_asks_for_the_next():
    def figures():
        for height in (1, 2, 3):
            assert not plt.get_fignums()
            fig, ax = plt.subplots()
            ax.plot([0, height])
            yield fig

    film = plotting.film(figures(), alt="a line that rises")
    assert len(film.frames) == 3
    assert film.labels == ["frame 1 of 3", "frame 2 of 3", "frame 3 of 3"]
    assert len(set(film.frames)) == 3
    assert not plt.get_fignums()


def test_the_style_does_not_depend_on_a_matplotlibrc():
    """A dark style or TeX of the reader's would get into the pictures."""
    import matplotlib as mpl

    with mpl.rc_context({"text.usetex": True, "axes.facecolor": "black", "lines.linewidth": 9, "font.size": 5}):
        plotting.apply_style()
        found = mpl.rcParams["text.usetex"], mpl.rcParams["axes.facecolor"], mpl.rcParams["font.size"]
    assert found == (False, "white", 11)


def test_a_table_in_the_page_in_markdown_and_in_a_script():
    made = plotting.table({"a | b": (1234, -0.123456), "<c>": ("none", 2.0)}, columns=("", "n", "nats"), digits=2)
    assert "<th>nats</th>" in made._repr_html_()
    assert "<td>1,234</td><td>-0.12</td>" in made._repr_html_()
    assert "&lt;c&gt;" in made._repr_html_()
    assert made._repr_markdown_().splitlines()[1:] == [
        "| :-- | --: | --: |",
        "| a \\| b | 1,234 | -0.12 |",
        "| <c> | none | 2 |",
    ]
    assert repr(made).splitlines() == ["           n   nats", "a | b  1,234  -0.12", "<c>     none      2"]


def test_a_table_of_one_number_a_row():
    assert plotting.table({"a": 1.0}, columns=("name", "x")).rows == [["a", "1"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [([], "at least one"), ([("a", 1.0, 2.0)], r"expected 2 cells, as many as columns, got 3: \['a'")],
)
def test_a_table_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        plotting.table(rows, columns=("a", "b"))
