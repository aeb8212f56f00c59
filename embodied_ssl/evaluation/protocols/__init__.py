"""What features are put to: one file a protocol, found by looking into this folder."""
