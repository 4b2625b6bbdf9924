"""Evaluates results: recall, intervals, confidence, failures, leaks."""
