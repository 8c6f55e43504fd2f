"""Making models: data → network → fit → evaluate → export → verify → publish."""
