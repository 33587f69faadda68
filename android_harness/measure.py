"""A measurement from its beginning to its end: parity on the device, then repeats, then passes.

Files that take turns are measured together: each repeat is one process that holds them all, and
gives a repeat of each. A file alone is the case of one.

Nothing here depends on how far an earlier attempt came: what is missing is done, what is stored
stays. So a lost phone that comes back, and a command that is run again, go on in the same way.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from converters.artifact import Artifact
from converters.errors import DeviceError, DeviceLost, one_line

from .conditions import wait_until_cool
from .cores import core_mask
from .devices.base import Device
from .interruption import pause
from .parity import check_on_device
from .placing import Placed, place
from .processes import run_in_turns, run_job, time_limit
from .records import Conditions, DeviceInfo, Measurement, Options, Repeat, Subject
from .reservation import reserved, settle
from .runners.base import Job, Report, Runner, RunnerInTurns
from .settings import SETTINGS, changed
from .stats import assess
from .store import Store
from .turns import check_turns

COOLING_LIMIT_S = 600.0  # a phone that throttles is cool again after some minutes
RETURN_LIMIT_S = 60.0  # a phone boots in less
LEAST_BATTERY = 15  # percent; below it Android saves power, and a phone may slow down
_MOST_LOSSES = 5  # in a row, without a repeat in between
_MEMORY_ITERATIONS = 3  # the peak is reached in the first runs


@dataclass(frozen=True)
class Request:
    """What to measure and how; `cores` is `cores.parse_cores`' choice, resolved on the device."""

    artifact: Artifact
    runner: Runner
    options: Options = field(default_factory=Options)
    cores: str | int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    profile: bool = False
    memory: bool = False

    @property
    def subject(self) -> Subject:
        manifest = self.artifact.manifest
        return Subject(
            manifest.name,
            manifest.file.sha256,
            manifest.target,
            manifest.precision,
            tuple(f"{'x'.join(map(str, one.shape))} {one.dtype}" for one in manifest.inputs),
        )


def measure(
    device: Device,
    request: Request,
    store: Store,
    *,
    say: Callable[[str], None] = lambda line: None,
    phase: Callable[[str], None] = lambda what: None,
) -> Measurement:
    """As `measure_in_turns`, a file alone."""
    (found,) = measure_in_turns(device, [request], store, say=say, phase=phase)
    return found


def measure_in_turns(
    device: Device,
    requests: Sequence[Request],
    store: Store,
    *,
    say: Callable[[str], None] = lambda line: None,
    phase: Callable[[str], None] = lambda what: None,
) -> list[Measurement]:
    """Measures, or goes on with the same measurements that were interrupted.

    The requests differ in their files alone. Every repeat is in the store when it has ended. `say`
    is told what a user should know later, `phase` what is done at the moment. A phone that is lost
    is waited for; raises DeviceLost when it stays away, and DeviceError for one that never cools
    down, has an empty battery, or whose runner fails. A file whose outputs are wrong on the device
    ends with the verdict "invalid", untimed; raises DeviceError if others were to take turns with
    it. Raises UsageError for files that cannot take turns.
    """
    with reserved(device, say):
        return _Measuring(device, requests, store, say, phase).to_the_end()


