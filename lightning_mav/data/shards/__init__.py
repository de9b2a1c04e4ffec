"""Shards, which are tar files of samples: packs, writes, indexes, checks, fetches and reads them."""
