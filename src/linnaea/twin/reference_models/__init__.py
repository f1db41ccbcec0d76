"""Published models on the twin's engine, for validation and for comparisons of speed.

Rules for worlds: `birth_death`, `functional_response`, `patch_foraging`, `metapopulation`, `flocking_rules`.
`meanfield_as_agents` makes a world of a mean-field model, and `flocking_cuda` runs flocks on a GPU. Models with a loop
of their own, in the two orders of `update_order`: `boids`, `schelling`, `wolf_sheep`.
"""
