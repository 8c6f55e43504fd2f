"""The Open Inference Protocol V2 over REST, with Triton's extensions. Errors are ``{"error": …}``.

``infer`` is the call that counts: it knows no HTTP framework, because the server also answers it
below the app (``service.httpd``). ``routes`` has all calls as part of the app.
"""
