"""The benchmarks of `make bench`: each compares with an alternative, interleaved on this machine."""
