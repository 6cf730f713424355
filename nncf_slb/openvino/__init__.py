"""Export to OpenVINO: packing of codes, rewrite of weight subgraphs, writing of files."""
