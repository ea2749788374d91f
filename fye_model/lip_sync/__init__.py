"""Whether lips and sound belong together: SyncNet's offset and confidence (Chung and Zisserman 2016)."""
