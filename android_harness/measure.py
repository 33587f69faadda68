"""A measurement from its beginning to its end: parity on the device, then repeats, then passes.

Nothing here depends on how far an earlier attempt came: what is missing is done, what is stored
stays. So a lost phone that comes back, and a command that is run again, go on in the same way.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
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
from .processes import run_job, time_limit
from .records import Conditions, DeviceInfo, Measurement, Options, Repeat, Subject
from .reservation import reserved, settle
from .runners.base import Job, Report, Runner
from .settings import SETTINGS, changed
from .stats import assess
from .store import Store

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
    """Measures, or goes on with the same measurement that was interrupted.

    Every repeat is in the store when it has ended. `say` is told what a user should know later,
    `phase` what is done at the moment. A phone that is lost is waited for; raises DeviceLost when
    it stays away, and DeviceError for one that never cools down, has an empty battery, or whose
    runner fails. Outputs that are wrong on the device end it with the verdict "invalid", untimed.
    """
    with reserved(device, say):
        return _Measuring(device, request, store, say, phase).to_the_end()


class _Measuring:
    """What is known so far; `measurement` is what the store holds."""

    def __init__(
        self,
        device: Device,
        request: Request,
        store: Store,
        say: Callable[[str], None],
        phase: Callable[[str], None],
    ) -> None:
        self._device, self._request, self._store = device, request, store
        self._say, self._phase = say, phase
        self._options = request.options
        self._single: float | None = None
        self._fixed_performance: bool | None = None
        self.measurement: Measurement | None = None

    def to_the_end(self) -> Measurement:
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
        return len(self.measurement.repeats) if self.measurement else 0

    def _attempt(self) -> Measurement:
        self._phase("reading the device")
        info = self._device.describe()
        if self._request.cores is not None:
            mask = core_mask(self._request.cores, self._device, self._options.threads)
            self._options = replace(self._options, cores=mask)
        # What a runner cannot do is said before anything is pushed.
        for job in self._jobs(Placed("model", ())):
            self._request.runner.command(job)
        placed = place(
            self._device, info, self._request.artifact, self._request.runner, self._phase
        )
        names = tuple(SETTINGS) if info.kind == "adb" else ()
        with changed(self._device, names, self._say) as taken:
            self._fixed_performance = "fixed-performance" in taken if names else None
            measurement = self._checked(info, placed)
            if measurement.parity is None or measurement.parity.verdict != "fail":
                measurement = self._repeated(measurement, placed)
                measurement = self._with_passes(measurement, placed)
        validity, reasons = assess(measurement)
        return self._keep(replace(measurement, validity=validity, reasons=reasons))

    def _keep(self, measurement: Measurement) -> Measurement:
        self._store.save(measurement)
        self.measurement = measurement
        return measurement

    def _checked(self, info: DeviceInfo, placed: Placed) -> Measurement:
        """The measurement to go on with, once the outputs on the device have been compared."""
        if self.measurement is not None:
            return self.measurement
        check = check_on_device(
            self._device,
            self._request.artifact,
            self._request.runner,
            placed,
            self._options,
            self._phase,
        )
        self._single = check.single
        info = replace(info, emulated=info.emulated or check.emulated)
        subject, labels = self._request.subject, dict(self._request.labels)
        found = self._store.unfinished(subject, info, self._options, labels)
        if found is not None:
            self._say(
                f"{one_line(self._device.serial)}: going on with run {found.identity[:8]}, "
                f"{len(found.repeats)} of {self._options.repeats} repeats are done"
            )
        else:
            found = Measurement(
                str(uuid.uuid4()), datetime.now(UTC), subject, info, self._options, labels
            )
        return self._keep(replace(found, parity=check.parity))

    def _repeated(self, measurement: Measurement, placed: Placed) -> Measurement:
        timed, *_ = self._jobs(placed)
        limit = time_limit(self._options, self._single)
        stored = {one.index for one in measurement.repeats}
        for index in range(self._options.repeats):
            if index in stored:
                continue
            name = f"repeat {index + 1} of {self._options.repeats}"
            if measurement.repeats:
                self._rest(self._options.cooldown, name)
            before = self._ready(name)
            self._phase(name)
            report = self._run(timed, limit)
            repeat = Repeat(index, report.timings, before, self._conditions())
            repeats = sorted((*measurement.repeats, repeat), key=lambda one: one.index)
            measurement = self._keep(replace(measurement, repeats=tuple(repeats)))
        return measurement

    def _with_passes(self, measurement: Measurement, placed: Placed) -> Measurement:
        """Memory and profile, which would disturb the times, in processes of their own."""
        limit = time_limit(self._options, self._single)
        for job in self._jobs(placed)[1:]:
            if job.memory and measurement.peak_memory is None:
                self._phase("memory")
                peak = self._run(job, limit).timings.peak_memory
                measurement = self._keep(replace(measurement, peak_memory=peak))
            if job.profile and not measurement.profile:
                self._phase("profile")
                profile = self._run(job, limit).profile
                measurement = self._keep(replace(measurement, profile=profile))
        return measurement

    def _jobs(self, placed: Placed) -> list[Job]:
        """The timed job first, then those of the passes that were asked for."""
        inputs = placed.cases[0].inputs if placed.cases else ()
        timed = Job(placed.model, inputs, None, self._options)
        few = replace(self._options, iterations=_MEMORY_ITERATIONS, min_seconds=0.0)
        jobs = [timed]
        if self._request.memory:
            jobs.append(replace(timed, options=few, memory=True))
        if self._request.profile:
            jobs.append(replace(timed, profile=True))
        return jobs

    def _run(self, job: Job, limit: float) -> Report:
        return run_job(self._device, self._request.runner, job, limit=limit)

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


def _resumable(lost: DeviceLost) -> DeviceLost:
    return DeviceLost(lost.message, "the same command goes on with what is stored")
