"""Reading images at places between their pixels: affine maps, lists of coordinates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..values import UnknownOperator
from .registry import operator
from .sampling import bilinear, nearest


@operator("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: Tensor,
    output_width: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Tensor,
    coordinates_mode: str,
    align_corners: Tensor,
) -> Tensor:
    """Pixels of x (B,C,H,W) at (a0 u + a1 v + a2, b0 u + b1 v + b2) for a result (B,C,h,w).

    u (to the right) and v (down) go from -1 to 1 over the centres of the result's pixels, and so
    do the places read over those of x; zeros surround it. `transform_matrix` is (B,6) or (1,6).
    """
    modes = (sampling_mode, padding_mode, coordinates_mode)
    if modes != ("bilinear", "constant", "normalized_minus_one_to_one") or not align_corners:
        raise UnknownOperator("affine", ", ".join(modes))
    size = int(output_height), int(output_width)
    if 1 in size:
        raise UnknownOperator("affine", "a result of one row or column")
    v, u = torch.meshgrid(
        *(torch.linspace(-1, 1, n, dtype=torch.float64) for n in size), indexing="ij"
    )
    plane = torch.stack([u, v, torch.ones_like(u)])
    maps = transform_matrix.double().reshape(-1, 2, 3)
    places = torch.einsum("bij,jhw->bhwi", maps, plane).expand(x.shape[0], -1, -1, -1)
    return resample(
        x, places, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners
    )


@operator("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Tensor,
    coordinates_mode: str,
    align_corners: Tensor,
) -> Tensor:
    """Pixels of x (B,C,H,W) at coordinates (B,h,w,2), each to the right and down: (B,C,h,w)."""
    height, width = x.shape[-2:]
    aligned = bool(align_corners)
    places = coordinates.double()
    columns = _pixel(places[..., 0], width, coordinates_mode, aligned)
    rows = _pixel(places[..., 1], height, coordinates_mode, aligned)
    outside = None
    if padding_mode == "constant":
        outside = float(padding_value)
    elif padding_mode in _EXTENSIONS:
        columns = _EXTENSIONS[padding_mode](columns, width)
        rows = _EXTENSIONS[padding_mode](rows, height)
    else:
        raise UnknownOperator("resample", f"padding_mode {padding_mode}")
    if sampling_mode not in _READERS:
        raise UnknownOperator("resample", f"sampling_mode {sampling_mode}")
    read = _READERS[sampling_mode]
    images = [
        read(image, down.flatten(), right.flatten(), outside)
        for image, down, right in zip(x, rows, columns, strict=True)
    ]
    return torch.stack(images).reshape(*x.shape[:2], *coordinates.shape[1:3])


def _pixel(places: Tensor, size: int, mode: str, aligned: bool) -> Tensor:
    """Coordinates along an axis in pixels; 0 is the centre of the first one.

    Normalised ones end at the centres of the outer pixels if aligned, else at their edges.
    """
    if mode == "unnormalized":
        return places
    if mode == "normalized_minus_one_to_one":
        places = (places + 1) / 2
    elif mode != "normalized_zero_to_one":
        raise UnknownOperator("resample", f"coordinates_mode {mode}")
    return places * (size - 1) if aligned else places * size - 0.5


def _clamped(places: Tensor, size: int) -> Tensor:
    return places.clamp(0, size - 1)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Mirrored at the centres of the outer pixels: 2, 1, [0, 1, 2], 1, 0."""
    if size == 1:
        return torch.zeros_like(places)
    places = torch.remainder(places, 2 * (size - 1))
    return torch.minimum(places, 2 * (size - 1) - places)


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Mirrored at the edges of the outer pixels: 1, 0, [0, 1, 2], 2, 1."""
    places = torch.remainder(places + 0.5, 2 * size)
    return (torch.minimum(places, 2 * size - places) - 0.5).clamp(0, size - 1)


_EXTENSIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "border": _clamped,
    "reflection": _reflected,
    "symmetric": _mirrored,
}
_READERS = {"bilinear": bilinear, "nearest": nearest}
