"""What a saved file holds, without measuring it: operators, partitions, sizes and risks."""

from .graph import Graph, Node, Partition, Tensor
from .page import write_page
from .report import Inspection, inspect_file

__all__ = [
    "Graph",
    "Inspection",
    "Node",
    "Partition",
    "Tensor",
    "inspect_file",
    "write_page",
]
