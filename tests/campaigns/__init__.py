"""Campaigns: thousands of injected faults of one kind, each with a command (`make campaigns`); the suite runs a few."""
