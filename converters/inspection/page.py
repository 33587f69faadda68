"""A graph as one HTML page that opens anywhere, without a network.

The picture is made here, as SVG; the page's script only moves it about, searches and shows the
details of a node. What a file calls its tensors is foreign text: Jinja2 escapes it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .graph import Graph, Tensor
from .layout import lay_out

_HEIGHT = 38.0  # of a node, in pixels at the natural size
_CHARACTER = 7.0  # width of one
_PADDING = 18.0
_LONGEST_LABEL = 40
_BORDER = 20.0  # around the picture
_FIRST_HUE = 210.0  # degrees; blue, far from the red of what stands outside
_HUE_STEP = 137.5  # neighbours in the list of partitions differ clearly


@dataclass(frozen=True)
class Box:
    """A node, or an input or output of the whole graph."""

    id: str
    label: str
    detail: str
    kind: str  # "inside", "outside", "plain" or "port": a class of the style sheet
    partition: int | None
    document: dict[str, Any]  # for the script: `inputs` and `outputs` are indices of tensors


def write_page(graph: Graph, title: str, path: Path) -> None:
    """Draws the graph into the file `path`, which appears whole or not at all.

    Raises UsageError where the file cannot be written or has another suffix than .html.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: the page's name must end in .html")
    page = render_page(graph, title)
    try:
        handle, name = tempfile.mkstemp(prefix=".mvkit-", suffix=".html", dir=path.parent)
    except OSError as error:
        raise UsageError(f"cannot write to {path.parent}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(page)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # a temporary file is its owner's alone
        Path(name).replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def render_page(graph: Graph, title: str) -> str:
    """The page's text."""
    import jinja2

    boxes, edges = _boxes(graph), _edges(graph)
    layout = lay_out([_width(box) for box in boxes], _HEIGHT, edges)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.policies["json.dumps_kwargs"] = {"sort_keys": False}  # boxes in order of execution
    return templates.get_template("graph.html").render(
        title=title,
        graph=graph,
        boxes=[
            (box, x - _width(box) / 2, y - _HEIGHT / 2, _width(box))
            for box, (x, y) in zip(boxes, layout.centres, strict=True)
        ],
        paths=[_curve(points) for points in layout.paths],
        partitions=_legend(graph),
        outside=sum(box.kind == "outside" for box in boxes),
        height=_HEIGHT,
        view=(-_BORDER, -_BORDER, layout.width + 2 * _BORDER, layout.height + 2 * _BORDER),
        data={
            "boxes": {box.id: box.document for box in boxes},
            "tensors": [_tensor(one) for one in graph.tensors],
        },
    )


def _boxes(graph: Graph) -> list[Box]:
    """Inputs, nodes and outputs, in this order."""
    return [
        *(_port(graph, "input", i, tensor) for i, tensor in enumerate(graph.inputs)),
        *(_node(graph, i) for i in range(len(graph.nodes))),
        *(_port(graph, "output", i, tensor) for i, tensor in enumerate(graph.outputs)),
    ]


def _port(graph: Graph, kind: str, index: int, tensor: int) -> Box:
    return Box(
        id=f"{kind}-{index}",
        label=_shortened(graph.tensors[tensor].name or kind),
        detail=f"{kind} {_axes(graph.tensors[tensor])}",
        kind="port",
        partition=None,
        document={
            "operator": kind,
            "inputs": [tensor] if kind == "output" else [],
            "outputs": [tensor] if kind == "input" else [],
            "attributes": {},
        },
    )


def _node(graph: Graph, index: int) -> Box:
    node = graph.nodes[index]
    if node.partition is not None:
        kind = "inside"
    else:
        kind = "plain" if graph.partitions is None or node.scope else "outside"
    attributes = dict(node.attributes)
    if node.scope:
        attributes["in"] = node.scope
    return Box(
        id=f"node-{index}",
        label=_shortened(node.operator),
        detail=_axes(graph.tensors[node.outputs[0]]) if node.outputs else "",
        kind=kind,
        partition=node.partition,
        document={
            "operator": node.operator,
            "inputs": node.inputs,
            "outputs": node.outputs,
            "attributes": attributes,
            "partition": node.partition,
        },
    )


def _edges(graph: Graph) -> list[tuple[int, int]]:
    """Between boxes, by their places in the list; several tensors on the same way are one line.

    Where several nodes write a tensor in place, its reader follows the last one before it.
    """
    first, last = len(graph.inputs), len(graph.inputs) + len(graph.nodes)
    makers = {tensor: port for port, tensor in enumerate(graph.inputs)}
    found = []
    for i, node in enumerate(graph.nodes):
        found += [(makers[tensor], first + i) for tensor in node.inputs if tensor in makers]
        makers.update(dict.fromkeys(node.outputs, first + i))
    for port, tensor in enumerate(graph.outputs):
        if tensor in makers:
            found.append((makers[tensor], last + port))
    return list(dict.fromkeys(found))


def _legend(graph: Graph) -> list[dict[str, Any]]:
    sizes = graph.partition_sizes()
    first: dict[int, str] = {}
    for i, node in enumerate(graph.nodes):
        if node.partition is not None:
            first.setdefault(node.partition, f"node-{i}")
    return [
        {
            "delegate": partition.delegate,
            "note": partition.note,
            "operators": sizes[i],
            "hue": round((_FIRST_HUE + i * _HUE_STEP) % 360, 1),
            "first": first.get(i, ""),
        }
        for i, partition in enumerate(graph.partitions or ())
    ]


def _tensor(tensor: Tensor) -> dict[str, Any]:
    size = tensor.bytes if tensor.stored is None else tensor.stored
    return {
        "name": tensor.name,
        "type": tensor.describe(),
        "bytes": size,
        "constant": tensor.constant,
    }


def _axes(tensor: Tensor) -> str:
    return _shortened(tensor.describe().partition(" ")[2])


def _shortened(text: str) -> str:
    """The end of a long name tells more than its start."""
    return text if len(text) <= _LONGEST_LABEL else "…" + text[1 - _LONGEST_LABEL :]


def _width(box: Box) -> float:
    return _CHARACTER * max(len(box.label), len(box.detail), 4) + _PADDING


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """An SVG path from the bottom of a box to the top of another, upright in between."""
    half = _HEIGHT / 2
    parts = [f"M{points[0][0]:.1f} {points[0][1] + half:.1f}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        start, end = y0 + half, y1 - half
        middle = (start + end) / 2
        parts.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {end:.1f}")
        if (x1, y1) != points[-1]:
            parts.append(f"V{y1 + half:.1f}")
    return "".join(parts)
