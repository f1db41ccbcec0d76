"""Mean-field models: food webs as differential equations and as maps.

`model` describes a model, `equations` solves it, `stability` analyses it. `from_foodweb` makes a model of a food web,
`textbook` has the models of textbooks.
"""
