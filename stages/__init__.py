"""One thin script a pipeline stage; dvc.yaml says what each reads and writes."""
