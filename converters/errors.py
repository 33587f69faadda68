"""The exceptions of the whole kit.

    MvkitError
    ├── UsageError          a file, option or name that the user can put right
    │   ├── MissingExtraError   an optional part that is not installed
    │   ├── ArtifactError       an artifact that is missing, damaged or was altered
    │   └── StoreError          a store of results that is missing, locked, full or damaged
    ├── ConversionError     a module that a target's converter refuses
    ├── RuntimeFailure      a saved file that its runtime cannot run (refusal, crash, time limit)
    │   └── UnverifiableError   a file that may be right, but that nothing here can judge
    ├── ParityError         a saved file that does not compute what its source computes
    └── DeviceError         a phone or simulator that does not do what it was asked
        └── DeviceLost          one that has gone: unplugged, rebooted, out of reach

The message is one line for people and names the file, option or device; the hint says what to
do. `exit_code` is the command's: 2 for a user's mistake, 1 for a failed check.
"""

from __future__ import annotations


class MvkitError(Exception):
    """Base of all errors that the kit raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(MvkitError):
    exit_code = 2


class MissingExtraError(UsageError):
    """An optional dependency is absent; says which extra brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed",
            f"install it with: pip install 'mobilevit-kit[{extra}]'",
        )
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.package, self.extra)


class ArtifactError(UsageError):
    pass


class StoreError(UsageError):
    pass


class ConversionError(MvkitError):
    pass


class RuntimeFailure(MvkitError):
    pass


class UnverifiableError(RuntimeFailure):
    pass


class ParityError(MvkitError):
    pass


class DeviceError(MvkitError):
    pass


class DeviceLost(DeviceError):
    pass


def one_line(what: object, limit: int = 200) -> str:
    """Foreign text for an error of ours: one line, not too long, nothing that moves a cursor."""
    text = " ".join(str(what).split())
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown + "..." if len(text) > limit else shown
