"""What requests are answered from: the champion and the catalogue, followed and swapped."""
