"""What `make bench` runs: each figure measured here, against its alternative, interleaved."""
