"""Why jobs fail, and what is tried next: a table, and pure decisions. Uses `core`."""
