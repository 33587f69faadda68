"""The kit's own runners, `mvkit-litert` and `mvkit-executorch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.errors import UsageError

from ..bundles import PROGRAMS, find_bundle
from .base import Job, Report
from .protocol import check_size, read_report, read_reports

# A .pte has its backend in it; "portable" is ExecuTorch's own kernels.
_BACKENDS = {"tflite": ("xnnpack", "gpu", "npu"), "executorch": ("xnnpack", "portable")}


@dataclass(frozen=True)
class MvkitRunner:
    """Runs files of one target, from a bundle that `mvkit runner build` made."""

    target: str

    @property
    def name(self) -> str:
        return "mvkit"

    def files(self, abis: Sequence[str]) -> Path:
        return find_bundle(self.target, abis).path

    def command(self, job: Job) -> list[str]:
        command = [*self._start(job), *_models([job])]
        if job.outputs is not None:
            command += ["--outputs", job.outputs]
        return [*command, *["--profile"] * job.profile, *["--memory"] * job.memory]

    def read(self, output: str, errors: str) -> Report:
        check_size(output, errors)
        return read_report(output)

    def command_in_turns(self, jobs: Sequence[Job]) -> list[str]:
        return [*self._start(jobs[0]), *_models(jobs)]

    def read_in_turns(self, output: str, errors: str, count: int) -> list[Report]:
        check_size(output, errors)
        return read_reports(output, count)

    def _start(self, job: Job) -> list[str]:
        options = job.options
        if options.backend not in _BACKENDS[self.target]:
            raise UsageError(
                f"--backend {options.backend}: the runner of {self.target} files has "
                f"{', '.join(_BACKENDS[self.target])}"
            )
        command = ["sh", f"{PROGRAMS[self.target]}/run"]
        if self.target == "tflite":
            command += ["--backend", options.backend]
        command += ["--threads", str(options.threads)]
        if options.cores is not None:
            command += ["--cores", f"{options.cores:x}"]
        command += ["--warmup", str(options.warmup), "--iterations", str(options.iterations)]
        return [*command, "--min-seconds", f"{options.min_seconds:g}"]


def _models(jobs: Sequence[Job]) -> list[str]:
    return [
        word
        for job in jobs
        for word in ("--model", job.model, *(w for file in job.inputs for w in ("--input", file)))
    ]
