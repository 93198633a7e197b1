"""How the verifier says no."""


class NotProven(Exception):
    """A proof does not hold, or not as far as is claimed; the message is one line that says where it fails."""
