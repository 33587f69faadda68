"""The arithmetic from a photo's bytes to a network's input, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from converters.deploy import _normalise
from converters.preprocessing import Preprocessing

# One photo of 1x2 pixels: red, and a grey that is not symmetric.
PHOTO = np.array([[[[255, 0, 0], [51, 102, 204]]]], np.uint8)


def test_channels_and_defaults() -> None:
    recipe = Preprocessing((1, 2))
    assert recipe.channels == 3
    assert dataclasses.replace(recipe, channel_order="grey").channels == 1
    x = recipe.normalise(PHOTO)
    assert x.dtype == np.float32 and x.shape == (1, 3, 1, 2) and x.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(x[0, :, 0], [[1, 0.2], [0, 0.4], [0, 0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # (value - mean) / std, with mean 0.5, 0.4, 0.2 and std 0.5, 0.2, 0.1 in the named order
        ("rgb", [[1, -0.6], [-2, 0], [-2, 6]]),
        ("bgr", [[-1, 0.6], [-2, 0], [8, 0]]),
    ],
)
def test_mean_and_std_follow_the_channel_order(order: str, expected: list[list[float]]) -> None:
    recipe = Preprocessing((1, 2), mean=(0.5, 0.4, 0.2), std=(0.5, 0.2, 0.1))
    recipe = dataclasses.replace(recipe, channel_order=order)
    np.testing.assert_allclose(recipe.normalise(PHOTO)[0, :, 0], expected, rtol=1e-6, atol=1e-6)


def test_grey() -> None:
    recipe = Preprocessing((1, 2), mean=(0.5,), std=(0.25,), channel_order="grey")
    photo = np.array([[[[0], [255]]]], np.uint8)
    np.testing.assert_array_equal(recipe.normalise(photo), [[[[-2, 2]]]])


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("order", ["rgb", "bgr", "grey"])
def test_numpy_and_the_graph_agree_on_every_byte(order: str, layout: str) -> None:
    channels = 1 if order == "grey" else 3
    recipe = Preprocessing(
        (16, 16), mean=(0.485, 0.456, 0.406)[:channels], std=(0.229, 0.224, 0.225)[:channels],
        channel_order=order,
    )  # fmt: skip
    photos = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(channels, 3)
    photos[..., 1:] = 255 - photos[..., 1:]
    given = torch.from_numpy(photos)
    if layout == "nhwc":
        graph = _normalise(given, recipe, channels=3).permute(0, 3, 1, 2)
    else:
        graph = _normalise(given.permute(0, 3, 1, 2), recipe, channels=1)
    np.testing.assert_allclose(recipe.normalise(photos), graph.numpy(), rtol=1e-6, atol=1e-6)
