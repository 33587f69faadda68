"""Faithful mobile vision models and the `mvkit` command that ships and measures them."""

from mobilevit_kit.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
__version__ = "0.1.0"
