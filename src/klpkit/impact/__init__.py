"""Impact: the effect graph, its closure, and how each impacted function can be patched."""

from klpkit.records import _numpy  # noqa: F401 - numpy's first loading decides what it costs
