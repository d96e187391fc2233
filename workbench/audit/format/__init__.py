"""The format of the record on disk: columns, records, hash chain, Merkle tree, checkpoints, manifest."""
