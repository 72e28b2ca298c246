import base64
import html.parser
import re

from diffax.reporting import charts, page

HOSTILE = "<script>alert('x')</script>\"&"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


class Tags(html.parser.HTMLParser):
    """Every tag with its attributes, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = [tag]

    def handle_endtag(self, tag):
        self._inside = []

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside):
            self.text.append(data)


def whole_page(text):
    svg = charts.chart([charts.Series(text, [1, 2], [3, 4])], xlabel=text, ylabel=text)
    parts = [
        page.Table((text, "value"), [(text, 0.25), (None, "0.1 ± 0.2")], frozenset({1})),
        page.Figures([page.Figure(svg, text)]),
        page.Pictures([(text, PNG), ("last", PNG)], text, text),
        page.Details(text, [page.Code(text)]),
    ]
    return page.Page(text, [page.Section(text, parts, text)], [(text, text)])


def test_every_text_is_escaped():
    rendered = page.render(whole_page(HOSTILE))
    seen = Tags(rendered)
    assert [tag for tag, _ in seen.tags].count("script") == 1  # the slider's
    assert "".join(seen.text).count(HOSTILE) >= 14
    pictures = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert pictures[0]["data-label"] == HOSTILE and pictures[0]["alt"] == f"{HOSTILE}, {HOSTILE}"


def test_one_file_asks_for_nothing_else():
    seen = Tags(page.render(whole_page("a")))
    addresses = [value for _, attrs in seen.tags for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert addresses and all(address.startswith(("data:", "#section-")) for address in addresses)
    assert not re.search(r"url\(|@import|<link rel=.stylesheet", page.render(whole_page("a")))
    [policy] = [attrs["content"] for tag, attrs in seen.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")


def test_pictures_are_data_uris_and_the_last_is_shown():
    pictures = [attrs for tag, attrs in Tags(page.render(whole_page("a"))).tags if tag == "img"]
    assert ["hidden" in attrs for attrs in pictures] == [True, False]
    assert base64.b64decode(pictures[0]["src"].removeprefix("data:image/png;base64,")) == PNG
    alone = page.render(page.Page("a", [page.Section("b", [page.Pictures([("only", PNG)])])]))
    assert 'type="range"' not in alone


def test_numbers_stand_at_the_right_and_a_marked_row_is_marked():
    rendered = page.render(whole_page("a"))
    assert '<td class="number">0.25</td>' in rendered and '<td class="number">0.1 ± 0.2</td>' in rendered
    assert '<tr class="marked"><td></td>' in rendered


def test_a_file_is_replaced_whole_and_holds_any_text(tmp_path):
    page.write(tmp_path / "report.html", page.Page("\udcff é", []))
    assert "? é" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
