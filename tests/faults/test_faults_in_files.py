"""Single faults put into saved files of every format, and the check has to notice them.

A fault counts if it changes the output beyond the tolerance on inputs that the check has not seen;
one that the runtime refuses to run is noticed too. `benchmarks/faults.py` does the same with more
faults and says what survives.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from converters import Artifact, parity
from converters.artifact import manifest_path, record_file
from converters.errors import RuntimeFailure, UnverifiableError
from converters.manifest import ParityRecord
from converters.verify import verify
from tests.faults import tflite_faults
from tests.faults.mutations import Fault, Kind, choose
from tests.faults.trial import FAULTS_OF, Trial, try_faults
from tests.networks import FAMILIES

pytestmark = pytest.mark.slow

# Two of the slower converters' files each, so that all families come in with little time.
FAMILIES_OF = {
    "tflite": ("mobilevit", "efficientvit"),
    "coreml": FAMILIES,
    "executorch": ("mobilenetv4", "edgenext"),
}
FAULTS = 88  # in each format
LEAST_NOTICED = 0.95

Converted = Callable[..., Artifact]


@pytest.mark.parametrize("target", FAULTS_OF)
def test_single_faults_are_noticed(target: str, converted: Converted, tmp_path: Path) -> None:
    trials = []
    families = FAMILIES_OF[target]
    for seed, family in enumerate(families):
        artifact = converted(family, target)
        faults = choose(FAULTS_OF[target](artifact.path), FAULTS // len(families), seed)
        trials.append(Trial(artifact, faults))
    outcomes = try_faults(trials, tmp_path)
    assert len(outcomes) == FAULTS
    counted = [one for one in outcomes if one.result != "equivalent"]
    missed = [one for one in counted if not one.noticed]
    for one in missed:
        print(f"{one.fault.place}: {one.fault.kind}: {one.why}")
    assert len(counted) >= 0.8 * len(outcomes)  # what changes nothing shows nothing
    assert len(missed) <= (1 - LEAST_NOTICED) * len(counted)
    judged = [one for one in counted if one.result == "failed"]
    assert len(judged) >= 0.6 * len(outcomes)  # by what they compute, not by a shape


@pytest.mark.parametrize("target", FAULTS_OF)
def test_verify_notices_them(target: str, converted: Converted, tmp_path: Path) -> None:
    """The command's own way: a faulty file under a manifest that was signed for it."""
    sound = converted(FAMILIES_OF[target][0], target)
    faults = FAULTS_OF[target](sound.path)
    for kind in (Kind.WEIGHT_SIGN, Kind.TRANSPOSE, Kind.STRIDE):
        fault = next(one for one in faults if one.kind == kind)
        file = tmp_path / kind.name / sound.path.name
        file.parent.mkdir()
        fault.write(file)
        shutil.copy(sound.path.parent / sound.manifest.golden.name, file.parent)
        manifest = replace(sound.manifest, file=record_file(file, file.name))
        manifest_path(file).write_text(manifest.to_json(), encoding="utf-8")
        assert is_noticed(file), fault


def is_noticed(file: Path) -> bool:
    try:
        record = verify(file).checked.parity
    except UnverifiableError:
        return False
    except RuntimeFailure:
        return True
    return record.verdict == "fail"


def test_what_is_equivalent_and_what_survives_are_told_apart(
    converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = converted("mobilevit")
    harmful = next(f for f in tflite_faults.faults(artifact.path) if f.kind == Kind.WEIGHT_SIGN)
    none = Fault(Kind.CONSTANT, "nowhere", partial(shutil.copy, artifact.path))
    broken = Fault(Kind.CONSTANT, "everywhere", lambda path: path.write_bytes(b"no file"))
    trial = Trial(artifact, [broken, harmful, none, broken])
    results = [one.result for one in try_faults([trial], tmp_path)]
    assert results == ["refused", "failed", "equivalent", "refused"]

    passes = ParityRecord("pass", "a check that sees nothing", 1e-5)
    monkeypatch.setattr(parity, "judge", lambda *args, **kwargs: passes)
    results = [one.result for one in try_faults([trial], tmp_path)]
    assert results == ["refused", "survived", "equivalent", "refused"]
