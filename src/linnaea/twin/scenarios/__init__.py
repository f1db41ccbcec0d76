"""What-if questions: interventions, regions, scenario files."""
