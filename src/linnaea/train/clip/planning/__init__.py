"""What a recipe of a CLIP model costs, before anything runs (`linnaea train RECIPE --plan`).

- `cost_model`: operations and bytes of a step
- `accelerators`: peak rates and memory of GPUs, and of this machine
- `plan`: both together; `plan_text`: the plan as lines of text
"""
