"""For all tests.

An example of Hypothesis may take its time, as the machine may be busy with something else. And a shell that starts the
tests in the background has them ignore SIGINT, as every process would that they start; some of those are interrupted.
"""

from __future__ import annotations

import signal

from hypothesis import settings

signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
