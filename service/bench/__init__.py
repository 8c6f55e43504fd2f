"""``modelhub bench``: loads a V2 server, checks its answers, and measures the ceilings beside it.

Speaks the wire only: apart from the graphs it runs for a ceiling, it knows nothing of this server
that another server of the protocol does not have.
"""
