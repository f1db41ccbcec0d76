"""What animals and plants do in a step."""
