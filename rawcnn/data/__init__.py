"""Images and labels: where they come from, which views of them a net is shown, and in which order."""
