"""What watches the pipeline, and never changes the way of a message."""
