"""What every package may use: errors, settings, numbers, paths, text files, the console, threads."""
