"""Which model is in use: probes after every label, encoders when labels have grown."""
