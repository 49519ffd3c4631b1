"""One file an experiment, each with get_config(); its docstring states command, hardware, hours and
the number to expect.
"""
