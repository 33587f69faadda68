"""From a network's graph to a `Program`: operations on arrays as they lie in memory."""
