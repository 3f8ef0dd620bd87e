"""One short file a recipe: data, labeling, model, selection. All machinery is imported."""
