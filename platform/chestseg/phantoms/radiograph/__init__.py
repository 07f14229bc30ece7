"""Generated chest radiographs with and without pneumothorax."""
