"""Data on its way in and out: codecs, shards, and files of videos."""
