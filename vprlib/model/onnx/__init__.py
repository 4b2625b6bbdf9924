"""Networks in ONNX from any source, run by ONNX Runtime."""
