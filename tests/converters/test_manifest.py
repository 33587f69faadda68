"""The manifest: what is written is read again, and nothing else is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

import jsonschema
import pytest

from converters import Artifact, load_artifact
from converters.errors import ArtifactError, one_line
from converters.manifest import Manifest, Option, WeightsRecord, schema
from converters.parity import TOLERANCES
from converters.targets import TARGETS
from tests.converters.handmade import assert_one_line, leaves, make_manifest, sign


def document(**changes: Any) -> dict[str, Any]:
    return json.loads(make_manifest().to_json()) | changes


def refused(text: str) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        Manifest.from_json(text, "net.json")
    assert_one_line(caught.value, "net.json: ")
    return caught.value


def test_round_trip() -> None:
    for manifest in (make_manifest(), make_manifest(graph=None, host_latency=None)):
        assert Manifest.from_json(manifest.to_json(), "") == manifest


def test_the_schema_is_one_and_holds_real_manifests(
    converted: Callable[[str], Artifact],
) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    for name in ("classifier", "mixed"):
        artifact = converted(name)
        text = artifact.path.with_name(artifact.path.name + ".json").read_text()
        validator.validate(json.loads(text))
        assert load_artifact(artifact.path).manifest == artifact.manifest


def test_the_schema_has_the_fields_of_the_dataclasses() -> None:
    """Recursively, with their types: neither can change without the other."""
    _check(Manifest, schema(), "manifest", extra={"schema_version", "sha256"})
    properties = schema()["properties"]
    assert properties["target"]["enum"] == list(TARGETS)
    assert properties["precision"]["enum"] == list(TOLERANCES)


# Fields that a manifest of version 1.0 has not.
LATER = {
    "manifest.twin",
    "manifest.route",
    "manifest.graph.outside",
    "manifest.graph.planned_memory",
    *(
        f"manifest.{side}[].{name}"
        for side in ("inputs", "outputs")
        for name in ("kind", "sizes", "dynamic_batch")
    ),
}
_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _check(
    kind: Any, node: Any, where: str, extra: frozenset[str] | set[str] = frozenset()
) -> None:
    if "$ref" in node:
        node = schema()["$defs"][node["$ref"].removeprefix("#/$defs/")]
    if kind == Option:
        assert set(node["type"]) == {*_JSON_TYPES.values(), "array", "null"}, where
        assert node["items"] == {"type": ["integer", "string"]}, where
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    nullable = origin in (Union, types.UnionType)
    if nullable:
        (kind,) = (one for one in arguments if one is not types.NoneType)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        assert node["enum"] == [*arguments, *([None] if nullable else [])], where
        return
    if "enum" not in node:
        expected = _JSON_TYPES.get(kind) or ("array" if origin is tuple else "object")
        assert node["type"] == ([expected, "null"] if nullable else expected), where
    if dataclasses.is_dataclass(kind):
        fields = typing.get_type_hints(kind)
        assert set(node["properties"]) == {*fields, *extra}, where
        later = {name for name in fields if f"{where}.{name}" in LATER}
        assert set(node["required"]) == {*fields, *extra} - later, where
        assert node["additionalProperties"] is False, where
        for name, inner in fields.items():
            _check(inner, node["properties"][name], f"{where}.{name}")
    elif origin is tuple:
        assert ("minItems" in node and node["minItems"] == node.get("maxItems")) == (
            Ellipsis not in arguments
        ), where
        _check(arguments[0], node["items"], f"{where}[]")
    elif origin is Mapping:
        _check(arguments[1], node["additionalProperties"], f"{where}{{}}")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("2.0", "schema version 2.0 is newer than this mvkit reads (1.2); update mobilevit-kit"),
        ("17.3", "schema version 17.3 is newer"),
        ("2.0\nTraceback", "no schema_version"),
        ("9" * 5000 + ".0", "no schema_version"),
        ("२.०", "no schema_version"),
        ("2", "no schema_version"),
        (2.0, "no schema_version"),
        (None, "no schema_version"),
    ],
)
def test_other_versions(version: Any, message: str) -> None:
    assert message in str(refused(sign(document(schema_version=version))))


def test_a_newer_minor_version_is_read_and_its_additions_ignored() -> None:
    newer = document(schema_version="1.7", power={"mean_w": 2.5})
    newer["inputs"][0]["quantisation"] = {"scale": 0.1}
    newer["inputs"][0]["preprocessing"]["pad"] = "reflect"
    newer["graph"]["ranks"] = [4, 5]
    assert Manifest.from_json(sign(newer), "net.json") == make_manifest()
    # The same additions under our own version are no manifest of ours.
    assert "not a valid manifest" in str(refused(sign(newer | {"schema_version": "1.0"})))
    # What it changed rather than added cannot be read; the reader says that it is the older one.
    assert "update mobilevit-kit" in str(refused(sign(newer | {"target": "newml"})))
    del newer["parity"]["cases"]
    assert "update mobilevit-kit" in str(refused(sign(newer)))


def test_every_altered_character_is_noticed() -> None:
    """Changing any one character is refused, or says the same thing in other words."""
    text, manifest = make_manifest().to_json(), make_manifest()
    same = 0
    for i, old in enumerate(text):
        altered = text[:i] + chr(ord(old) ^ 1) + text[i + 1 :]
        try:
            assert Manifest.from_json(altered, "net.json") == manifest, (i, old)
            same += 1
        except ArtifactError as error:
            assert_one_line(error, "net.json: ")
    assert same < 0.01 * len(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "manifest", "[]", "null", "3", '"1.0"', "{}", "\ufeff{}", "{'a': 1}", "\x00",
        "[" * 200_000, '{"a":' * 200_000, "[" * 900 + "]" * 900, "1" * 100_000,
        '{"schema_version": "1.0"}', '{"schema_version": "1.0", "sha256": 3}',
        '{"schema_version": "1.0", "sha256": "0"}',
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_other_text_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400, "1" * 5000])
def test_numbers_that_json_or_a_double_does_not_have(number: str) -> None:
    """Python's reader takes them; they would come back as a value that cannot be compared."""
    text = sign(document(cost={"seconds": 12345, "peak_memory_mib": 1.0}))
    assert "12345" in text
    assert "not JSON" in str(refused(text.replace("12345", number)))


