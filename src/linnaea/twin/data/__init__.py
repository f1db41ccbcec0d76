"""What a world is made from, and how well each value is known.

`world_file` reads a world's file into `world_data`, whose settings are the classes of `world_settings` and `landscape`;
`bounds` gives their fields a range. `species` and `foodweb` are tables; `allometry` fills what the tables leave empty,
`evidence` grades values, and `life_table` turns a species into a Leslie matrix.
"""
