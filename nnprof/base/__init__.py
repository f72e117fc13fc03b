"""What stands on nothing of ours but the errors."""
