"""Records: what a compiler or its output says was done, as effects between functions."""
