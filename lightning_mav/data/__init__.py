"""Reading and writing data: codecs, shards, and video files."""
