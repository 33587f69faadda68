"""The manifest: everything that is known about one converted file, as plain data.

On disk it is JSON, described by `manifest.schema.json` beside this file; every manifest is checked
against that schema when it is written and when it is read. No torch here: a machine that only
measures reads manifests too.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NoReturn

from .errors import ArtifactError, one_line
from .preprocessing import Preprocessing

# major.minor. A reader refuses a newer major. A newer minor only adds: fields that are not required
# and have a default, which a reader that does not know them ignores.
SCHEMA_VERSION = "1.2"
_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")

Verdict = Literal["pass", "fail", "unverified"]
Option = str | int | float | bool | tuple[int | str, ...] | None


@dataclass(frozen=True)
class FileRecord:
    """A file that stands beside the manifest."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the saved file."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # NumPy's name
    layout: Literal["NCHW", "NHWC"] | None = None  # of an image
    preprocessing: Preprocessing | None = None  # how a photo becomes this input
    preprocessing_embedded: bool = False  # the graph scales and normalises; it takes uint8 photos
    labels: tuple[str, ...] | None = None  # names of the classes along the last axis
    kind: Literal["tensor", "image"] = "tensor"  # image: the framework's own type for photos
    sizes: tuple[str, ...] = ()  # HxW that the file takes besides the shape's
    dynamic_batch: int | None = None  # the largest batch; the file takes any from 1


@dataclass(frozen=True)
class WeightsRecord:
    """Where the weights came from. `sha256` is the file's, or without a file the tensors'."""

    kind: Literal["loud", "hub", "file", "module"]
    sha256: str
    origin: str | None = None  # file name or hub id
    seed: int | None = None
    mapped_from: str | None = None  # the naming that the entries had, where it was not ours

    def describe(self) -> str:
        """One line for people; says so when the weights have learnt nothing."""
        if self.kind == "loud":
            return f"seeded random weights (seed {self.seed}): not a trained network"
        if self.kind == "module":
            return "the weights that the module came with"
        return f"{self.origin}" + (f" ({self.mapped_from} naming)" if self.mapped_from else "")


@dataclass(frozen=True)
class SourceRecord:
    """The PyTorch network that the file was made from, well enough to build it again."""

    kind: Literal["model", "factory", "module"]
    name: str  # reference model, FILE.py:attribute or package:attribute, or class name
    weights: WeightsRecord
    parameters: int
    macs: int  # multiply-accumulates of one forward pass with the file's input shapes
    options: Mapping[str, Option] = field(default_factory=dict)  # of the model's construction


@dataclass(frozen=True)
class GraphSummary:
    """What the saved file holds, and how this host's runtime divided it."""

    operators: Mapping[str, int]
    delegate: str | None = None
    partitions: int | None = None  # pieces of the graph that the delegate runs
    outside: Mapping[str, int] = field(default_factory=dict)  # operators left to the runtime itself
    planned_memory: int | None = None  # bytes that the file reserves for activations


@dataclass(frozen=True)
class OutputMetrics:
    """How one output of the file differs from the source's on one case.

    `relative_error` is the largest absolute error over the reference's largest magnitude;
    `snr_db` is None where the two are equal. `top1` is the share of rows with the same first
    class and `top5` the mean overlap of the first five; both None for outputs that are not
    (B, classes).
    """

    name: str
    max_abs_error: float
    relative_error: float
    snr_db: float | None
    cosine: float
    top1: float | None
    top5: float | None


@dataclass(frozen=True)
class CaseRecord:
    """The outputs of one set of inputs."""

    name: str
    kind: Literal["photo", "random", "example"]
    outputs: tuple[OutputMetrics, ...]


@dataclass(frozen=True)
class ParityRecord:
    """Whether the saved file computes what its source computes, and how that was found out."""

    verdict: Verdict
    reason: str
    tolerance: float  # on relative_error
    runtime: str | None = None  # what ran the file
    cases: tuple[CaseRecord, ...] = ()

    @property
    def relative_error(self) -> float | None:
        """The largest over all cases and outputs."""
        errors = [o.relative_error for c in self.cases for o in c.outputs]
        return max(errors) if errors else None


@dataclass(frozen=True)
class HostLatency:
    """A rough time on the machine that converted; never a phone's."""

    threads: int
    runs: int
    median_ms: float


@dataclass(frozen=True)
class HostRecord:
    """The machine that converted, without its name."""

    system: str
    machine: str
    processor: str
    cpus: int


@dataclass(frozen=True)
class CostRecord:
    """What the conversion took; memory is the converting process's peak resident set."""

    seconds: float
    peak_memory_mib: float


