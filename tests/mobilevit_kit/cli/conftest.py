"""Phones for the verbs that speak to them."""

from __future__ import annotations

from tests.fake_phone.fixtures import adb_server, fake_phone, phone

__all__ = ["adb_server", "fake_phone", "phone"]