class _Measuring:
    """What is known so far; `measurements` are what the store holds, in the requests' order."""

    def __init__(
        self,
        device: Device,
        requests: Sequence[Request],
        store: Store,
        say: Callable[[str], None],
        phase: Callable[[str], None],
    ) -> None:
        self._device, self._requests, self._store = device, requests, store
        self._say, self._phase = say, phase
        self._runner, self._options = requests[0].runner, requests[0].options
        if len(requests) > 1:
            digests = tuple(one.subject.sha256 for one in requests)
            self._options = replace(self._options, beside=digests)
        self._singles: list[float | None] = []
        self._fixed_performance: bool | None = None
        self.measurements: list[Measurement] = []

    def to_the_end(self) -> list[Measurement]:
        losses, done = 0, 0
        while True:
            try:
                if losses:
                    settle(self._device, self._say)
                return self._attempt()
            except DeviceLost as lost:
                losses = 1 if self._repeats_done() > done else losses + 1
                done = self._repeats_done()
                if losses > _MOST_LOSSES:
                    raise _resumable(lost) from None
                self._say(f"{lost.message}; waiting for it")
            self._phase("waiting for the device")
            try:
                self._device.wait(RETURN_LIMIT_S)
            except DeviceLost as gone:
                raise _resumable(gone) from None

    def _repeats_done(self) -> int:
        return sum(len(one.repeats) for one in self.measurements)

    def _attempt(self) -> list[Measurement]:
        self._phase("reading the device")
        info = self._device.describe()
        cores = self._requests[0].cores
        if cores is not None:
            mask = core_mask(cores, self._device, self._options.threads)
            self._options = replace(self._options, cores=mask)
        self._check_runner()
        placed = [
            place(self._device, info, one.artifact, self._runner, self._phase)
            for one in self._requests
        ]
        names = tuple(SETTINGS) if info.kind == "adb" else ()
        with changed(self._device, names, self._say) as taken:
            self._fixed_performance = "fixed-performance" in taken if names else None
            if not self.measurements:
                self._begin(info, placed)
            if not any(map(_is_wrong, self.measurements)):
                self._repeat(placed)
                self._pass(placed)
        self._keep([_assessed(one) for one in self.measurements])
        return self.measurements

    def _check_runner(self) -> None:
        """What a runner cannot do is said before anything is pushed."""
        nowhere = Placed("model", ())
        for request in self._requests:
            for job in self._jobs(request, nowhere):
                self._runner.command(job)
        if len(self._requests) > 1:
            check_turns(self._requests)

    def _keep(self, measurements: list[Measurement]) -> None:
        self._store.save(*measurements)
        self.measurements = measurements

    def _begin(self, info: DeviceInfo, placed: Sequence[Placed]) -> None:
        """The measurements to go on with, once the outputs on the device have been compared."""
        checks = [
            check_on_device(
                self._device, request.artifact, self._runner, where, self._options, self._phase
            )
            for request, where in zip(self._requests, placed, strict=True)
        ]
        self._singles = [check.single for check in checks]
        info = replace(info, emulated=info.emulated or any(check.emulated for check in checks))
        begun = [
            replace(self._found(info, request), parity=check.parity)
            for request, check in zip(self._requests, checks, strict=True)
        ]
        wrong = [one for one in begun if _is_wrong(one)]
        if wrong and len(begun) > 1:
            self._keep([_assessed(one) for one in wrong])
            names = ", ".join(one_line(one.subject.name) for one in wrong)
            raise DeviceError(
                f"{one_line(self._device.serial)}: wrong outputs of {names}, so that nothing takes "
                "turns with it",
                "`mvkit runs` shows the invalid run",
            )
        self._keep(begun)

    def _found(self, info: DeviceInfo, request: Request) -> Measurement:
        """The measurement that was interrupted, or a new one."""
        labels = dict(request.labels)
        found = self._store.unfinished(request.subject, info, self._options, labels)
        if found is None:
            return Measurement(
                str(uuid.uuid4()), datetime.now(UTC), request.subject, info, self._options, labels
            )
        self._say(
            f"{one_line(self._device.serial)}: going on with run {found.identity[:8]}, "
            f"{len(found.repeats)} of {self._options.repeats} repeats are done"
        )
        return found

    def _repeat(self, placed: Sequence[Placed]) -> None:
        jobs = [
            self._jobs(request, where)[0]
            for request, where in zip(self._requests, placed, strict=True)
        ]
        limit = time_limit(self._options, self._singles)
        for index in range(self._options.repeats):
            if all(_has(one, index) for one in self.measurements):
                continue
            name = f"repeat {index + 1} of {self._options.repeats}"
            if any(one.repeats for one in self.measurements):
                self._rest(self._options.cooldown, name)
            before = self._ready(name)
            self._phase(name)
            reports = self._timed(jobs, limit, swapped=index % 2 == 1)
            after = self._conditions()
            self._keep(
                [
                    _with_repeat(one, Repeat(index, report.timings, before, after))
                    for one, report in zip(self.measurements, reports, strict=True)
                ]
            )

    def _timed(self, jobs: Sequence[Job], limit: float, *, swapped: bool) -> list[Report]:
        """What is loaded last may find worse places in memory: every other repeat swaps them."""
        if len(jobs) == 1:
            return [self._run(jobs[0], limit)]
        assert isinstance(self._runner, RunnerInTurns)  # check_turns has refused others
        step = -1 if swapped else 1
        return run_in_turns(self._device, self._runner, jobs[::step], limit=limit)[::step]

    def _pass(self, placed: Sequence[Placed]) -> None:
        """Memory and profile, which would disturb the times, in processes of their own."""
        for number, (request, where) in enumerate(zip(self._requests, placed, strict=True)):
            limit = time_limit(self._options, self._singles[number : number + 1])
            for job in self._jobs(request, where)[1:]:
                found = self.measurements[number]
                if job.memory and found.peak_memory is None:
                    self._phase("memory")
                    peak = self._run(job, limit).timings.peak_memory
                    found = replace(found, peak_memory=peak)
                elif job.profile and not found.profile:
                    self._phase("profile")
                    found = replace(found, profile=self._run(job, limit).profile)
                else:
                    continue
                self._keep([*self.measurements[:number], found, *self.measurements[number + 1 :]])

    def _jobs(self, request: Request, placed: Placed) -> list[Job]:
        """The timed job first, then those of the passes that were asked for."""
        inputs = placed.cases[0].inputs if placed.cases else ()
        timed = Job(placed.model, inputs, None, self._options)
        few = replace(self._options, iterations=_MEMORY_ITERATIONS, min_seconds=0.0)
        jobs = [timed]
        if request.memory:
            jobs.append(replace(timed, options=few, memory=True))
        if request.profile:
            jobs.append(replace(timed, profile=True))
        return jobs

    def _run(self, job: Job, limit: float) -> Report:
        return run_job(self._device, self._runner, job, limit=limit)

    def _rest(self, seconds: float, name: str) -> None:
        if seconds:
            self._phase(f"{name}: resting for {seconds:g} s")
            pause(seconds)

    def _ready(self, name: str) -> Conditions:
        """The conditions under which a repeat may begin, waited for."""
        conditions = wait_until_cool(
            self._device,
            self._options.max_temperature,
            timeout=COOLING_LIMIT_S,
            say=lambda why: self._phase(f"{name}: {why}"),
        )
        level = conditions.battery_level
        if level is not None and level < LEAST_BATTERY:
            raise DeviceError(
                f"{one_line(self._device.serial)}: its battery is at {level}%",
                f"charge it to {LEAST_BATTERY}%; the same command goes on",
            )
        return replace(conditions, fixed_performance=self._fixed_performance)

    def _conditions(self) -> Conditions:
        return replace(self._device.conditions(), fixed_performance=self._fixed_performance)


def _assessed(measurement: Measurement) -> Measurement:
    """With its verdict."""
    validity, reasons = assess(measurement)
    return replace(measurement, validity=validity, reasons=reasons)


def _is_wrong(measurement: Measurement) -> bool:
    return measurement.parity is not None and measurement.parity.verdict == "fail"


def _has(measurement: Measurement, index: int) -> bool:
    return any(one.index == index for one in measurement.repeats)


def _with_repeat(measurement: Measurement, repeat: Repeat) -> Measurement:
    """What is stored stays: one of the files may have the repeat already."""
    if _has(measurement, repeat.index):
        return measurement
    repeats = sorted((*measurement.repeats, repeat), key=lambda one: one.index)
    return replace(measurement, repeats=tuple(repeats))


def _resumable(lost: DeviceLost) -> DeviceLost:
    return DeviceLost(lost.message, "the same command goes on with what is stored")
