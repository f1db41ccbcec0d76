"""What animals and plants do in a step: one class a process, whose docstring is its entry in the model's description.

- `weather`, `vegetation`: rain and warmth; plants, dead matter, pools and fire
- `goals`, `ranging`, `motion`: where herds want to go, how animals go, and the plain walks of textbooks
- `groups`, `fission_fusion`: herds and territories; how herds split and merge
- `foraging`, `predation`, `metabolism`, `energy_budget`: food, prey, the energy of a body and of the world
- `mortality`, `reproduction`, `immigration`, `disease`: death, birth, newcomers, contagion
"""
