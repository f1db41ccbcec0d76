"""From a world file to a world that runs."""
