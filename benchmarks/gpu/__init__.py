"""Work for a GPU that is at hand for minutes: each script keeps to a time limit and writes small files."""
