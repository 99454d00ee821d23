"""Results and run folders as earlier versions wrote them."""
