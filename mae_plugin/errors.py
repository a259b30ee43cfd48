"""What users can mend: errors that commands tell in one line, with exit status 2."""


class UserError(ValueError):
    """Something that the user can mend; the message names the value and the way out.

    Every other error is a fault of ours or of the machine, and keeps its traceback.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that the user named is not there."""

    def __str__(self) -> str:
        return ValueError.__str__(self)


def user_words(error: UserError) -> str:
    """The message alone, without what others put around it.

    mmengine's registry raises an error anew, as the same class, with the name of the part before
    its message; torch's loader does so with an error from a worker, whose traceback, ending in the
    message, becomes the text.
    """
    while type(error.__context__) is type(error) and not error.__suppress_context__:
        error = error.__context__
    name = f'{type(error).__module__}.{type(error).__qualname__}: '
    return str(error).rpartition(name)[2].strip()
