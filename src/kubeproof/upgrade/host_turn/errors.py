"""What is said to the operator."""


class TurnError(Exception):
    """The turn cannot be begun, confirmed or put back; the message is for the operator."""
