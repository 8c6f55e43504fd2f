"""Token-level batching: sequences join and leave between two tokens. Knows no HTTP."""
