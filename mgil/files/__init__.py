"""Reading and writing files with care, for every other room: configurations, whole files, printable text."""
