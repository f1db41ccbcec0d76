"""From a world's data to a world that runs.

- `world_builder`: `build_world`, and the rules of a bundled world in their order
- `rule_parameters`, `food_parameters`: what rules ask of species and foods, computed from the data
- `layers`: the ground at the start
- `parameters`: single values of a world by their names, to change, vary and fit them
"""
