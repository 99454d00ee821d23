"""A run: its folder, its life from plan to merged result, its status and its failures."""
