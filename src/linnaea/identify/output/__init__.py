"""What a run writes: tables, packages, the HTML report, the terminal table."""
