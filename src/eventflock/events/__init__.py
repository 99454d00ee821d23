"""What is read from ROOT files, and a sample file to try things on. Uses `core`."""
