"""The native protocol, ``/v1``: typed items in, typed answers out. Errors are RFC 9457 problems."""
