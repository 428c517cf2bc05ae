"""HTML in which text is escaped."""

import json
from html import unescape
from html.parser import HTMLParser

import pytest

from casim.markup import Markup, breakable, data, element, page, table

NASTY = """</script><script>alert("1")</script> & 'x' <b>"""


def test_text_is_escaped_wherever_it_enters_and_markup_is_not():
    made = element("p", NASTY, Markup("<i>so</i>"), title=NASTY, data_of="a", class_="b")
    assert "<script" not in made
    assert "<b>" not in made
    assert "<i>so</i>" in made
    assert made.count("&lt;script&gt;") == 2
    assert 'data-of="a" class="b"' in made


def test_attributes_that_are_off_are_left_out_and_void_elements_are_not_closed():
    assert element("input", checked=True, id=None, hidden=False) == "<input checked>"


def test_a_name_is_broken_at_its_signs_and_is_the_same_name():
    assert breakable("Gae(lambda=1.0)") == "Gae<wbr>(lambda=<wbr>1.0)"
    assert breakable("task.num_turns") == "task.<wbr>num_<wbr>turns"
    assert breakable("a<b(") == "a&lt;b<wbr>("


def test_a_table_has_its_first_line_as_head():
    made = table([["a", "b"], ["<", None]], class_="plain")
    assert "<tr><th>a</th><th>b</th></tr>" in made
    assert "<tr><td>&lt;</td><td></td></tr>" in made


def test_data_in_a_page_cannot_end_its_script_and_comes_back_as_it_was():
    made = data("rows", {"said": NASTY})
    inside = made.removeprefix('<script type="application/json" id="rows">')
    inside = inside.removesuffix("</script>")
    assert "<" not in inside
    assert json.loads(inside) == {"said": NASTY}
    with pytest.raises(ValueError, match="JSON compliant"):
        data("rows", float("nan"))


class Addresses(HTMLParser):
    """What a page would load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "srcset", "action")]
        if tag == "link":
            self.found.append(tag)


def test_a_page_is_one_file_that_loads_nothing():
    text = page("t", [element("p", "x")], "p { color: red }", ["let a = 1 < 2;"], {"v": [1]})
    reader = Addresses()
    reader.feed(text)
    assert reader.found == []
    assert "default-src 'none'" in unescape(text)
    assert "let a = 1 < 2;" in text
