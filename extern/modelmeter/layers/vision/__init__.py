"""What vision encoders are made of."""
