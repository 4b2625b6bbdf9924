"""What the answers are worth: recall, intervals, confidence, failures, leaks."""
