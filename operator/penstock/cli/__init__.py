"""What people run at their own desk: `penstock simulate`. It talks to no cluster."""
