"""Values that all parts share: no input or output but atomic writes. Uses `errors` only."""
