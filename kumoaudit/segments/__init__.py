"""Files on disk: the only code that opens, rotates, repairs or deletes log files."""
