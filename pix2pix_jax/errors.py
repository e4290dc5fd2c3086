"""The errors that a user can mend."""


class UserError(ValueError):
    """A mistake the user can mend; the message is one line: what, where, what to do."""
