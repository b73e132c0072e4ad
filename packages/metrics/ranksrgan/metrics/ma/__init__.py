"""Ma's score: its three families of features, its model, and the fitting of one."""
