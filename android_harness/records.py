"""What a measurement is: plain data, as the runner gives it and the store keeps it.

    Measurement          one artifact on one device under one set of options
    ├── Subject          the artifact: its name and digest
    ├── DeviceInfo       the phone, emulator or host
    ├── Options          what was asked for
    └── Repeat ...       a fresh process on the device each
        ├── Conditions   temperature, clocks, battery: before and after
        └── Timings      load, compile, first run, warm-up, every timed iteration

Times are milliseconds, memory is MiB, temperatures are degrees Celsius, clocks are kHz and
moments are UTC. None means that it was not measured, or that the tool cannot give it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Validity = Literal["valid", "noisy", "invalid"]


@dataclass(frozen=True)
class DeviceInfo:
    """A device by what tells it from others; `emulated` marks latency that means nothing."""

    serial: str
    kind: Literal["adb", "host"]
    model: str
    soc: str | None = None
    os: str | None = None  # "Android 14 (API 34)"
    abis: tuple[str, ...] = ()
    emulated: bool = False


@dataclass(frozen=True)
class Clock:
    """The frequency of a core (kHz): at the moment, and the most that it may have now."""

    current: int | None
    allowed: int | None


@dataclass(frozen=True)
class Conditions:
    """The state of a device at a moment, as far as it tells."""

    moment: datetime
    thermal_status: int | None = None  # Android's: 0 none to 6 shutdown
    temperatures: Mapping[str, float] = field(default_factory=dict)  # "skin/VIRTUAL-SKIN": 31.2
    battery_level: int | None = None  # percent
    battery_temperature: float | None = None
    charging: bool | None = None
    screen_on: bool | None = None
    clocks: Mapping[int, Clock] = field(default_factory=dict)  # by core
    fixed_performance: bool | None = None  # whether Android's mode for steady clocks was asked for


@dataclass(frozen=True)
class Options:
    """How to measure. A mask names cores by bits; None leaves the choice to the system.

    `beside` are the digests of all files, its own among them, that take turns in the processes;
    empty for a file alone.
    """

    runner: str = "mvkit"
    backend: str = "xnnpack"
    threads: int = 1
    cores: int | None = None
    repeats: int = 5
    warmup: int = 5
    iterations: int = 50
    min_seconds: float = 1.0
    cooldown: float = 0.0  # seconds between repeats
    max_temperature: float | None = None
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timings:
    """What one process of a runner measured.

    A tool that prints only figures (`benchmark_model`) has `samples` None and what it printed in
    `summary` (its own names: "median", "p95", in ms). `turns` says how many of the samples, in
    their order, each turn has of a file that took turns with others.
    """

    load: float | None = None
    compile: float | None = None
    first: float | None = None
    warmup: tuple[float, ...] = ()
    samples: tuple[float, ...] | None = None
    summary: Mapping[str, float] = field(default_factory=dict)
    delegate: str | None = None
    peak_memory: float | None = None
    turns: tuple[int, ...] = ()


@dataclass(frozen=True)
class Repeat:
    """A fresh process on the device, with the conditions around it and what makes it invalid.

    Files that took turns in one process have equal conditions, moments included.
    """

    index: int
    timings: Timings
    before: Conditions
    after: Conditions
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """The artifact that was measured."""

    name: str  # of its manifest
    sha256: str  # of the file
    target: str
    precision: str
    inputs: tuple[str, ...] = ()  # each as "1x3x256x256 float32"


@dataclass(frozen=True)
class ParityOnDevice:
    """The outputs of the device beside the golden ones."""

    verdict: Literal["pass", "fail", "unverified"]
    max_relative_error: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ProfileRow:
    """An operator's share of one run (ms)."""

    name: str
    kind: str
    time: float
    count: int = 1


@dataclass(frozen=True)
class Measurement:
    """One artifact on one device under one set of options. `identity` is a UUID."""

    identity: str
    created: datetime
    subject: Subject
    device: DeviceInfo
    options: Options
    labels: Mapping[str, str] = field(default_factory=dict)
    repeats: tuple[Repeat, ...] = ()
    parity: ParityOnDevice | None = None
    peak_memory: float | None = None
    profile: tuple[ProfileRow, ...] = ()
    validity: Validity | None = None  # None while repeats are missing
    reasons: tuple[str, ...] = ()
