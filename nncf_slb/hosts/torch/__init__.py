"""Host for plain torch: searched weights as parametrizations of layers, quantized inputs as hooks. Knows no NNCF."""
