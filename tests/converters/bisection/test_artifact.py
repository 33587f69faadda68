"""An artifact and its source, and what the command prints about them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from converters import Artifact, convert
from converters.bisection.artifact import BisectedArtifact, bisect_artifact
from mobilevit_kit.cli.bisection import bisection_document, print_bisection
from tests.converters.bisection.comparing import PLAIN_IMAGE, plain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("plain")
    return convert(plain(), PLAIN_IMAGE, name="plain", output_dir=folder)


def faulty() -> nn.Module:
    module = plain()
    module.mix[1] = nn.SiLU()
    return module


def test_a_sound_artifact(artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    source = plain().train()
    result = bisect_artifact(artifact.path, source, PLAIN_IMAGE)
    assert result.bisection.status == "sound" and not result.only_as_an_app_runs_it
    assert source.training  # left as it was
    print_bisection(artifact.path, result)
    printed = capsys.readouterr().out
    assert "nothing diverges" in printed and "without XNNPACK" in printed
    assert "mix.0" in printed and "Linear" in printed


def test_an_artifact_that_is_not_its_source(
    artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    result = bisect_artifact(artifact.path, faulty(), PLAIN_IMAGE)
    assert result.verification.checked.parity.verdict == "fail"
    assert result.bisection.fault is not None and result.bisection.fault.block == "mix.1"
    print_bisection(artifact.path, result)
    printed = capsys.readouterr().out
    assert "first block     mix.1 (SiLU)" in printed
    assert "first operator  GELU" in printed and "diverges" in printed
    document = bisection_document(result)
    assert document["verdict"] == "fail" and document["status"] == "located"
    assert document["fault"]["operator"]["kind"] == "GELU"


def test_the_input_that_shows_most_is_looked_at(artifact: Artifact) -> None:
    result = bisect_artifact(artifact.path, faulty(), PLAIN_IMAGE)
    cases = result.verification.checked.parity.cases
    worst = max(cases, key=lambda case: max(one.relative_error for one in case.outputs))
    assert result.bisection.case == worst.name


def test_a_fault_of_the_delegate_alone_is_said_to_be_one(artifact: Artifact) -> None:
    result = bisect_artifact(artifact.path, plain(), PLAIN_IMAGE)
    parity = result.verification.checked.parity
    failed = replace(result.verification.checked, parity=replace(parity, verdict="fail"))
    only = BisectedArtifact(replace(result.verification, checked=failed), result.bisection)
    assert only.only_as_an_app_runs_it
