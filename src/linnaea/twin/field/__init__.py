"""Simulated sensors in a world (`sensors`), and their records as standard tables (`survey_tables`)."""
