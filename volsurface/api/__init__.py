"""Routes beside the page."""