@pytest.mark.parametrize("depth", [5, 100, 900, 960, 980, 990, 2000])
def test_deep_nesting_where_anything_may_stand(depth: int) -> None:
    """Signed, so that it reaches every step of the reader; none may run out of stack."""
    body = document(options={"x": "HERE"})
    del body["sha256"]
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    canonical = canonical.replace('"HERE"', "[" * depth + "]" * depth)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f'{canonical[:-1]},"sha256":"{digest}"}}'
    refused(text)


_WRONG = (None, [], {}, "", "x\ny\x1b[2J\ud800", -1, 1.5, True, 10**18, [[]], ["a"], {"a": "b"})


def test_wrong_values_anywhere_are_refused_in_one_line_or_are_right() -> None:
    """Each value of a document replaced by each of a dozen others and signed again."""
    right = make_manifest().to_json()
    refusals = 0
    for path in leaves(json.loads(right)):
        for wrong in _WRONG:
            body = json.loads(right)
            node = body
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = wrong
            try:
                again = Manifest.from_json(sign(body), "net.json").to_json()
            except ArtifactError as error:
                assert_one_line(error, "net.json: ")
                refusals += 1
            else:  # then it is what was put there that was read
                assert json.loads(again) | {"sha256": 0} == body | {"sha256": 0}
    assert refusals > 900


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "/etc/passwd", "a\n", "a\x00b", "\ud800", "a\u2028b"]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    body = document()
    body["golden"]["name"] = name
    assert "golden.name" in str(refused(sign(body)))


def test_a_long_list_of_wrong_values_is_refused_at_once() -> None:
    body = document()
    body["outputs"][0]["labels"] = [1] * 300_000
    assert "outputs[0].labels" in str(refused(sign(body)))


def test_a_manifest_that_does_not_fit_the_schema_is_not_written() -> None:
    with pytest.raises(ArtifactError, match="the new manifest: not a valid manifest: request"):
        make_manifest(request="short").to_json()
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_manifest(options={"rate": float("nan")}).to_json()


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (
            WeightsRecord("loud", "", seed=3),
            "seeded random weights (seed 3): not a trained network",
        ),
        (WeightsRecord("module", ""), "the weights that the module came with"),
        (WeightsRecord("file", "", "w.pt", mapped_from="cvnets"), "w.pt (cvnets naming)"),
        (WeightsRecord("hub", "", "timm/x"), "timm/x"),
    ],
)
def test_weights_in_words(record: WeightsRecord, text: str) -> None:
    assert record.describe().startswith(text)


def test_the_worst_relative_error_counts() -> None:
    case = make_manifest().parity.cases[0]
    worse = dataclasses.replace(case.outputs[0], relative_error=0.5)
    cases = (case, dataclasses.replace(case, outputs=(case.outputs[0], worse)), case)
    assert dataclasses.replace(make_manifest().parity, cases=cases).relative_error == 0.5
    assert dataclasses.replace(make_manifest().parity, cases=()).relative_error is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  two\n\n\tlines\u2028more\r\n", "two lines more"),
        ("\x1b[2J\x00\ud800ü", "?[2J??ü"),
        ("x" * 250, "x" * 200 + "..."),
        (ValueError("boom"), "boom"),
        ("", ""),
    ],
)
def test_foreign_text_becomes_one_line(text: object, shown: str) -> None:
    assert one_line(text) == shown
