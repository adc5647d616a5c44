"""What each kind of step does while it runs."""
