"""DataFrames: their columns, how they are read from the read model, and how frames of users are normalized."""
