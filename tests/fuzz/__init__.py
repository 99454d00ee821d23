"""Random mutations of result files, read in a process that is watched."""
