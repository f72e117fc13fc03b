"""What nnprof is held against: each file is a program."""
