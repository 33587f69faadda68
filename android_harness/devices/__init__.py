"""Phones, emulators and this host, under one contract: `open_device` gives one of them.

Nothing on a device is changed outside its folder, but for what `android_harness.settings` changes
and puts back.
"""

from .base import Completed, Device
from .finding import Seen, find_devices, host_seen, open_device, open_devices

__all__ = [
    "Completed",
    "Device",
    "Seen",
    "find_devices",
    "host_seen",
    "open_device",
    "open_devices",
]
