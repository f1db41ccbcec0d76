"""What a run writes: tables and packages (`writers`), the HTML report, the table on the terminal."""
