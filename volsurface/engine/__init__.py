"""Decides what to recompute and runs it; the services and their supervisor."""
