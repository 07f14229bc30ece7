"""Generated chest CTs with and without infiltrates."""
