"""Rules for canonical ATen operators, by family; importing this package registers them."""

from . import elementwise, matrix, moving, reducing, resizing, spatial

__all__ = ["elementwise", "matrix", "moving", "reducing", "resizing", "spatial"]
