"""From a request to train to a verdict, a model row and a champion."""
