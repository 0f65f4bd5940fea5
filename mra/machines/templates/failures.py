"""The one way in which templates fail."""

from __future__ import annotations

from mra.errors import Refused


class TemplateError(Refused):
    """A template cannot be read or expanded: the sentence quotes the action and gives the reason."""
