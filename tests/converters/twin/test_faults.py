"""Each of many single faults in a saved fp16 package is seen and named; none in a sound one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from converters.twin import compare_files
from tests.converters.twin.editing import edited
from tests.converters.twin.faults import FAULTS

pytestmark = pytest.mark.slow
Twins = Mapping[str, Path]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_fault_is_named(fault: str, twins: Twins, tmp_path: Path) -> None:
    change, operator = FAULTS[fault]
    differences = compare_files(twins["fp32"], edited(twins["fp16"], tmp_path, change))
    shown = "; ".join(map(str, differences))
    assert any(one.operator.startswith(operator) for one in differences), shown
    assert len(differences) <= 3, shown  # one fault is not reported all over the program
