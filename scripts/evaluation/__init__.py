"""The evaluation engine: a grid of cells, each a federated run; kept once run, summed up, shown worst case first."""
