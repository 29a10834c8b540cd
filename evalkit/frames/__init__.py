"""DataFrames: columns, reading from the read model, and normalization of user input."""
