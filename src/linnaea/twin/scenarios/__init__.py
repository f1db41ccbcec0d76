"""What-if questions.

`scenario_file` reads a scenario and attaches it to a world. `interventions` has the kinds of interventions,
`intervention` what they share, `regions` where they act. `no_effect` finds interventions that cannot change a world.
"""
