"""The simulation engine: the state of a world, its step, and what kernels need. It knows no species.

- `world`, `step`, `checkpoint`: a world, one step of it, a world on disk
- `agents`, `herds`, `named_arrays`, `parameters`: the state and the types of its parts
- `neighbours`, `layers`, `contention`: who is near, what lies under an animal, who gets what
- `rng`, `jit`, `workers`: random numbers, compiled code, processes and locks
"""
