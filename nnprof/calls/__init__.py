"""What is run: the arguments of a call, made or given, and the phases of a language model."""
