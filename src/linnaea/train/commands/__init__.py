"""The command `linnaea train` (`train`), and the writer of the tables in docs/training.md (`docs_writer`)."""
