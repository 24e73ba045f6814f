"""Impact: the effect graph, its closure, and how each impacted function can be patched."""
