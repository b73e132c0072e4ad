"""Minutes to days of work that a service does for clients: jobs on disk, in own processes."""
