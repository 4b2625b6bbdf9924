"""One thin script for each pipeline stage; dvc.yaml says what it reads and writes."""
