"""What a person sees and turns."""
