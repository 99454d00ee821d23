"""What runs in a worker process: answering requests, and doing one job after the other."""
