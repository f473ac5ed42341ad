"""Records of a run while it trains: local files, trackers, progress."""
