"""What a program that calls the models can do wrong."""

from __future__ import annotations

from verifier.errors import UserError


class ApiError(UserError):
    """A folder without the model, or what cannot be read or written; the message shows the way
    out.
    """
