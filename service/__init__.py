"""Answering with models: protocols → hub → lanes → ONNX Runtime."""
