"""What is known after a trace: records, and all that is told of them."""
