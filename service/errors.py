"""What can go wrong while answering. No HTTP in here: the one table in ``service.app`` maps these.

::

    ServiceError
    ├── BadBody            the body cannot be read
    ├── BodyTooLarge       body or number of items over the limit
    ├── UnreadableMedia    a content type this model cannot read
    ├── NoKey              no key, or an unknown one
    ├── WrongScope         a known key that may not do this
    ├── NoSuchVerb         the model cannot do that
    ├── Unsupported        a part of a protocol that this server does not offer
    ├── NotReady           loading, failed or draining: not now
    ├── Overloaded         the queue is full: not now
    ├── DeadlinePassed     the caller's time is over
    ├── NoRoom             the model cannot fit the memory budget
    ├── OutOfMemory        a run of a graph asked for more memory than there is
    └── ModelFault         the graph failed on a valid input: our fault
"""


class ServiceError(Exception):
    """Root of the errors of serving."""


class BadBody(ServiceError):
    """The body cannot be read: not JSON, truncated, wrong types at the top."""


class BodyTooLarge(ServiceError):
    """The body, or the number of items or rows in it, is over the limit."""


class UnreadableMedia(ServiceError):
    """A content type or encoding that this model cannot read."""


class NoKey(ServiceError):
    """No key came, or one that is not known."""


class WrongScope(ServiceError):
    """The key is known, but may not do this."""


class NoSuchVerb(ServiceError):
    """The model has no such verb; the message lists those it has."""


class Unsupported(ServiceError):
    """A part of a protocol that this server does not offer."""


class NotReady(ServiceError):
    """The model or the server cannot answer now."""


class Overloaded(ServiceError):
    """The queue is full."""


class DeadlinePassed(ServiceError):
    """The request's deadline passed before its answer was there."""


class NoRoom(ServiceError):
    """The model cannot fit the memory budget, whoever else is unloaded."""


class OutOfMemory(ServiceError):
    """A run of a graph asked for more memory than there is."""


class ModelFault(ServiceError):
    """The graph failed on an input that passed every check. ``row`` is the first one at fault."""

    def __init__(self, detail: str, row: int | None = None) -> None:
        super().__init__(detail)
        self.row = row
