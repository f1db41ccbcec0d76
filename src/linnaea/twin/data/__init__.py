"""What a world is made from: species, food web, landscape, world file."""
