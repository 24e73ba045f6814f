"""Renderers: text tree, table, JSON, DOT and a single-file HTML page."""