@dataclass(frozen=True)
class RouteRecord:
    """What wrote the file: "direct" for the kit's own emitter, or the vendor's converter.

    `reason` is why the direct one could not, None where it did or was not wanted.
    """

    emitter: str
    reason: str | None


@dataclass(frozen=True)
class Manifest:
    name: str  # of the artifact: the file name without its suffix
    target: str
    precision: str
    created: str  # ISO 8601, UTC
    request: str  # digest of all that determines the file: the same request gives the same file
    file: FileRecord
    golden: FileRecord
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    source: SourceRecord
    options: Mapping[str, Option]  # of the conversion
    rewrites: Mapping[str, int]  # rewrite -> how often it was applied
    tools: Mapping[str, str]  # package -> version
    host: HostRecord
    cost: CostRecord
    graph: GraphSummary | None  # None where the file was never opened by a runtime
    parity: ParityRecord
    host_latency: HostLatency | None = None
    twin: FileRecord | None = None  # of an fp16 file: the fp32 file that it was compared with
    route: RouteRecord | None = None  # None in a manifest of schema version 1.1 or older

    def to_json(self) -> str:
        """The document, with a digest over itself so that a changed manifest is noticed."""
        body: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        body = json.loads(json.dumps(body, allow_nan=False))  # tuples become lists
        body["sha256"] = _digest(body)
        _validate(body, "the new manifest")
        return json.dumps(body, indent=2, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str, origin: str) -> Manifest:
        """Reads a document; `origin` names it in errors. Raises ArtifactError."""
        try:
            return _read(_parse(text, origin), origin)
        except RecursionError:
            raise ArtifactError(f"{origin}: nested too deeply for a manifest") from None


def _parse(text: str, origin: str) -> Any:
    try:
        return json.loads(
            text, parse_constant=_refuse, parse_float=_parse_float, parse_int=_parse_int
        )
    except ValueError as error:
        raise ArtifactError(f"{origin}: not JSON: {one_line(error)}") from None


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"{number} is not a number that a manifest can hold")


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(text[:20])
    return value


def _parse_int(text: str) -> int:
    if len(text) > 19:  # no count or size comes near, and what is longer may be any length
        _refuse(text[:20])
    return int(text)


def _read(body: Any, origin: str) -> Manifest:
    version = body.get("schema_version") if isinstance(body, dict) else None
    numbers = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if numbers is None:
        raise ArtifactError(f"{origin}: not a manifest of mvkit (no schema_version)")
    major, minor = map(int, SCHEMA_VERSION.split("."))
    if int(numbers[1]) > major:
        raise ArtifactError(
            f"{origin}: schema version {version} is newer than this mvkit reads ({SCHEMA_VERSION})",
            "update mobilevit-kit",
        )
    rest = {key: value for key, value in body.items() if key != "sha256"}
    if isinstance(body.get("sha256"), str) and body["sha256"] != _digest(rest):
        raise ArtifactError(f"{origin}: was altered after mvkit wrote it (SHA-256)")
    _validate(body, origin, newer=(int(numbers[1]), int(numbers[2])) > (major, minor))
    return _converter().structure(rest, Manifest)


def _digest(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@functools.cache
def schema() -> dict[str, Any]:
    """The published JSON Schema of a manifest."""
    source = importlib.resources.files("converters") / "manifest.schema.json"
    document: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return document


@functools.cache
def _validator(*, newer: bool) -> Any:
    import jsonschema

    document = schema()
    return jsonschema.Draft202012Validator(_without_closed_objects(document) if newer else document)


def _without_closed_objects(node: Any) -> Any:
    """The schema as a reader holds it against a newer minor version: more properties are fine."""
    if isinstance(node, dict):
        return {
            key: _without_closed_objects(value)
            for key, value in node.items()
            if (key, value) != ("additionalProperties", False)
        }
    return [_without_closed_objects(one) for one in node] if isinstance(node, list) else node


def _validate(body: Any, origin: str, *, newer: bool = False) -> None:
    import jsonschema

    # A long list of wrong values has as many errors: the first few are enough to choose from.
    errors = itertools.islice(_validator(newer=newer).iter_errors(body), 20)
    error = jsonschema.exceptions.best_match(errors)
    if error is not None:
        where = error.json_path.removeprefix("$").lstrip(".") or "the document"
        raise ArtifactError(
            f"{origin}: not a valid manifest: {one_line(where, 80)}: {one_line(error.message)}",
            "update mobilevit-kit: a newer one wrote it" if newer else None,
        )


@functools.cache
def _converter() -> Any:
    import cattrs

    converter = cattrs.Converter()
    # Options are plain JSON values; a list stands for a tuple.
    converter.register_structure_hook(
        Option, lambda value, _: tuple(value) if isinstance(value, list) else value
    )
    return converter
