"""The simulation engine: agents, neighbours, random numbers, the step."""
