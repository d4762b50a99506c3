"""Rollouts: prompts, cuts, hints, and the loop of one trajectory."""
