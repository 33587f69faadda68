"""The parts of `benchmarks.harness`: each module measures one and gives a `Part`."""
