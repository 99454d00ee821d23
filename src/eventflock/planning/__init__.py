"""From names of files to a plan: filesets, scans, jobs and chunks, trials. Uses `pools`."""
