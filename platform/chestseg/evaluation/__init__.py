"""A model over a split of the prepared dataset: rows, their summary, and tables of both."""
