"""Results that other programs pickled, read without running what is in them. Uses `results`."""
