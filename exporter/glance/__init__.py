"""What a person sees at a glance: each source in a few words and numbers."""
