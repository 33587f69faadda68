"""The page: whole, self-contained, and closed to what a file's names try to smuggle in."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from converters.errors import UsageError
from converters.inspection.graph import Graph, Node, Partition
from converters.inspection.page import _edges, render_page, write_page
from tests.converters.handmade import assert_one_line
from tests.converters.inspection.handmade_graphs import make_graph, random_graph, tensor

VOID = {"meta", "input"}
EVIL = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "<!--<script>",
    "{{ 7 * 7 }} {% raw %}",
    "a\u2028b\x00\x1b[2J",
]


class Page(HTMLParser):
    """Elements with their attributes; fails where tags do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes.get("id", tag)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            name = self._open[-1][1]
            self.texts[name] = self.texts.get(name, "") + data

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def boxes(self) -> dict[str, list[str]]:
        """Classes of the boxes by id."""
        classes = ((one.get("id", ""), one.get("class", "").split()) for _, one in self.elements)
        return {name: found for name, found in classes if "box" in found}

    def data(self) -> Any:
        return json.loads(self.texts["data"])


def small_graph(name: str = "x", operator: str = "ADD", **changes: Any) -> Graph:
    nodes = [Node(operator, (0, 1), (2,), {name: name}, 0), Node("ARG_MAX", (2,), (3,))]
    tensors = [tensor(name), tensor("w", constant=True, stored=16), tensor(name), tensor("out")]
    fields: dict[str, Any] = {"partitions": (Partition("XNNPACK"),), **changes}
    return make_graph(nodes, tensors, (3,), **fields)


def test_every_node_is_there_once() -> None:
    page = Page(render_page(random_graph(0, 700), "a file"))
    wanted = ["input-0", *(f"node-{i}" for i in range(700)), "output-0"]
    assert list(page.boxes()) == wanted
    assert len(page.ids()) == len(set(page.ids()))
    assert list(page.data()["boxes"]) == wanted
    assert len(page.data()["tensors"]) == 701


def test_what_a_node_says_of_itself() -> None:
    page = Page(render_page(small_graph("image"), "a file"))
    boxes, tensors = page.data()["boxes"], page.data()["tensors"]
    assert boxes["node-0"]["operator"] == "ADD" and boxes["node-0"]["partition"] == 0
    assert boxes["node-0"]["attributes"] == {"image": "image"}
    assert [tensors[i]["name"] for i in boxes["node-0"]["inputs"]] == ["image", "w"]
    assert tensors[1] == {"name": "w", "type": "float32 1x4", "bytes": 16, "constant": True}
    assert boxes["input-0"]["outputs"] == [0] and boxes["output-0"]["inputs"] == [3]


def test_partitions_and_what_is_outside_can_be_told_apart() -> None:
    text = render_page(small_graph(), "a file")
    boxes = Page(text).boxes()
    assert boxes["node-0"] == ["box", "inside", "p0"] and boxes["node-1"] == ["box", "outside"]
    assert ".p0 { --fill: hsl(" in text
    assert "XNNPACK 0: 1 operator<" in text and "outside every partition: 1 operator<" in text
    plain = Page(render_page(small_graph(partitions=None), "a file")).boxes()
    assert plain["node-1"] == ["box", "plain"]


def test_edges() -> None:
    """Input to ADD, ADD to ARG_MAX, ARG_MAX to output; a constant is no edge."""
    tags = [tag for tag, _ in Page(render_page(small_graph(), "a file")).elements]
    assert tags.count("path") == 3


def test_edges_follow_what_was_written_last() -> None:
    """Also in place, as operators on buffers do: never back to the writer that comes later."""
    nodes = [Node("A", (0,), (1,)), Node("B", (1,), (1,)), Node("C", (1, 0, 1), (2,))]
    graph = make_graph(nodes, [tensor()] * 3, (2,))
    # Boxes: 0 is the input, 1 to 3 the nodes, 4 the output.
    assert sorted(_edges(graph)) == [(0, 1), (0, 3), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("name", EVIL)
def test_names_do_not_break_out(name: str) -> None:
    harmless = Page(render_page(small_graph("x", "y"), "z"))
    page = Page(render_page(small_graph(name, name), name))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    assert [set(one) for _, one in page.elements] == [set(one) for _, one in harmless.elements]
    assert page.data()["tensors"][0]["name"] == name
    assert page.data()["boxes"]["node-0"]["attributes"] == {name: name}


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = render_page(small_graph(), "a file")
    assert "://" not in text and "@import" not in text and "url(" not in text
    page = Page(text)
    for tag, attributes in page.elements:
        assert not attributes.keys() & {"src", "action", "srcset", "xlink:href"}
        assert attributes.get("href", "#drawing") == "#drawing"
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
    policy = next(one["content"] for _, one in page.elements if "http-equiv" in one)
    assert "default-src 'none'" in policy


def test_the_script_writes_text_only_and_knows_every_id() -> None:
    text = render_page(small_graph(), "a file")
    script = text[text.rindex("<script>") :]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)
    wanted = set(re.findall(r'getElementById\("([\w-]+)"\)', script))
    assert wanted and wanted <= set(Page(text).ids())


@pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript engine here")
def test_the_script_parses(tmp_path: Path) -> None:
    text = render_page(small_graph(), "a file")
    script = text[text.rindex("<script>") + 8 : text.rindex("</script>")]
    (tmp_path / "page.js").write_text(script)
    subprocess.run(["node", "--check", tmp_path / "page.js"], check=True)


def test_the_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "graph.html"
    path.write_text("an older page")
    write_page(small_graph(), "a file", path)
    assert path.read_text(encoding="utf-8") == render_page(small_graph(), "a file")
    assert list(tmp_path.iterdir()) == [path]
    other = tmp_path / "other"
    other.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_disk_that_fails_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "graph.html"
    path.write_text("an older page")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(UsageError, match="No space left") as caught:
        write_page(small_graph(), "a file", path)
    assert_one_line(caught.value, str(path))
    assert path.read_text() == "an older page" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["model.tflite", "graph", "missing/graph.html"])
def test_names_that_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_page(small_graph(), "a file", tmp_path / name)
    assert_one_line(caught.value, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
