"""The one error a user's input can cause."""


class ProblemError(ValueError):
    """The problem cannot be stated as asked; the message is one line and says what to do instead."""
