"""What a server of the project is made of: the services on the wire, and what surrounds a call."""
