"""OpenAI's API, ``/v1``: the calls that the native protocol does not have already.

``GET /v1/models`` and ``GET /v1/models/{id}`` are the native protocol's; its entries have OpenAI's
fields too. ``wire`` has what all calls share; each call has a file; ``routes`` joins them.
"""
