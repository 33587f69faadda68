"""Reference models: one file a family, readable beside its paper."""

from .registry import ModelCard, create_model, list_models, model_card, model_config

__all__ = ["ModelCard", "create_model", "list_models", "model_card", "model_config"]
