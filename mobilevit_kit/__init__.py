"""Faithful mobile vision models and the `mvkit` command that ships and measures them.

from mobilevit_kit import create_model, list_models
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobilevit_kit.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # On first use, so that `mvkit --help` does not wait for NumPy.
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from mobilevit_kit.models import registry

    return getattr(registry, name)
