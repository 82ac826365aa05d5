"""Lists for people: from history and serving state to the page that is shown."""
