"""`mvkit inspect`: what a saved file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import Output, output_options

if TYPE_CHECKING:
    from rich.table import Table

    from converters.inspection import Graph, Inspection, Tensor

_LONGEST_NAME = 60


@click.command(short_help="Shows what a saved file holds.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--graph",
    "page",
    metavar="FILE.html",
    type=click.Path(path_type=Path),
    help="Draw the graph as one page that opens without a network.",
)
@click.option("--gpu", is_flag=True, help="Ask TensorFlow about TFLite's GPU delegate too.")
@click.option(
    "--top", type=click.IntRange(0), default=5, show_default=True, help="Largest activations."
)
@output_options
def inspect(file: Path, page: Path | None, gpu: bool, top: int, output: Output) -> None:
    """Shows operators, partitions and what breaks them, sizes, and risks on phones.

    FILE is any .tflite, .pte or .mlpackage; it needs no manifest. Nothing is measured, and
    nothing is said about where a phone will run an operator.
    """
    from converters.inspection import inspect_file, write_page

    from .console import print_json, print_line

    inspection = inspect_file(file, gpu=gpu)
    if page is not None:
        write_page(inspection.graph, file.name, page)
    if output.json:
        print_json(inspection.document(top))
    elif not output.quiet:
        _print(inspection, top)
        if page is not None:
            print_line(f"graph       {page}")


def _print(inspection: Inspection, top: int) -> None:
    from converters.errors import one_line

    from .console import print_line, size_text

    graph = inspection.graph
    weights = [f"{dtype} {size_text(size)}" for dtype, size in graph.weight_bytes().items()]
    ranks = [f"{count} of rank {rank}" for rank, count in graph.ranks().items()]
    facts = [
        ("file", str(inspection.file)),
        ("format", f"{graph.format}, {_operators(len(graph.nodes))}"),
        *(("input", _described(graph.tensors[i])) for i in graph.inputs),
        *(("output", _described(graph.tensors[i])) for i in graph.outputs),
        ("weights", ", ".join(weights) or "none"),
        ("tensors", ", ".join(ranks)),
        ("partitions", _partitions(graph)),
    ]
    if graph.planned_memory is not None:
        facts.append(("memory", f"{size_text(graph.planned_memory)} planned for activations"))
    facts += [("note", one_line(note, 400)) for note in graph.notes]
    for label, text in facts:
        print_line(f"{label:<12}{text}")
    _print_operators(graph)
    _print_breaks(inspection)
    _print_activations(graph, top)
    _print_gpu(inspection)
    _print_neural_engine(inspection)


def _print_table(table: Table) -> None:
    from .console import print_line, print_table

    print_line("")
    print_table(table)


def _partitions(graph: Graph) -> str:
    if graph.partitions is None:
        return "none in the file" if graph.format == "CoreML" else "not known"
    outside = sum(graph.outside().values())
    if not graph.partitions:
        return f"none: {_operators(outside)} outside, which is all"
    delegates = ", ".join(dict.fromkeys(one.delegate for one in graph.partitions))
    inside = sum(graph.partition_sizes())
    count = len(graph.partitions)
    return f"{count} ({delegates}): {_operators(inside)} inside, {outside} outside"


def _operators(count: int) -> str:
    return "1 operator" if count == 1 else f"{count} operators"


def _print_operators(graph: Graph) -> None:
    from converters.errors import one_line

    from .console import plain_table

    outside = graph.outside()
    columns = ("operator", "count", *(("outside",) if outside else ()))
    table = plain_table(*columns, right=("count", "outside"))
    for operator, count in graph.operators().items():
        lone = (str(outside.get(operator, "")),) if outside else ()
        table.add_row(one_line(operator, _LONGEST_NAME), str(count), *lone)
    _print_table(table)


def _print_breaks(inspection: Inspection) -> None:
    from converters.errors import one_line

    from .console import plain_table

    if not inspection.breaks:
        return
    table = plain_table("outside", "count", "why", "what would mend it", right=("count",))
    for one in inspection.breaks:
        name = one_line(one.operator, _LONGEST_NAME)
        table.add_row(name, str(one.count), one.reason, one.mend or "-")
    _print_table(table)


def _print_activations(graph: Graph, top: int) -> None:
    from converters.errors import one_line

    from .console import plain_table, size_text

    largest = graph.largest_activations(top)
    if not largest:
        return
    table = plain_table("largest activations", "type", "size", "made by", right=("size",))
    for tensor, operator in largest:
        table.add_row(
            _name(tensor),
            tensor.describe(),
            size_text(tensor.bytes or 0),
            one_line(operator, _LONGEST_NAME),
        )
    _print_table(table)


def _print_gpu(inspection: Inspection) -> None:
    from converters.errors import one_line

    from .console import plain_table, print_line

    if inspection.gpu_refusals is None:
        return
    if inspection.gpu_refusals:
        table = plain_table("refused by the GPU delegate's rules", "count", "why", right=("count",))
        for one in inspection.gpu_refusals:
            table.add_row(one_line(one.operator, _LONGEST_NAME), str(one.count), one.reason)
        _print_table(table)
    else:
        print_line("GPU         the GPU delegate's rules refuse no operator; no GPU was asked")
    analysis = inspection.gpu_analysis
    if analysis is None:
        return
    if analysis.compatible is None:
        said = "calls every file compatible, one that cannot be among them: it says nothing"
    elif analysis.compatible:
        said = "finds nothing against the GPU delegate"
    else:
        said = f"warns: {'; '.join(analysis.warnings)}"
    print_line(f"GPU         {analysis.analyzer} {said}")


def _print_neural_engine(inspection: Inspection) -> None:
    from converters.inspection.neural_engine import CAVEAT

    from .console import plain_table, print_line

    if inspection.neural_engine is None:
        return
    print_line(f"\nNeural Engine: {CAVEAT}")
    table = plain_table("kind", "what", "count", "why", "source", right=("count",))
    for risk in inspection.neural_engine:
        table.add_row(risk.kind, risk.what, str(risk.count), risk.why, risk.source)
    if inspection.neural_engine:
        _print_table(table)
    else:
        print_line("nothing known speaks against it")


def _described(tensor: Tensor) -> str:
    return f"{_name(tensor)}, {tensor.describe()}"


def _name(tensor: Tensor) -> str:
    """The end of a name, which tells more than its start."""
    from converters.errors import one_line

    name = one_line(tensor.name, len(tensor.name) or 1)
    return name if len(name) <= _LONGEST_NAME else "..." + name[3 - _LONGEST_NAME :]
