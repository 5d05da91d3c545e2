"""Lines break where they should, drawings take the colours of the page, and what the theme gets wrong is mended."""

from types import SimpleNamespace

from docutils import nodes

from tools.book.polish import break_lines, inline_drawings, mark_bookkeeping, repair_roles

DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg"><defs><marker id="tip"/></defs><rect fill="var(--dgm-paper, #fff)"/>'
    '<path marker-end="url(#tip)"/></svg>'
)


def test_a_drawing_stands_in_the_page_with_its_words(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "chain.svg").write_text(DRAWING, encoding="utf-8")
    (tmp_path / "figures" / "icon.svg").write_text("<svg></svg>", encoding="utf-8")
    pictures = [nodes.image(uri=f"figures/{name}.svg", alt='A "chain".', width="620px") for name in ("chain", "icon")]
    page = nodes.container("", *pictures)
    inline_drawings(SimpleNamespace(srcdir=str(tmp_path)), page, "notebooks/rbm")
    drawn, other = page.children
    assert isinstance(other, nodes.image)  # it has a ground of its own
    text = drawn.astext()
    assert 'role="img" aria-label="A &quot;chain&quot;."' in text
    assert "max-width:620px" in text
    assert 'id="chain-tip"' in text
    assert "url(#chain-tip)" in text


def test_a_full_stop_stays_with_its_formula():
    formula = '<span class="math notranslate nohighlight">\\(x_1\\)</span>'
    context = {"body": f"<p>({formula}, and {formula} + {formula}.</p><div class='math'>\\[x\\]</div>"}
    break_lines(None, "page", "page.html", context, None)
    kept = '<span class="dgm-together">'
    expected = f"<p>({kept}{formula},</span> and {formula} + {kept}{formula}.</span></p><div class='math'>\\[x\\]</div>"
    assert context["body"] == expected
    break_lines(None, "search", "search.html", context := {}, None)
    assert context == {}


def test_names_in_a_table_break_between_their_parts():
    code = '<code class="docutils literal notranslate"><span class="pre">{}</span></code>'
    context = {"body": f"<p>{code.format('a_name.of')}</p><td>{code.format('a_name.of(x_)')} a_b</td>"}
    break_lines(None, "page", "page.html", context, None)
    broken = "a_<wbr>name.<wbr>of(<wbr>x_)"
    assert context["body"] == f"<p>{code.format('a_name.of')}</p><td>{code.format(broken)} a_b</td>"


def test_a_bibliography_is_no_list_without_items():
    body = (
        '<div role="list" class="citation-list">\n<div class="citation" id="id1" role="doc-biblioentry">A</div></div>'
    )
    context = {"body": body + '<div role="list">B</div>'}
    repair_roles(None, "page", "page.html", context, None)
    assert context["body"] == body.replace('role="list" ', "") + '<div role="list">B</div>'
    repair_roles(None, "search", "search.html", context := {}, None)
    assert context == {}


def test_what_a_run_says_of_itself_is_marked():
    def output(text):
        return (
            '<div class="output stream highlight-myst-ansi notranslate"><div class="highlight"><pre><span></span>'
            f"{text}\n</pre></div>\n</div>"
        )

    own = "recorded a_number = -93.29 +/- 0.54 nats (published -86.34)\nPCD-1, epochs: 1,000 steps, 51 s"
    answer, mixed = "AIS misses 0.7 nats", "exact 1.2\nrecorded error = 3 nats"
    context = {"body": output(own) + output(answer) + output(mixed)}
    mark_bookkeeping(None, "page", "page.html", context, None)
    marked = output(own).replace("output stream", "output dgm-bookkeeping stream")
    kept = "exact 1.2\n" + '<span class="dgm-bookkeeping">recorded error = 3 nats\n</span></pre>'
    assert context["body"] == marked + output(answer) + output(mixed).replace(mixed + "\n</pre>", kept)
    mark_bookkeeping(None, "search", "search.html", context := {}, None)
    assert context == {}
