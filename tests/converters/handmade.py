"""Artifacts written by hand, without a converter, and manifests that are signed anew.

The signature is computed here from what the schema says of it, not by the code under test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import GoldenCase, manifest_path, record_file, write_golden
from converters.errors import MvkitError
from converters.manifest import (
    CaseRecord,
    CostRecord,
    FileRecord,
    GraphSummary,
    HostLatency,
    HostRecord,
    Manifest,
    OutputMetrics,
    ParityRecord,
    SourceRecord,
    TensorSpec,
    WeightsRecord,
)
from converters.preprocessing import Preprocessing

FILE = "net-fp32.tflite"
GOLDEN = "net-fp32.tflite.golden.npz"
_NO_FILE = "0" * 64


def make_manifest(**changes: Any) -> Manifest:
    """A manifest with a value in every field, the optional ones included."""
    recipe = Preprocessing((2, 3), 0.9, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bgr")
    image = TensorSpec("image", (1, 2, 3, 3), "uint8", "NHWC", recipe, preprocessing_embedded=True)
    metrics = OutputMetrics("logits", 1e-7, 2e-7, 133.5, 0.99, 1.0, 0.8)
    case = CaseRecord("astronaut", "photo", (metrics,))
    fields: dict[str, Any] = {
        "name": "net-fp32",
        "target": "tflite",
        "precision": "fp32",
        "created": "2026-01-31T12:00:00+00:00",
        "request": "a" * 64,
        "file": FileRecord(FILE, _NO_FILE, 0),
        "golden": FileRecord(GOLDEN, _NO_FILE, 0),
        "inputs": (image, TensorSpec("ids", (1, 5), "int32")),
        "outputs": (TensorSpec("logits", (1, 2), "float32", labels=("Katze", "čau\N{SNOWMAN}")),),
        "source": SourceRecord(
            "factory",
            "my_net.py:make",
            WeightsRecord("file", "b" * 64, "w.safetensors", 7, "cvnets"),
            parameters=303,
            macs=83_000,
            options={"sizes": (1, "x"), "rate": 0.1, "deep": True, "seed": 0, "none": None},
        ),
        "options": {"layout": "nhwc", "embed_preprocessing": True},
        "rewrites": {"fold_norm": 3},
        "tools": {"python": "3.11.7"},
        "host": HostRecord("Linux", "x86_64", "some processor", 2),
        "cost": CostRecord(4.25, 628.4),
        "graph": GraphSummary({"CONV_2D": 1, "GATHER": 2}, "XNNPACK", 1, {"GATHER": 2}, 4096),
        "parity": ParityRecord(
            "pass",
            "it does",
            1e-5,
            "a runtime 1.0",
            (case,),
        ),
        "host_latency": HostLatency(1, 20, 0.5),
    }
    return Manifest(**(fields | changes))


def make_cases() -> tuple[GoldenCase, ...]:
    """Golden tensors that fit `make_manifest`."""
    rng = np.random.default_rng(0)
    return tuple(
        GoldenCase(
            name,
            kind,
            {
                "image": rng.integers(0, 256, (1, 2, 3, 3), np.uint8),
                "ids": rng.integers(0, 9, (1, 5), np.int32),
            },
            {"logits": rng.standard_normal((1, 2)).astype(np.float32)},
        )
        for kind, name in (("photo", "astronaut"), ("random", "0"))
    )


def write_artifact(folder: Path, content: bytes = b"TFL3 or so", **changes: Any) -> Path:
    """The three files of an artifact whose converted file is just some bytes."""
    file = folder / FILE
    file.write_bytes(content)
    write_golden(folder / GOLDEN, make_cases())
    manifest = make_manifest(
        file=record_file(file, FILE), golden=record_file(folder / GOLDEN, GOLDEN), **changes
    )
    manifest_path(file).write_text(manifest.to_json(), encoding="utf-8")
    return file


def sign(document: Mapping[str, Any]) -> str:
    """The text of a manifest with a digest that fits, whatever else is wrong with it."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return json.dumps(body | {"sha256": hashlib.sha256(canonical.encode()).hexdigest()})


def resign(file: Path) -> None:
    """Makes the manifest of `file` fit the two files beside it as they are now."""
    beside = manifest_path(file)
    document = json.loads(beside.read_text(encoding="utf-8"))
    for part in ("file", "golden"):
        data = (file.parent / document[part]["name"]).read_bytes()
        document[part] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    beside.write_text(sign(document), encoding="utf-8")


def assert_one_line(error: MvkitError, *mentioned: str) -> None:
    """What every refusal owes its reader: one line that a terminal can show, naming the culprit."""
    text = str(error)
    assert text.isprintable() and len(text) < 700, text
    assert "Traceback" not in text
    for one in mentioned:
        assert one in text, text


def leaves(node: Any, path: Sequence[str | int] = ()) -> list[tuple[str | int, ...]]:
    """Where the values of a JSON document stand, containers included."""
    found: list[tuple[str | int, ...]] = [tuple(path)] if path else []
    children: Any = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    for key, value in children:
        found += leaves(value, [*path, key])
    return found
