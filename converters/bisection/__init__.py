"""Where a saved file diverges from its source: the block, the operator, the error's growth."""
