"""What is concluded from ranked samples: numbers out of arrays, by numpy alone."""
