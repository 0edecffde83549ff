"""Every setting, declared once: its meaning, range and default, and whether a running daemon takes it.

`tree.py` holds the settings of `listen`, `commands.py` those of the other commands. `setting.py` says what a setting
is, `layers.py` reads files and the environment, `convert.py` makes a Struct of a TOML table. From these come the
options of the command line and their help, docs/configuration.md, and what SIGHUP applies. Knows nothing of click.
"""
