"""One file per source of data, and the readers of a user's own files."""
