"""Campaigns: thousands of damages of one kind, each with one command (`make campaigns`); a few of them in the suite."""
