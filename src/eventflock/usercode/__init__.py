"""The user's analysis: the decorator, and finding, freezing and loading the code. Uses `core`."""
