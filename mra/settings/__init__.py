"""Frozen settings, read once from one TOML file. The schema is `lab/agent/agent.toml`.

    bytes -- reading --> text -- document --> Document (as written) -- sections --> Settings (checked)

`document` knows which tables and keys there are and what holds without them, `sections` what a value has to be and
which subsystem it is for, and `values` how sizes, durations and paths are written. These three touch no file;
`reading` does: the configuration itself, and what holds the secrets that it names.

Whatever the bytes are, the result is a `Settings` or one sentence (`BadInput`) that names the file, the key and what
to write instead.
"""

from __future__ import annotations

from mra.settings.model import MachinesSettings, Settings
from mra.settings.reading import read_settings

__all__ = ["MachinesSettings", "Settings", "read_settings"]
