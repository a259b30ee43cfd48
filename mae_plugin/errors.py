"""What users can mend: errors that commands tell in one line, with exit status 2."""


class UserError(ValueError):
    """Something that the user can mend; the message names the value and the way out.

    Every other error is a fault of ours or of the machine, and keeps its traceback.
    """
