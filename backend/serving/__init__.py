"""Between the HTTP edge and the model: requests that arrive together share forward passes."""
