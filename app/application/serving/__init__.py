"""What requests are answered from: the champion and the catalog, followed and swapped."""
