"""The build tree: which translation units there are, their exact commands, and replaying one."""
