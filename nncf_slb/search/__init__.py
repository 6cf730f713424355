"""The method on plain torch: distributions, temperature, phases, quantized inputs, batch norm, stripping."""
