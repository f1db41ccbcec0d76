"""What a run or a study leaves for its readers: tables, NetCDF, reports, the ODD description, the RO-Crate."""
