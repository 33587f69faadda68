"""ExecuTorch's `executor_runner`.

On Android it prints to the system's log alone, so that the command empties that before and prints
it afterwards. Newer builds (1.3) print the time of each iteration; of older ones only the total is
known, the cold first iteration included, and `samples` is None. It knows no least duration:
`min_seconds` is not asked of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.errors import UsageError, one_line

from ..records import Timings
from .base import Job, Report
from .figures import positive, refuse, whole_lines
from .official import local_program, pinned
from .protocol import check_size

# The first argument is the number of iterations to count as warm-up, which the report needs.
_SCRIPT = """\
echo "mvkit: warmup $1"
shift
command -v logcat > /dev/null || exec "$@"
logcat -c
"$@"
code=$?
logcat -d -v raw -s ExecuTorch
exit $code
"""
_WARMUP = re.compile(r"^mvkit: warmup ([0-9]{1,9})\r?$", re.MULTILINE)
_LOADED = re.compile(r"Model loaded in (\S+) ms\.")
_ITERATION = re.compile(r"Iteration ([0-9]{1,9}) of ([0-9]{1,9}): (\S+) ms")
_DONE = re.compile(r"Model executed successfully ([0-9]{1,9}) time\(s\) in (\S+) ms\.")


@dataclass(frozen=True)
class ExecutorRunner:
    """A program at `program`: a file here that is pushed, or else a path on the device."""

    program: str

    @property
    def name(self) -> str:
        return "executor_runner"

    def files(self, abis: Sequence[str]) -> Path | None:
        return local_program(self.program)

    def command(self, job: Job) -> list[str]:
        options = job.options
        if options.backend not in ("xnnpack", "portable"):
            raise UsageError(
                f"--backend {options.backend}: a .pte has the backend that it was made for"
            )
        if job.profile or job.memory:
            raise UsageError(
                "executor_runner gives neither a profile nor its memory; use --runner mvkit"
            )
        if any("," in file for file in job.inputs):
            raise UsageError("executor_runner takes no input file with a comma in its name")
        command = [
            *pinned(options.cores, self.program),
            f"--model_path={job.model}",
            f"--num_executions={1 + options.warmup + options.iterations}",
            f"--cpu_threads={options.threads}",
        ]
        if job.inputs:
            command.append(f"--inputs={','.join(job.inputs)}")
        if job.outputs is not None:
            command.append(f"--output_file={job.outputs}")
        return ["sh", "-c", _SCRIPT, "sh", str(options.warmup), *command]

    def read(self, output: str, errors: str) -> Report:
        check_size(output, errors)
        text = whole_lines(output, errors)
        done, warmup = _DONE.search(text), _WARMUP.search(text)
        if done is None or warmup is None:
            refuse(self.name, _reason(text))
        number, total = int(done[1]), positive(done[2], "the total", self.name)
        loaded = _LOADED.search(text)
        load = positive(loaded[1], "loading", self.name) if loaded else None
        times = self._iterations(text, number)
        if not times:
            if number == 0:
                refuse(self.name, "it ran nothing")
            return Report(Timings(load=load, summary={"avg_with_first": total / number}))
        counted = 1 + int(warmup[1])
        if len(times) <= counted:
            refuse(self.name, "it holds no iteration after the warm-up")
        return Report(
            Timings(load=load, first=times[0], warmup=times[1:counted], samples=times[counted:])
        )

    def _iterations(self, text: str, number: int) -> tuple[float, ...]:
        """The times of all iterations, or none where the program does not print them."""
        found = _ITERATION.findall(text)
        if found and len(found) != number:
            refuse(self.name, "its iterations are not whole")
        for i, (place, of, _) in enumerate(found, start=1):
            if (int(place), int(of)) != (i, number):
                refuse(self.name, "its iterations are not whole")
        return tuple(positive(time, "an iteration", self.name) for _, _, time in found)


def _reason(text: str) -> str:
    errors = [line for line in text.split("\n") if re.match(r"[EF] [0-9:.]+ ", line)]
    return f"it failed: {one_line(errors[-1])}" if errors else "it ends early"
