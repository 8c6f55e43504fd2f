"""The contract between training and service: what a bundle is and where it lives."""
