"""Runs of passed checks are folded, and nothing else: no line is lost, moved or hidden that says more than "ok"."""

import pytest
from docutils import nodes

from tools.book.fold import break_lines, fold, fold_checks, repair_roles, runs

OK = [f"check {i}: exact 0, computed 0: ok" for i in range(3)]


def block(lines):
    text = "\n".join(lines) + "\n"
    return nodes.literal_block(text, text, classes=["output", "stream"], language="myst-ansi")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (OK, [(True, OK)]),
        (OK[:2], [(False, OK[:2])]),
        ([*OK, "recorded x = 1 nats"], [(True, OK), (False, ["recorded x = 1 nats"])]),
        (["a = 1", *OK[:2], "b = 2"], [(False, ["a = 1", *OK[:2], "b = 2"])]),
        (["log p: -1", *OK, "not yet", *OK], [(False, ["log p: -1"]), (True, OK), (False, ["not yet"]), (True, OK)]),
        ([*OK, "CheckFailed: sum of all probabilities 2: WRONG"], [(True, OK), (False, [
            "CheckFailed: sum of all probabilities 2: WRONG"])]),
        (["not yet"], [(False, ["not yet"])]),
    ],
)  # fmt: skip
def test_what_is_folded(lines, expected):
    assert runs(lines) == expected
    assert [line for _, run in runs(lines) for line in run] == lines


def test_the_fold_says_how_many_checks_it_holds():
    before, inside, after = fold(block(OK))
    assert before.astext() == '<details class="dgm-checks"><summary>3 checks: all ok</summary>'
    assert inside.astext() == inside.rawsource == "\n".join(OK)
    assert after.astext() == "</details>"


@pytest.mark.parametrize(
    ("tag", "classes", "folded"),
    [
        ("tag_check", ["output", "stream"], True),
        ("tag_plot", ["output", "stream"], False),
        ("tag_check", ["output", "stderr"], False),
        ("tag_check", [], False),  # the code
    ],
)
def test_only_what_a_check_prints_is_folded(tag, classes, folded):
    printed = block(OK)
    printed["classes"] = classes
    document = nodes.container("", nodes.container("", printed, classes=["cell_output"]), classes=["cell", tag])
    fold_checks(None, nodes.section("", document), "page")
    tags = list(document.findall(nodes.raw))
    assert bool(tags) is folded
    assert not any(tag["classes"] for tag in tags)  # a tag with a class is put into a box, which closes it at once
    assert sum(len(part.astext().split("\n")) for part in document.findall(nodes.literal_block)) >= len(OK)


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
