"""Cases and what becomes of them: readers of published layouts, phantoms, the prepared dataset, its folds and its loaders."""
