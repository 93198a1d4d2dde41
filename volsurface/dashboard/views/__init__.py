"""What a person sees, one view per panel; each works on the page and in a notebook cell."""
