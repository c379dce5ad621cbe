"""Rules: paths and hashes in, decisions out (label, split, kept or not). Pure: nothing here touches a disk."""
