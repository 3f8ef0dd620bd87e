"""One short file per recipe: data, labeling, model, selection. All machinery is imported."""
