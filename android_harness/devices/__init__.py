"""Phones, emulators and this host, under one contract.

    from android_harness.devices import open_device
    device = open_device("R5CT30ABCDE")     # or "host"
    device.push(Path("mobilevit_xs-fp32.tflite"), "mobilevit_xs-fp32.tflite")
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
